"""`comfyfleet run` and `comfyfleet runs`: start, watch, list and cancel runs, fetch what they made."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from client import inputs, output
from client.api import ENDED, Fleet, every
from client.cli.session import Json, connect, deployment_of, why
from orchestrator import wire

app = typer.Typer(no_args_is_help=True, help="Runs: from the request to the results.")
RunId = Annotated[str, typer.Argument(help="The run's id.")]


def run(
    context: typer.Context,
    deployment: Annotated[str, typer.Argument(help="Deployment id, or the workflow's name.")],
    pairs: Annotated[list[str] | None, typer.Option("--input", "-i", help="key=value, or key=@file.")] = None,
    environment: Annotated[str, typer.Option(help="Which deployment of the workflow.")] = "production",
    wait: Annotated[bool, typer.Option("--wait", help="Wait until the run has ended.")] = False,
    output_dir: Annotated[Path | None, typer.Option(help="Save the outputs here (waits).")] = None,
    webhook: Annotated[str | None, typer.Option(help="URL to tell about the run.")] = None,
    metadata: Annotated[list[str] | None, typer.Option("--metadata", "-m", help="key=value, to find it by.")] = None,
    json: Json = False,
) -> None:
    """Start a run. With --wait the exit code is 0 only if it succeeds."""
    values = dict(inputs.parse(pair) for pair in pairs or [])

    async def work() -> tuple[wire.RunAccepted, wire.Run | None, list[Path]]:
        async with connect(context) as fleet:
            found = await deployment_of(fleet, deployment, environment)
            accepted = await fleet.runs.create(
                deployment_id=found.id,
                inputs=await uploaded(fleet, values),
                webhook_url=webhook,
                metadata=inputs.labels(metadata or []),
            )
            if not (wait or output_dir):
                return accepted, None, []
            await _watch(fleet, accepted.id, quiet=json)
            ended = await fleet.runs.get(accepted.id)
            return accepted, ended, await _download(fleet, ended, output_dir)

    accepted, ended, files = asyncio.run(work())
    if json:
        output.show_json({"run": ended or accepted, "files": [str(path) for path in files]})
    elif ended is None:
        print(accepted.id)
    for path in files if not json else ():
        print(path)
    if ended is not None:
        _exit_by(ended)


async def uploaded(fleet: Fleet, values: dict[str, inputs.Value]) -> dict[str, Any]:
    """The values as the API takes them: files uploaded and named by their id."""
    return {
        key: {"file_id": (await fleet.files.upload(value.path)).id} if isinstance(value, inputs.FromFile) else value
        for key, value in values.items()
    }


async def _download(fleet: Fleet, ended: wire.Run, folder: Path | None) -> list[Path]:
    if folder is None or ended.status != "success":
        return []
    outputs = [one for one in await fleet.runs.outputs(ended.id) if one.url]
    names = [one.name or f"{ended.id}-{number}" for number, one in enumerate(outputs)]
    return [
        await fleet.runs.download(one, folder, name=name if names.count(name) == 1 else f"{number}-{name}")
        for number, (one, name) in enumerate(zip(outputs, names, strict=True))
    ]


async def _watch(fleet: Fleet, run_id: str, *, quiet: bool) -> None:
    last = ""
    async for event in fleet.runs.events(run_id):
        text = f"{event.value:4.0%} {event.text}" if isinstance(event, wire.ProgressEvent) else str(event.status)
        if isinstance(event, wire.RunEvent) and event.reason:
            text += f" ({event.reason})"
        if not quiet and text != last:
            print(text, file=sys.stderr, flush=True)
        last = text


def _exit_by(ended: wire.Run) -> None:
    if ended.status != "success":
        output.complain(f"the run ended as {ended.status}. {why(ended)}".rstrip())
        raise typer.Exit(1)


@app.command("ls")
def list_runs(
    context: typer.Context,
    status: Annotated[str | None, typer.Option(help="Only runs that stand so.")] = None,
    limit: Annotated[int, typer.Option(help="How many of the newest.")] = 20,
    metadata: Annotated[list[str] | None, typer.Option("--metadata", "-m", help="Only with this key=value.")] = None,
    json: Json = False,
) -> None:
    """List the newest runs."""
    wanted = inputs.labels(metadata or [])

    async def work() -> list[wire.Run]:
        found: list[wire.Run] = []
        async with connect(context) as fleet:
            async for one in every(fleet.runs.list, status=status, metadata=wanted, limit=min(limit, 100)):
                found.append(one)
                if len(found) == limit:
                    break
        return found

    runs = asyncio.run(work())
    if json:
        output.show_json(runs)
        return
    rows = [
        (one.id, one.status, one.machine_name or "-", f"{one.created_at:%Y-%m-%d %H:%M:%S}", why(one)) for one in runs
    ]
    output.show_table(("id", "status", "machine", "created", "why"), rows)


@app.command()
def show(context: typer.Context, run_id: RunId, json: Json = False) -> None:
    """Show a run with its attempts and outputs."""

    async def work() -> tuple[wire.Run, list[wire.RunOutput]]:
        async with connect(context) as fleet:
            found = await fleet.runs.get(run_id)
            return found, await fleet.runs.outputs(run_id) if found.status in ENDED else []

    found, outputs = asyncio.run(work())
    if json:
        found.outputs = found.outputs or outputs
        output.show_json(found)
        return
    print(f"{found.status}  {why(found)}".rstrip())
    for attempt in found.attempt_list or []:
        became = f"{attempt.outcome or attempt.state} {(attempt.failure or {}).get('message', '')}"
        print(f"  attempt {attempt.number} on {attempt.machine_name}: {became}".rstrip())
    for one in outputs:
        print(f"  node {one.node_id} {one.kind}: {one.url or one.data}")


@app.command()
def watch(context: typer.Context, run_id: RunId, json: Json = False) -> None:
    """Follow a run until it has ended; the exit code is 0 only if it succeeds."""

    async def work() -> wire.Run:
        async with connect(context) as fleet:
            await _watch(fleet, run_id, quiet=json)
            return await fleet.runs.get(run_id)

    ended = asyncio.run(work())
    if json:
        output.show_json(ended)
    _exit_by(ended)


@app.command()
def cancel(context: typer.Context, run_id: RunId, json: Json = False) -> None:
    """Cancel a run."""

    async def work() -> wire.Run:
        async with connect(context) as fleet:
            return await fleet.runs.cancel(run_id)

    found = asyncio.run(work())
    if json:
        output.show_json(found)
    else:
        print(f"the run is {found.status}")
