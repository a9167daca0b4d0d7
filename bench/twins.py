"""`python -m bench.twins WHICH --dsn DSN --port-file FILE`: what starting a run is compared with.

bare-litestar, bare-fastapi: a handler that decodes the body and answers, with nothing behind it. fastapi: the route as
FastAPI and pydantic have it, with the same fields, key look-up, role, scope and bound deployments, rate limit,
Idempotency-Key, limits of the body (size, depth, names that stand twice, U+0000), request id, trace, preferences,
checks, SQL and headers of the answer: only the framework, its validation and its rendering differ. fastapi-plain: the
same, but each request looks its target up and inserts its run by statements of its own, as one writes it without our
coalescing queue.
"""

from __future__ import annotations

import argparse
import hashlib
import re
import socket
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Annotated, Any

import litestar
import msgspec
import structlog
import uvicorn
from fastapi import Depends, FastAPI, Header, HTTPException, Request, Response
from pydantic import BaseModel, ConfigDict, Field

from drivers.wire import RunId
from orchestrator import wire
from orchestrator.api import headers, problems
from orchestrator.auth import MachineCredentials
from orchestrator.config import Config
from orchestrator.errors import ApiProblem
from orchestrator.files import Files
from orchestrator.limits import Limits
from orchestrator.live.abilities import Abilities
from orchestrator.live.parts import Parts
from orchestrator.live.queue import Queue
from orchestrator.live.starting import Order, start
from orchestrator.runs.access import RANK
from orchestrator.runs.preferences import wait_s, wants_stream
from orchestrator.store import keys
from orchestrator.store.db import Database
from orchestrator.store.idempotency import Once, Repeated
from orchestrator.store.ids import digest, new_id
from orchestrator.store.ledger import Ledger
from orchestrator.store.runs import NewRun
from orchestrator.store.targets import Target, Wanted

REMEMBER_S = 5.0
ANY_JSON: msgspec.json.Decoder[msgspec.Raw] = msgspec.json.Decoder(msgspec.Raw)
REQUEST_ID = re.compile(r"[A-Za-z0-9._:-]{1,128}")
TRACE = re.compile(r"(?!ff)[0-9a-f]{2}-([0-9a-f]{32})-([0-9a-f]{16})-[0-9a-f]{2}(?:-.*)?")
KEY = re.compile(r"[\x21-\x7e]([\x20-\x7e]{0,253}[\x21-\x7e])?")


@litestar.post("/api/v1/runs", status_code=202)
async def bare(data: wire.RunCreate) -> wire.RunAccepted:
    """Decode and answer."""
    run_id = new_id()
    return wire.RunAccepted(run_id, "not-started", f"http://127.0.0.1/api/v1/runs/{run_id}")


Name = Annotated[str, Field(max_length=200)]


class RunCreate(BaseModel):
    """The body of POST /api/v1/runs."""

    model_config = ConfigDict(extra="forbid")

    deployment_id: str | None = None
    version_id: str | None = None
    inputs: dict[str, Any] = Field(default_factory=dict)
    webhook_url: Annotated[str, Field(max_length=2000)] | None = None
    priority: Annotated[int, Field(ge=-100, le=100)] = 0
    timeout_s: Annotated[int, Field(ge=1, le=86400)] | None = None
    max_attempts: Annotated[int, Field(ge=1, le=10)] = 3
    pool: dict[Name, Name] = Field(default_factory=dict)
    metadata: Annotated[dict[Name, Name], Field(max_length=50)] = Field(default_factory=dict)
    tags: Annotated[list[Annotated[str, Field(max_length=50)]], Field(max_length=20)] | None = None


class RunAccepted(BaseModel):
    """Its answer."""

    id: str
    status: str
    url: str


async def bare_create(body: RunCreate) -> RunAccepted:
    """Decode and answer."""
    run_id = new_id()
    return RunAccepted(id=run_id, status="not-started", url=f"http://127.0.0.1/api/v1/runs/{run_id}")


class PlainQueue(Queue):
    """Every run with statements of its own."""

    async def target(self, wanted: Wanted) -> Target | None:
        """One look-up."""
        return (await self._look_up([wanted]))[0]

    async def add(self, run: NewRun) -> RunId | Repeated | None:
        """One insert, one commit."""
        await self._bound(run)
        return (await self._insert([run]))[0]


class Twin:
    """What the handlers share, and the keys seen lately."""

    def __init__(self, parts: Parts, limits: Limits) -> None:
        self.parts = parts
        self.limits = limits
        self.known: dict[bytes, tuple[float, keys.KeyOwner]] = {}


