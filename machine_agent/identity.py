"""Who this machine is to the orchestrator: enrolment, and the credential file. It knows nothing of jobs."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import aiohttp
import msgspec
import structlog
from msgspec import Struct

from drivers.wire import EnrolReply, EnrolRequest
from machine_agent import VERSION
from machine_agent.backoff import Backoff
from machine_agent.errors import Refused

_log = structlog.get_logger()


class Identity(Struct, frozen=True):
    """The content of agent.json: the orchestrator's address and this machine's credential."""

    url: str
    machine_id: str
    name: str
    credential: str


def load(data: Path) -> Identity | None:
    """The stored identity, or None when this data folder has none. Raises Refused on an unreadable file."""
    path = data / "agent.json"
    try:
        return msgspec.json.decode(path.read_bytes(), type=Identity)
    except FileNotFoundError:
        return None
    except (OSError, msgspec.MsgspecError) as error:
        raise Refused(f"{path} cannot be read: {error}") from error


def save(data: Path, identity: Identity) -> None:
    """Write agent.json whole or not at all, readable by its owner only."""
    data.mkdir(parents=True, exist_ok=True)
    path = data / "agent.json"
    fresh = path.with_suffix(".new")
    fresh.unlink(missing_ok=True)
    descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(msgspec.json.encode(identity))
        file.flush()
        os.fsync(file.fileno())
    fresh.replace(path)


async def enrol(url: str, token: str, patience_s: float) -> Identity:
    """Trade the token for a credential, waiting up to patience_s for the orchestrator to answer at all.

    Raises Refused when it says no, and OSError (or aiohttp's twin of it) when it never answered.
    """
    backoff = Backoff()
    end = asyncio.get_running_loop().time() + patience_s
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=30)) as session:
        while True:
            try:
                return await _trade(session, url, token)
            except (aiohttp.ClientError, OSError) as error:
                delay = backoff.next()
                if asyncio.get_running_loop().time() + delay > end:
                    raise
                _log.warning("enrol_retry", url=url, error=str(error) or type(error).__name__)
                await asyncio.sleep(delay)


async def _trade(session: aiohttp.ClientSession, url: str, token: str) -> Identity:
    body = msgspec.json.encode(EnrolRequest(token=token, agent_version=VERSION))
    headers = {"Content-Type": "application/json"}
    async with session.post(f"{url}/api/v1/agent/enrol", data=body, headers=headers) as response:
        answer = await response.read()
        if response.status == 429 or response.status >= 500:
            raise aiohttp.ClientError(f"status {response.status}")
        if response.status >= 300:
            raise Refused(f"the orchestrator refused the token: {reason_of(answer, response.status)}")
    try:
        reply = msgspec.json.decode(answer, type=EnrolReply)
    except msgspec.MsgspecError as error:
        raise Refused(f"{url} does not answer like an orchestrator: {error}") from error
    return Identity(url=url, machine_id=reply.machine_id, name=reply.name, credential=reply.credential)


class _Problem(Struct):
    title: str = ""
    detail: str = ""


def reason_of(answer: bytes, status: int) -> str:
    """What a problem+json answer says, in one line; the status alone when it says nothing."""
    try:
        problem = msgspec.json.decode(answer, type=_Problem)
    except msgspec.MsgspecError:
        return f"status {status}"
    return problem.detail or problem.title or f"status {status}"
