"""What the commands share: the fleet that the options name, things found by id or by name, and how a run looks.

It knows the SDK and no single command.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated

import typer
from msgspec import Struct

from client import config
from client.api import Fleet, every
from client.errors import ClientError
from orchestrator import wire

UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE)

Json = Annotated[bool, typer.Option("--json", help="Print JSON for programs.")]


class Options(Struct):
    """The options that stand before the command."""

    url: str | None = None
    api_key: str | None = None
    data: Path | None = None


class NoSuch(ClientError):
    """There is nothing of that name."""


def connect(context: typer.Context) -> Fleet:
    """The fleet that the command line, the environment or up.json names."""
    options = context.find_object(Options) or Options()
    found = config.access(options.url, options.api_key, options.data)
    return Fleet(found.url, found.api_key)


async def machine_of(fleet: Fleet, reference: str) -> wire.Machine:
    """A machine by id or name."""
    if UUID.fullmatch(reference):
        return await fleet.machines.get(reference)
    async for machine in every(fleet.machines.list):
        if machine.name == reference and machine.state != "deleted":
            return machine
    raise NoSuch(f"there is no machine {reference!r}; `comfyfleet machines ls` shows them")


async def workflow_of(fleet: Fleet, reference: str) -> wire.Workflow:
    """A workflow by id or name; of several with that name the newest."""
    if UUID.fullmatch(reference):
        return await fleet.workflows.get(reference)
    async for workflow in every(fleet.workflows.list):
        if workflow.name == reference:
            return workflow
    raise NoSuch(f"there is no workflow {reference!r}; `comfyfleet workflows ls` shows them")


async def version_id_of(fleet: Fleet, reference: str) -> str:
    """A version by id, by `workflow` (its newest) or by `workflow:number`."""
    if UUID.fullmatch(reference):
        return reference
    name, colon, number = reference.rpartition(":")
    wanted = int(number) if colon and number.isdigit() else None
    workflow = await workflow_of(fleet, name if wanted is not None else reference)
    async for version in every(lambda **query: fleet.workflows.versions(workflow.id, **query)):
        if wanted in (None, version.version):
            return version.id
    raise NoSuch(f"workflow {workflow.name!r} has no version {wanted or 'yet'}")


async def deployment_of(fleet: Fleet, reference: str, environment: str) -> wire.Deployment:
    """A deployment by id, or by its workflow's name or id in an environment."""
    async for deployment in every(fleet.deployments.list):
        named = reference in (deployment.workflow_name, deployment.workflow_id)
        if deployment.id == reference or (named and deployment.environment == environment):
            return deployment
    raise NoSuch(f"there is no {environment} deployment of {reference!r}; `comfyfleet deploy {reference}` makes one")


def why(run: wire.Run) -> str:
    """Why a run waits or ended badly, in one line."""
    if run.failure:
        kind, message = run.failure.get("kind", "failed"), str(run.failure.get("message", "")).strip()
        node = run.failure.get("node_id")
        return f"{kind}: {message}" + (f" (node {node} {run.failure.get('node_type', '')})".rstrip() if node else "")
    return run.waiting_reason or ""
