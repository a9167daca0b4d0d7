"""`comfyfleet workflows` and `comfyfleet deploy`: from a file to something callable."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Annotated, Any

import msgspec
import typer

from client import inputs, output
from client.api import Fleet, every
from client.cli.session import Json, NoSuch, connect, machine_of, version_id_of, workflow_of
from client.errors import SetupProblem
from orchestrator import wire

app = typer.Typer(no_args_is_help=True, help="Workflows and their versions.")


def read_graph(path: Path) -> dict[str, Any]:
    """A workflow file. Raises SetupProblem when it cannot be read or is not a JSON object."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=dict[str, Any])
    except (OSError, msgspec.DecodeError) as error:
        raise SetupProblem(f"{path} is not a workflow in API format: {error}") from error


async def push_graph(fleet: Fleet, graph: dict[str, Any], name: str, comment: str) -> wire.Version:
    """The graph as the newest version of the workflow of that name or id, which is made when there is none."""
    try:
        workflow = await workflow_of(fleet, name)
    except NoSuch:
        workflow = await fleet.workflows.create(name)
    return await fleet.workflows.add_version(workflow.id, graph, comment=comment)


@app.command()
def push(
    context: typer.Context,
    file: Annotated[Path, typer.Argument(help="A workflow saved in API format.")],
    name: Annotated[
        str | None, typer.Option(help="Workflow to add to, made when new. Default: the file's name.")
    ] = None,
    workflow: Annotated[str | None, typer.Option(help="Id of the workflow to add to.")] = None,
    comment: Annotated[str, typer.Option(help="What changed.")] = "",
    json: Json = False,
) -> None:
    """Upload a workflow file as a new version."""
    graph = read_graph(file)

    async def work() -> wire.Version:
        async with connect(context) as fleet:
            if workflow is not None:
                return await fleet.workflows.add_version(workflow, graph, comment=comment)
            return await push_graph(fleet, graph, name or file.stem, comment)

    version = asyncio.run(work())
    if json:
        output.show_json(version)
        return
    print(f"version {version.version} ({version.id})")
    for spec in version.inputs:
        print(f"  input {spec.input_id}: {spec.kind}" + (f", {spec.description}" if spec.description else ""))


@app.command("ls")
def list_workflows(context: typer.Context, json: Json = False) -> None:
    """List the workflows."""

    async def work() -> list[wire.Workflow]:
        async with connect(context) as fleet:
            return [workflow async for workflow in every(fleet.workflows.list)]

    workflows = asyncio.run(work())
    if json:
        output.show_json(workflows)
        return
    rows = [(one.name, one.latest_version or "-", f"{one.updated_at:%Y-%m-%d %H:%M}", one.id) for one in workflows]
    output.show_table(("name", "version", "updated", "id"), rows)


@app.command()
def versions(
    context: typer.Context, workflow: Annotated[str, typer.Argument(help="Name or id.")], json: Json = False
) -> None:
    """List a workflow's versions."""

    async def work() -> list[wire.Version]:
        async with connect(context) as fleet:
            found = await workflow_of(fleet, workflow)
            return [one async for one in every(lambda **query: fleet.workflows.versions(found.id, **query))]

    found = asyncio.run(work())
    if json:
        output.show_json(found)
        return
    rows = [(one.version, f"{one.created_at:%Y-%m-%d %H:%M}", _input_ids(one), one.comment, one.id) for one in found]
    output.show_table(("version", "created", "inputs", "comment", "id"), rows)


def _input_ids(version: wire.Version) -> str:
    return ", ".join(spec.input_id for spec in version.inputs)


def deploy(
    context: typer.Context,
    version: Annotated[str, typer.Argument(help="Version id, workflow (its newest version), or workflow:number.")],
    environment: Annotated[wire.Environment, typer.Option(help="production, staging or preview.")] = "production",
    pool: Annotated[list[str] | None, typer.Option(help="key=value that a machine must carry.")] = None,
    machine: Annotated[str | None, typer.Option(help="Only this machine, by name or id.")] = None,
    json: Json = False,
) -> None:
    """Make a version callable, or move a deployment to it."""

    async def work() -> wire.Deployment:
        async with connect(context) as fleet:
            machine_id = (await machine_of(fleet, machine)).id if machine else None
            return await fleet.deployments.create(
                await version_id_of(fleet, version),
                environment=environment,
                machine_id=machine_id,
                pool=inputs.labels(pool or []),
            )

    made = asyncio.run(work())
    if json:
        output.show_json(made)
    else:
        print(f"{made.workflow_name} version {made.version} is deployed to {made.environment} ({made.id})")
