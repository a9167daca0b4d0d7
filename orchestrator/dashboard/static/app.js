// Keeps a page fresh: one event stream per page. A "changed" event makes htmx fetch the page again and morph its live
// part; "progress" events move the bars in between. The server's page is always the truth: after every reconnection
// the live part is fetched again, so nothing is missed. Without this script every page still works by reloading.
"use strict";

(() => {
  const live = document.getElementById("live");
  const badge = document.getElementById("badge");
  const address = document.body.dataset.stream;
  const SOON_MS = 120;
  const APART_MS = 600;
  const RETRY_MS = 2000;
  const SILENT_MS = 40000;
  const known = new Map();
  let source = null;
  let waiting = null;
  let refreshed = 0;
  let heard = 0;

  const show = (state, text) => {
    if (badge && badge.dataset.state !== state) {
      badge.dataset.state = state;
      badge.textContent = text;
    }
  };

  const refresh = () => {
    if (!live || waiting !== null) return;
    const pause = Math.max(SOON_MS, refreshed + APART_MS - Date.now());
    waiting = setTimeout(() => {
      waiting = null;
      refreshed = Date.now();
      htmx.trigger(live, "live");
    }, pause);
  };

  const paint = () => {
    for (const box of document.querySelectorAll("[data-progress]")) {
      const last = known.get(box.dataset.progress);
      if (!last) continue;
      const bar = box.querySelector("progress");
      if (bar) bar.value = last.value;
      const text = box.querySelector("small");
      if (text) text.textContent = `${Math.round(last.value * 100)} %${last.text ? ` · ${last.text}` : ""}`;
    }
    for (const time of document.querySelectorAll("time[data-local]")) {
      const text = new Date(time.dateTime).toLocaleTimeString();
      if (time.textContent !== text) time.textContent = text;
    }
    ages();
  };

  const ages = () => {
    for (const time of document.querySelectorAll("time[data-age]")) {
      const text = age((Date.now() - new Date(time.dateTime).getTime()) / 1000);
      if (time.textContent !== text) time.textContent = text;
    }
    for (const time of document.querySelectorAll("time[data-since]")) {
      const seconds = Math.max(0, Math.round((Date.now() - new Date(time.dateTime).getTime()) / 1000));
      const text = seconds < 60 ? `${seconds} s` : `${Math.floor(seconds / 60)} min ${seconds % 60} s`;
      if (time.textContent !== text) time.textContent = text;
    }
  };

  const age = (seconds) => {
    if (seconds < 3) return "just now";
    if (seconds < 60) return `${Math.floor(seconds)} s ago`;
    if (seconds < 3600) return `${Math.floor(seconds / 60)} min ago`;
    if (seconds < 86400) return `${Math.floor(seconds / 3600)} h ago`;
    return `${Math.floor(seconds / 86400)} d ago`;
  };

  const connect = () => {
    source = new EventSource(address);
    heard = Date.now();
    source.addEventListener("open", () => {
      heard = Date.now();
      show("live", "Live");
    });
    source.addEventListener("alive", () => { heard = Date.now(); });
    source.addEventListener("changed", () => { heard = Date.now(); refresh(); });
    source.addEventListener("progress", (event) => {
      heard = Date.now();
      const told = JSON.parse(event.data);
      known.set(told.run_id, told);
      paint();
    });
    source.addEventListener("error", () => {
      show("reconnecting", "Reconnecting…");
      if (source.readyState === EventSource.CLOSED) setTimeout(again, RETRY_MS);
    });
  };

  // The server refused the stream (a login that ran out, a restart): renew the login, then try once more. One page of
  // this browser at a time, since a refresh token works once.
  const again = async () => {
    source.close();
    await (navigator.locks ? navigator.locks.request("renew", renew) : renew());
    connect();
  };

  const renew = async () => {
    try {
      const answer = await fetch("/dashboard-session/renew", { method: "POST", headers: { Accept: "application/json" } });
      if (answer.status === 401) location.assign(`/login?next_page=${encodeURIComponent(location.pathname + location.search)}`);
    } catch {
      show("reconnecting", "Reconnecting…");
    }
  };

  const tick = () => {
    ages();
    if (source && source.readyState === EventSource.OPEN && Date.now() - heard > SILENT_MS) {
      show("reconnecting", "Reconnecting…");
      source.close();
      connect();
    }
  };

  // Morphing must not close what the reader opened, nor stop a bar that only the browser knows the value of.
  if (window.Idiomorph) {
    Idiomorph.defaults.callbacks.beforeAttributeUpdated = (name, node) =>
      !((name === "open" && node.tagName === "DETAILS") || (name === "value" && node.tagName === "PROGRESS"));
  }

  document.addEventListener("htmx:afterSwap", paint);
  document.addEventListener("htmx:beforeSwap", (event) => {
    const answer = event.detail.xhr;
    if (answer.responseURL && new URL(answer.responseURL).pathname === "/login") {
      event.detail.shouldSwap = false;
      location.assign(answer.responseURL);
    }
  });
  document.addEventListener("click", (event) => {
    const button = event.target.closest("[data-copy]");
    if (!button) return;
    navigator.clipboard.writeText(document.getElementById(button.dataset.copy).textContent.trim())
      .then(() => { button.textContent = "Copied"; });
  });
  document.addEventListener("keydown", (event) => {
    const typing = event.target.closest("input, textarea, select");
    const search = document.querySelector("input[type=search]");
    if (event.key === "/" && !typing && search) {
      event.preventDefault();
      search.focus();
    }
  });

  for (const hidden of document.querySelectorAll("[data-script]")) hidden.hidden = false;
  paint();
  setInterval(tick, 1000);
  if (live && address) {
    connect();
    addEventListener("pagehide", () => source.close());
    addEventListener("pageshow", (event) => { if (event.persisted) connect(); });
  }
})();
