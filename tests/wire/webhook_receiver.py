"""A webhook receiver as a user would write one: a real server that verifies with the library of Standard Webhooks."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

from aiohttp import web
from standardwebhooks import Webhook as Verifier


class Receiver:
    """Answers by path: /ok, /status/<code>, /later (429), /redirect, /hang, /close, /cut. `seen`: what was verified."""

    def __init__(self) -> None:
        self.secret = ""
        self.url = ""
        self.seen: list[tuple[str, str, dict[str, Any]]] = []
        self.arrived = asyncio.Condition()
        self.release = asyncio.Event()
        self.together = 0
        self.most_together = 0

    async def receive(self, request: web.Request) -> web.StreamResponse:
        """Verify, note path, id and body, and answer."""
        body = await request.read()
        message = Verifier(self.secret).verify(body, dict(request.headers))
        self.together += 1
        self.most_together = max(self.most_together, self.together)
        async with self.arrived:
            self.seen.append((request.path, request.headers["webhook-id"], message))
            self.arrived.notify_all()
        try:
            return await self._answer(request)
        finally:
            self.together -= 1

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        match request.path.strip("/").split("/"):
            case ["status", code]:
                return web.Response(status=int(code), text="not today")
            case ["later"]:
                return web.Response(status=429, headers={"Retry-After": "7000"})
            case ["redirect"]:
                return web.Response(status=302, headers={"Location": f"{self.url}/ok"})
            case ["hang"]:
                await self.release.wait()
            case ["close" | "cut" as how]:
                return await self._break_off(request, how)
        return web.Response(text="thanks")

    async def _break_off(self, request: web.Request, how: str) -> web.StreamResponse:
        response = web.StreamResponse(status=500, headers={"Content-Length": "1000"})
        if how == "cut":
            await response.prepare(request)
            await response.write(b"half")
        assert request.transport is not None
        request.transport.close()
        return response

    async def wait_for(self, path: str, times: int = 1) -> None:
        """Until that many messages came to the path."""
        async with asyncio.timeout(10), self.arrived:
            await self.arrived.wait_for(lambda: sum(seen == path for seen, _, _ in self.seen) >= times)

    async def heard(self, good: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        """The first message that is as wanted, once it came."""
        async with asyncio.timeout(20), self.arrived:
            await self.arrived.wait_for(lambda: any(good(message) for _, _, message in self.seen))
        return next(message for _, _, message in self.seen if good(message))


@asynccontextmanager
async def receiving() -> AsyncIterator[Receiver]:
    """A Receiver that listens on a port of its own."""
    it = Receiver()
    app = web.Application()
    app.router.add_route("*", "/{tail:.*}", it.receive)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    it.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    try:
        yield it
    finally:
        it.release.set()
        await runner.cleanup()
