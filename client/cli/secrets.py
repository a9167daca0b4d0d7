"""`comfyfleet secrets`: environment variables that a machine gives to its node packs. Values go in, and never out."""

from __future__ import annotations

import asyncio
import sys
from typing import Annotated

import typer

from client import output
from client.cli.session import Json, connect, machine_of
from orchestrator import wire

app = typer.Typer(no_args_is_help=True, help="Secrets of machines: environment variables for their node packs.")
Reference = Annotated[str, typer.Argument(help="Name or id of the machine.")]
Name = Annotated[str, typer.Argument(help="Name of the variable, such as HF_TOKEN.")]


@app.command("ls")
def list_secrets(context: typer.Context, machine: Reference, json: Json = False) -> None:
    """List the names of a machine's secrets, with fingerprints of their values."""

    async def work() -> list[wire.MachineSecret]:
        async with connect(context) as fleet:
            return (await fleet.machines.secrets((await machine_of(fleet, machine)).id)).items

    secrets = asyncio.run(work())
    if json:
        output.show_json(secrets)
        return
    rows = [(one.name, one.fingerprint, f"{one.updated_at:%Y-%m-%d %H:%M}", one.created_by) for one in secrets]
    output.show_table(("name", "fingerprint", "set", "by"), rows)


@app.command("set")
def set_secret(context: typer.Context, machine: Reference, name: Name, json: Json = False) -> None:
    """Give a machine a secret. Its value is asked for, or read from standard input; arguments can be seen."""
    value = typer.prompt("Value", hide_input=True) if sys.stdin.isatty() else sys.stdin.read().removesuffix("\n")

    async def work() -> wire.MachineSecret:
        async with connect(context) as fleet:
            return await fleet.machines.set_secret((await machine_of(fleet, machine)).id, name, value)

    made = asyncio.run(work())
    if json:
        output.show_json(made)
    else:
        print(f"{machine} has {made.name} ({made.fingerprint}); its executors are started afresh")


@app.command("rm")
def remove(context: typer.Context, machine: Reference, name: Name) -> None:
    """Take a secret from a machine."""

    async def work() -> None:
        async with connect(context) as fleet:
            await fleet.machines.delete_secret((await machine_of(fleet, machine)).id, name)

    asyncio.run(work())
    print(f"{machine} no longer has {name}")
