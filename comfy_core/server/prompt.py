"""POST /prompt and its siblings: check a prompt, queue it, stop it, free memory."""

from __future__ import annotations

import math
import time
import uuid
from typing import Any

import msgspec
from aiohttp import web

from comfy_core.errors import InputRefused, QueueFull
from comfy_core.graph.validate import Verdict, validate
from comfy_core.light import is_light
from comfy_core.scope import directory_of, scoped
from comfy_core.server.state import STATE, State, read_json, read_object

TIMES_TEXT = 8
"""Bytes that a prompt takes as objects, for each byte of its text."""
LIGHT_BYTES = 1 << 16
"""Of a request: what it holds may be shown, and is then sent and kept."""


def _refusal(error: dict[str, Any], node_errors: dict[str, Any] | None = None) -> web.Response:
    return web.json_response({"error": error, "node_errors": node_errors or {}}, status=400)


def _error(kind: str, message: str, details: str) -> dict[str, Any]:
    return {"type": kind, "message": message, "details": details, "extra_info": {}}


async def post_prompt(request: web.Request) -> web.Response:
    """Validate and queue. 200 with the id and number, 400 with what is wrong."""
    state = request.app[STATE]
    body = state.additions.changed_by_handlers(await read_json(request))
    if not isinstance(body, dict) or "prompt" not in body:
        return _refusal(_error("no_prompt", "No prompt provided", "No prompt provided"))
    wrong = _wrong_shape(body)
    if wrong is not None:
        return _refusal(_error("invalid_prompt", "The prompt is not usable", wrong))
    number = _number(state, body)
    try:
        verdict = await _validate(state, body)
    except InputRefused as error:
        return _refusal(_error("invalid_prompt", "The prompt is not usable", str(error)))
    if verdict.error is not None:
        return _refusal(verdict.error, verdict.node_errors)
    prompt_id = str(body.get("prompt_id") or uuid.uuid4())
    try:
        _queue(state, body, prompt_id, number, verdict, request.content_length)
    except QueueFull as error:
        refused = {"error": _error("queue_full", "Too many prompts wait", str(error)), "node_errors": {}}
        return web.json_response(refused, status=503)
    accepted = {"prompt_id": prompt_id, "number": number, "node_errors": verdict.node_errors}
    return web.Response(body=msgspec.json.encode(accepted), content_type="application/json", charset="utf-8")


def _wrong_shape(body: dict[str, Any]) -> str | None:
    if not isinstance(body["prompt"], dict):
        return "prompt is not an object of nodes"
    if not isinstance(body.get("extra_data") or {}, dict):
        return "extra_data is not an object"
    if not isinstance(body.get("client_id") or "", str):
        return "client_id is not a text"
    targets = body.get("partial_execution_targets")
    if targets is not None and not (isinstance(targets, list) and all(isinstance(one, str) for one in targets)):
        return "partial_execution_targets is not a list of node ids"
    return None if _as_number(body.get("number", 0)) is not None else "number is not a number"


def _as_number(given: Any) -> float | None:
    """Also of a text; None for what is no number, or one too large to be put in order."""
    if isinstance(given, bool) or not isinstance(given, int | float | str):
        return None
    try:
        number = float(given)
    except (ValueError, OverflowError):
        return None
    return number if math.isfinite(number) else None


async def _validate(state: State, body: dict[str, Any]) -> Verdict:
    """Within the directory that the prompt asks for, since nodes look whether their files are there."""
    with scoped(directory_of(body.get("extra_data") or {})):
        return await validate(body["prompt"], state.registry, body.get("partial_execution_targets"))


def _number(state: State, body: dict[str, Any]) -> float:
    asked = _as_number(body.get("number"))
    if asked is not None:
        return asked
    number = state.queue.next_number()
    return -number if body.get("front") else number


def _queue(
    state: State, body: dict[str, Any], prompt_id: str, number: float, verdict: Verdict, size: int | None
) -> None:
    extra = dict(body.get("extra_data") or {})
    if body.get("client_id"):
        extra["client_id"] = body["client_id"]
    extra["create_time"] = int(time.time() * 1000)
    light = size is not None and size < LIGHT_BYTES and is_light(body["prompt"], state.registry)
    state.queue.put(number, prompt_id, body["prompt"], extra, verdict.good, (size or 0) * TIMES_TEXT, light)
    state.worker.come()


async def get_prompt(request: web.Request) -> web.Response:
    """How many prompts wait or run."""
    return web.json_response({"exec_info": {"queue_remaining": request.app[STATE].queue.remaining}})


async def interrupt(request: web.Request) -> web.Response:
    """Stop what runs; with a prompt_id, only when it is that prompt. A body that is not JSON is none."""
    try:
        body = await read_json(request) if request.can_read_body else {}
    except web.HTTPBadRequest:
        body = {}
    if not isinstance(body, dict):
        raise web.HTTPBadRequest(text="The body is not a JSON object")
    prompt_id = body.get("prompt_id")
    request.app[STATE].queue.interrupt(None if prompt_id is None else str(prompt_id))
    return web.Response()


async def free(request: web.Request) -> web.Response:
    """Free models or results after the present prompt."""
    body = await read_object(request)
    request.app[STATE].worker.free(bool(body.get("unload_models")), bool(body.get("free_memory")))
    return web.Response()
