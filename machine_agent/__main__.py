"""The agent's command: `python -m machine_agent enrol | run`. It knows exit codes, not how the work is done.

Exit codes: 0 done or drained; 1 the orchestrator could not be reached to enrol; 2 refused, or used wrongly.
"""

from __future__ import annotations

import asyncio
import fcntl
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import aiohttp
import structlog

from machine_agent import identity, log
from machine_agent.agent import run_agent
from machine_agent.config import Config, parse
from machine_agent.errors import Refused
from machine_agent.identity import Identity

_ENROL_S = 30.0
_log = structlog.get_logger()


def main(argv: list[str] | None = None) -> int:
    """Run the command line; returns the exit code."""
    config = parse(sys.argv[1:] if argv is None else argv)
    log.configure(config.log_format)
    try:
        config.data.mkdir(parents=True, exist_ok=True)
        with _alone(config):
            if config.command == "enrol":
                asyncio.run(_enrol(config, _ENROL_S))
            else:
                asyncio.run(_run(config))
    except Refused as error:
        _log.error("refused", reason=str(error))
        return 2
    except aiohttp.ClientError as error:
        _log.error("orchestrator_unreachable", url=config.url, error=str(error) or type(error).__name__)
        return 1
    return 0


async def _enrol(config: Config, patience_s: float) -> Identity:
    if not config.url:
        raise Refused("--url (or FLEET_URL) says where the orchestrator is; it is missing")
    if not config.enrol_token:
        raise Refused("a one-time token is missing (--token, --enrol-token or FLEET_ENROL_TOKEN)")
    mine = await identity.enrol(config.url, config.enrol_token, patience_s)
    identity.save(config.data, mine)
    _log.info("enrolled", machine=mine.name, machine_id=mine.machine_id, url=mine.url)
    return mine


async def _run(config: Config) -> None:
    mine = identity.load(config.data)
    if mine is None:
        if not config.enrol_token:
            raise Refused(f"{config.data} holds no credential: enrol first, or give --enrol-token")
        # A machine that boots before its orchestrator waits for it.
        mine = await _enrol(config, patience_s=float("inf"))
    await run_agent(config, mine)


@contextmanager
def _alone(config: Config) -> Iterator[None]:
    """Hold the data folder: two agents in one would answer for the same attempts."""
    with (config.data / "agent.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise Refused(f"another agent runs in {config.data}") from error
        yield


if __name__ == "__main__":
    sys.exit(main())
