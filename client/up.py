"""`comfyfleet up`: runs a fleet on this host until it is told to end. Knows the stack and the claim on its folder."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Coroutine
from pathlib import Path
from typing import Any

from client.api import Fleet
from client.claim import Claim
from client.stack import Plan, Stack

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
MACHINE = "local"


class Ended(Exception):
    """A signal asked the program to end."""


async def until_signal(work: Coroutine[Any, Any, None]) -> None:
    """Runs the work; a signal cancels it and raises Ended once it has cleaned up. Further signals are ignored."""
    task = asyncio.ensure_future(work)
    asked = False

    def ask() -> None:
        nonlocal asked
        if not asked:
            asked = True
            task.cancel()

    loop = asyncio.get_running_loop()
    for number in SIGNALS:
        loop.add_signal_handler(number, ask)
    try:
        await task
    except asyncio.CancelledError:
        if not asked:
            raise
        raise Ended from None
    finally:
        for number in SIGNALS:
            loop.remove_signal_handler(number)


async def up(data: Path, port: int, machines: int) -> None:
    """Starts the fleet of a data folder, says how to reach it and keeps it running. Ctrl-C or SIGTERM ends it."""
    names = [MACHINE] if machines == 1 else [f"{MACHINE}-{number}" for number in range(1, machines + 1)]
    with Claim(data):
        try:
            await until_signal(_serve(Stack(Plan(data=data, port=port, machines=names), _say)))
        except Ended:
            _say("the fleet has ended; `make up` goes on with the same data")


async def _serve(stack: Stack) -> None:
    try:
        _say("starting the orchestrator, its database and the agent (some seconds)")
        await stack.start()
        _say(banner(stack))
        async with Fleet(stack.up.url, stack.up.api_key) as fleet:
            await stack.until_connected(fleet, list(stack.agents))
        _say(f"ready: {', '.join(stack.agents)} can take runs. Ctrl-C ends the fleet.")
        await asyncio.Event().wait()
    finally:
        _say("ending the agents, the orchestrator and the database")
        await asyncio.shield(asyncio.ensure_future(stack.stop()))


def banner(stack: Stack) -> str:
    """Where the fleet is; the login and the key on the first start only."""
    up = stack.up
    lines = ["", f"  address   {up.url}"]
    if stack.created:
        lines += [f"  e-mail    {up.email}", f"  password  {up.password}", f"  API key   {up.api_key}"]
        lines += [f"  (shown once; kept in {stack.data / 'up.json'})"]
    else:
        lines += [f"  the login and the API key are in {stack.data / 'up.json'}"]
    return "\n".join([*lines, ""])


def _say(text: str) -> None:
    print(text, flush=True)