async def owner(request: Request, response: Response, authorization: Annotated[str, Header()]) -> keys.KeyOwner:
    """Whose key it is: looked up, remembered for seconds, and counted against its limit; what every answer says."""
    twin: Twin = request.app.state.twin
    if int(request.headers.get("content-length", "0")) > twin.parts.config.max_body:
        raise HTTPException(413)
    try:
        problems.decode(await request.body(), ANY_JSON)
    except ApiProblem as problem:
        raise HTTPException(problem.status, problem.detail) from problem
    trace = TRACE.fullmatch(request.headers.get("traceparent", ""))
    if trace is not None:
        structlog.contextvars.bind_contextvars(trace_id=trace[1])
    name = digest(authorization.removeprefix("Bearer "))
    known = twin.known.get(name)
    if known is None or known[0] < time.monotonic():
        found = await keys.owner(twin.parts.db, name)
        if found is None:
            raise HTTPException(401)
        known = twin.known[name] = (time.monotonic() + REMEMBER_S, found)
    found = known[1]
    if twin.limits.requests:
        standing = await twin.limits.requests.take(f"key:{found.key_id}")
        if standing.wait_s:
            raise HTTPException(429)
        for name, value in headers.rate_limit(twin.limits.requests.policy, standing):
            response.headers[name.decode()] = value.decode()
    if RANK[found.role] < RANK["playground"] or (found.scopes is not None and "runs:write" not in found.scopes):
        raise HTTPException(403)
    sent_id = request.headers.get("x-request-id", "")
    response.headers["x-request-id"] = sent_id if REQUEST_ID.fullmatch(sent_id) else new_id()
    response.headers.update(headers.STANDARD)
    return found


Caller = Annotated[keys.KeyOwner, Depends(owner)]
Key = Annotated[str | None, Header()]


async def create(
    body: RunCreate, request: Request, response: Response, caller: Caller, idempotency_key: Key = None
) -> RunAccepted:
    """The route."""
    parts = request.app.state.twin.parts
    if wants_stream(request.headers.get("accept")) or wait_s(request.headers.get("prefer")):
        raise HTTPException(406)  # what follows is the short way only
    if body.version_id is not None and RANK[caller.role] < RANK["developer"]:
        raise HTTPException(422)
    if body.deployment_id is None and caller.deployment_ids is not None:
        raise HTTPException(403)
    once = None
    if idempotency_key is not None:
        if not KEY.fullmatch(idempotency_key):
            raise HTTPException(400)
        content = hashlib.sha256(await request.body()).digest()
        once = Once(f"key:{caller.key_id}", f"{request.method} {request.url.path}", digest(idempotency_key), content)
    order = Order(
        organisation_id=caller.organisation_id,
        created_by=caller.user_id,
        api_key_id=caller.key_id,
        only=None if caller.deployment_ids is None else frozenset(caller.deployment_ids),
        once=once,
        **body.model_dump(),
    )
    run = await start(parts, order)
    response.headers["Location"] = location = f"/api/v1/runs/{run.id}"
    return RunAccepted(id=run.id, status="not-started", url=parts.config.base_url + location)


def _nobody_told(_changes: list[Any], _ours: bool) -> None:
    """There are no watchers here."""


def twin_app(dsn: str, kind: type[Queue]) -> FastAPI:
    """FastAPI with the same things behind it, and this kind of queue."""

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        config = Config()
        db = await Database.open(dsn, max_size=config.database_connections)
        queue, ledger, limits = (
            kind(db, lambda _added: None),
            Ledger(db, _nobody_told),
            Limits(db, 1e6, 1_000_000),
        )
        queue.start()
        limits.start()

        async def none(_request: Any, _body: bytes) -> None:
            return None

        parts = Parts(config, db, Files(config, b"bench"), queue, ledger, MachineCredentials(db), Abilities(db), none)
        app.state.twin = Twin(parts, limits)
        yield
        await limits.stop()
        await queue.stop()
        await db.close()

    app = FastAPI(lifespan=lifespan)
    app.post("/api/v1/runs", status_code=202)(create)
    return app


def _app(which: str, dsn: str) -> Any:
    if which == "bare-litestar":
        return litestar.Litestar([bare])
    if which == "bare-fastapi":
        app = FastAPI()
        app.post("/api/v1/runs", status_code=202)(bare_create)
        return app
    return twin_app(dsn, PlainQueue if which == "fastapi-plain" else Queue)


def main() -> None:
    """Serve one of them as the orchestrator is served."""
    parser = argparse.ArgumentParser()
    parser.add_argument("which", choices=["bare-litestar", "bare-fastapi", "fastapi", "fastapi-plain"])
    parser.add_argument("--dsn", default="")
    parser.add_argument("--port-file", type=Path, required=True)
    given = parser.parse_args()
    app = _app(given.which, given.dsn)
    listener = socket.create_server(("127.0.0.1", 0), backlog=4096)
    settings = uvicorn.Config(app, loop="uvloop", http="httptools", access_log=False, log_level="warning")
    given.port_file.write_text(str(listener.getsockname()[1]))
    uvicorn.Server(settings).run(sockets=[listener])


if __name__ == "__main__":
    main()
