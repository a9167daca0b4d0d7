"""`make demo`: a fleet of one orchestrator and two agents enlarges eight photos, and every picture is checked.

It uses the public API only, as any client would.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import time
from datetime import datetime
from pathlib import Path

from rich.console import Console

from client.api import Fleet
from client.claim import Claim, is_held
from client.cli.session import why
from client.cli.workflows import push_graph, read_graph
from client.demo_check import complaints
from client.demo_view import Row, View
from client.errors import ClientError, SetupProblem
from client.stack import Plan, Stack, demo_folder
from client.up import Ended, until_signal
from orchestrator import wire

MACHINES = ["alpha", "beta"]
RUNS = 8
PATIENCE_S = 300.0
MARK = "demo-data"


class DemoFailed(ClientError):
    """The demo came to an end, but not every picture is right."""


async def demo(out: Path, data: Path) -> int:
    """Runs the whole demo; 0 only if all eight pictures are right. Leaves no process behind."""
    view = View(Console())
    try:
        clear(data)
        with Claim(data):
            await until_signal(_demo(out, data, view))
    except Ended:
        view.say("the demo was interrupted")
        return 130
    except ClientError as error:
        view.say(f"the demo failed: {error}")
        return 1
    return 0


def clear(data: Path) -> None:
    """Empties the demo's own folder. Raises SetupProblem when it is in use or not the demo's."""
    if is_held(data / "up.pid"):
        raise SetupProblem(f"a demo runs on {data} already")
    if data.exists() and any(data.iterdir()):
        if not (data / MARK).exists():
            raise SetupProblem(f"{data} is not empty and not of the demo's making: choose another folder")
        shutil.rmtree(data)
    data.mkdir(parents=True, exist_ok=True)
    (data / MARK).touch()


async def _demo(out: Path, data: Path, view: View) -> None:
    began = time.monotonic()
    threads = max((os.cpu_count() or 2) // len(MACHINES), 1)
    stack = Stack(Plan(data=data, port=0, machines=MACHINES, isolated=True, threads=threads), view.say)
    try:
        view.say("starting the orchestrator, its database and two agents")
        up = await stack.start()
        async with Fleet(up.url, up.api_key) as fleet:
            deployment = await deploy(fleet)
            await stack.until_connected(fleet, MACHINES)
            view.say(f"{up.url}: {' and '.join(MACHINES)} are ready after {time.monotonic() - began:.1f} s")
            rows = await enlarge(fleet, deployment, out, view)
        view.table(rows)
        _judge(rows, out, stack, view, time.monotonic() - began)
    except TimeoutError as error:
        raise DemoFailed(f"not every run has ended after {PATIENCE_S:g} s\n{logs(stack)}") from error
    finally:
        await asyncio.shield(asyncio.ensure_future(stack.stop()))


def _judge(rows: list[Row], out: Path, stack: Stack, view: View, seconds: float) -> None:
    bad = [row for row in rows if row.wrong]
    if bad:
        lines = "\n".join(
            f"  run {row.number} ({row.photo}) on {row.machine or 'no machine'}: {row.wrong}" for row in bad
        )
        raise DemoFailed(f"{len(bad)} of {len(rows)} runs went wrong\n{lines}\n{logs(stack)}")
    view.say(f"{len(rows)} of {len(rows)} pictures are right, in {out}/ ({seconds:.1f} s)")


def logs(stack: Stack) -> str:
    """The end of every process's log."""
    children = [child for child in (stack.orchestrator, *stack.agents.values()) if child is not None]
    return "\n".join(f"--- {child.name} ({child.log})\n{child.log_tail(15)}" for child in children)


async def deploy(fleet: Fleet) -> wire.Deployment:
    """Uploads the demo's workflow as a version and makes it callable."""
    version = await push_graph(fleet, read_graph(demo_folder() / "workflow.json"), "enlarge", "the demo")
    return await fleet.deployments.create(version.id)


def forget(out: Path) -> None:
    """Removes the pictures of an earlier demo, and nothing else."""
    for old in out.glob("[1-8]-*.png"):
        old.unlink()


async def enlarge(fleet: Fleet, deployment: wire.Deployment, out: Path, view: View) -> list[Row]:
    """Sends the runs, follows all of them at once and fetches the pictures. Rows in the order of the runs."""
    photos = sorted(path for path in (demo_folder() / "photos").iterdir() if path.suffix in (".png", ".jpg"))
    forget(out)
    machines = {machine.id: machine.name for machine in (await fleet.machines.list()).items}
    files = [await fleet.files.upload(photo) for photo in photos]
    rows = [Row(number + 1, photos[number % len(photos)].name) for number in range(RUNS)]
    with view:
        async with asyncio.timeout(PATIENCE_S):
            async with asyncio.TaskGroup() as group:
                for index, row in enumerate(rows):
                    file, photo = files[index % len(photos)], photos[index % len(photos)]
                    accepted = await fleet.runs.create(
                        deployment_id=deployment.id, inputs={"photo": {"file_id": file.id}}
                    )
                    group.create_task(_follow(fleet, accepted.id, row, photo, out, machines, view))
    return rows


async def _follow(
    fleet: Fleet, run_id: str, row: Row, photo: Path, out: Path, machines: dict[str, str], view: View
) -> None:
    view.show(row)
    try:
        await _until_fetched(fleet, run_id, row, photo, out, machines, view)
    except ClientError as error:
        row.wrong = str(error)
    view.show(row)


async def _until_fetched(
    fleet: Fleet, run_id: str, row: Row, photo: Path, out: Path, machines: dict[str, str], view: View
) -> None:
    async for event in fleet.runs.events(run_id):
        if isinstance(event, wire.ProgressEvent):
            row.value = max(row.value, min(event.value, 0.99))
        else:
            row.status = event.status
            row.machine = machines.get(event.machine_id or "", row.machine)
        view.show(row)
    run = await fleet.runs.get(run_id)
    row.status, row.machine = run.status, run.machine_name or row.machine
    _times(row, run)
    if run.status == "success":
        row.value = 1.0
        await _fetch(fleet, run_id, row, photo, out)
    else:
        row.wrong = f"{run.status}. {why(run)}"


async def _fetch(fleet: Fleet, run_id: str, row: Row, photo: Path, out: Path) -> None:
    pictures = [one for one in await fleet.runs.outputs(run_id) if one.kind == "images" and one.url]
    if len(pictures) != 1:
        row.wrong = f"made {len(pictures)} pictures, not one"
        return
    path = await fleet.runs.download(pictures[0], out, name=f"{row.number}-{photo.stem}.png")
    row.file = str(path)
    row.wrong = "; ".join(await asyncio.to_thread(complaints, path, photo))


def _times(row: Row, run: wire.Run) -> None:
    timings = next((attempt.timings for attempt in reversed(run.attempt_list or []) if attempt.timings), None) or {}
    row.queue_s = _between(run.created_at, run.started_at)
    row.execute_s = timings.get("execute_ms", 0) / 1000 or _between(run.running_at, run.uploading_at)
    row.upload_s = timings.get("upload_ms", 0) / 1000 or _between(run.uploading_at, run.ended_at)


def _between(start: datetime | None, end: datetime | None) -> float:
    return (end - start).total_seconds() if start and end else 0.0
