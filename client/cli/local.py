"""`comfyfleet up`, `down` and `demo`: a fleet on this host."""

from __future__ import annotations

import asyncio
import importlib
from pathlib import Path
from typing import Annotated

import typer

from client import config
from client.claim import end_fleet
from client.errors import SetupProblem
from client.up import up as run_up

Data = Annotated[Path, typer.Option(help="Folder of database, files, models and logs.")]


def up(
    port: Annotated[int, typer.Option(help="Port to serve on; 0 takes a free one.", min=0, max=65535)] = 8420,
    data: Data = config.DATA,
    machines: Annotated[int, typer.Option(help="Agents on this host.", min=1, max=16)] = 1,
) -> None:
    """Run a fleet on this host until Ctrl-C: orchestrator, embedded database and agents."""
    asyncio.run(run_up(data, port, machines))


def down(data: Data = config.DATA) -> None:
    """End the fleet that `up` started on this folder."""
    print(f"the fleet on {data} has ended" if end_fleet(data) else f"no fleet runs on {data}")


def demo(
    out: Annotated[Path, typer.Option(help="Folder of the finished pictures.")] = Path("build/demo"),
    data: Annotated[Path, typer.Option(help="Folder for the demo's own fleet; emptied first.")] = Path(
        "build/demo-data"
    ),
) -> None:
    """Send eight photos through two machines and check the pictures. The exit code is 0 only if all are right."""
    try:
        module = importlib.import_module("client.demo")
    except ModuleNotFoundError as error:
        raise SetupProblem(f"the demo needs the package {error.name}: pip install 'comfyfleet[all]'") from error
    raise typer.Exit(asyncio.run(module.demo(out, data)))
