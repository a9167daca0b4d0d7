"""`comfyfleet machines`: list, add, enrol, drain and remove machines."""

from __future__ import annotations

import asyncio
from typing import Annotated

import typer

from client import inputs, output
from client.api import every
from client.cli.session import Json, connect, machine_of
from orchestrator import wire

app = typer.Typer(no_args_is_help=True, help="Machines that do the work.")
Reference = Annotated[str, typer.Argument(help="Name or id.")]


@app.command("ls")
def list_machines(context: typer.Context, json: Json = False) -> None:
    """List the machines and what they are doing."""

    async def work() -> list[wire.Machine]:
        async with connect(context) as fleet:
            return [machine async for machine in every(fleet.machines.list)]

    machines = asyncio.run(work())
    if json:
        output.show_json(machines)
        return
    rows = [
        (
            machine.name,
            machine.state,
            "connected" if machine.connected else "away",
            f"{machine.used_slots}/{machine.slots}",
            ", ".join(f"{key}={value}" for key, value in machine.labels.items()),
            machine.id,
        )
        for machine in machines
    ]
    output.show_table(("name", "state", "link", "slots", "labels", "id"), rows)


@app.command()
def add(
    context: typer.Context,
    name: Annotated[str, typer.Argument(help="A name of your choice.")],
    label: Annotated[list[str] | None, typer.Option("--label", "-l", help="key=value, for pools.")] = None,
    kind: Annotated[wire.MachineKind, typer.Option(help="classic, or a provider's kind.")] = "classic",
    endpoint: Annotated[str | None, typer.Option(help="URL of a ComfyUI with the comfyui-deploy plugin.")] = None,
    private: Annotated[bool, typer.Option("--private", help="The endpoint lies at a private address.")] = False,
    json: Json = False,
) -> None:
    """Register a machine and print the command that connects it; one with an endpoint needs none."""

    async def work() -> tuple[wire.Machine, wire.EnrolToken | None]:
        async with connect(context) as fleet:
            machine = await fleet.machines.create(
                name, kind=kind, labels=inputs.labels(label or []), endpoint=endpoint, endpoint_private=private
            )
            return machine, await fleet.machines.enrol_token(machine.id) if endpoint is None else None

    machine, token = asyncio.run(work())
    if json:
        output.show_json({"machine": machine, "enrol_token": token})
        return
    if token is None:
        print(f"{machine.name} is registered ({machine.id}). It takes runs once {endpoint} answers.")
        return
    print(f"{machine.name} is registered ({machine.id}). On the machine, before {token.expires_at:%H:%M} UTC:")
    print(f"  {token.command}")


@app.command("enrol-token")
def enrol_token(context: typer.Context, machine: Reference, json: Json = False) -> None:
    """Make a one-time token for a machine's agent and print the command that uses it."""

    async def work() -> wire.EnrolToken:
        async with connect(context) as fleet:
            return await fleet.machines.enrol_token((await machine_of(fleet, machine)).id)

    token = asyncio.run(work())
    if json:
        output.show_json(token)
    else:
        print(token.command)


@app.command()
def drain(context: typer.Context, machine: Reference, json: Json = False) -> None:
    """Let a machine finish what it holds and give it nothing more."""
    _switch(context, machine, json, on=True)


@app.command()
def undrain(context: typer.Context, machine: Reference, json: Json = False) -> None:
    """Give a drained machine work again."""
    _switch(context, machine, json, on=False)


def _switch(context: typer.Context, reference: str, json: bool, *, on: bool) -> None:
    async def work() -> wire.Machine:
        async with connect(context) as fleet:
            machine = await machine_of(fleet, reference)
            return await (fleet.machines.drain if on else fleet.machines.undrain)(machine.id)

    machine = asyncio.run(work())
    if json:
        output.show_json(machine)
    else:
        print(f"{machine.name} is {machine.state}")


@app.command("rm")
def remove(
    context: typer.Context,
    machine: Reference,
    force: Annotated[bool, typer.Option("--force", help="Even with runs on it; they go elsewhere.")] = False,
    json: Json = False,
) -> None:
    """Remove a machine; its agent's credential is worth nothing afterwards."""

    async def work() -> wire.Machine:
        async with connect(context) as fleet:
            found = await machine_of(fleet, machine)
            await fleet.machines.delete(found.id, force=force)
            return found

    found = asyncio.run(work())
    if json:
        output.show_json({"id": found.id, "deleted": True})
    else:
        print(f"{found.name} is removed")
