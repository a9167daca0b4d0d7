"""The `comfyfleet` command: `python -m client` is the same. Puts the commands together; knows none of their work."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from client import output
from client.cli import local, machines, runs, secrets, workflows
from client.cli.session import Options
from client.errors import ClientError

app = typer.Typer(
    name="comfyfleet",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="A fleet of GPUs for ComfyUI workflows.",
)
app.command()(local.up)
app.command()(local.down)
app.command()(local.demo)
app.add_typer(machines.app, name="machines")
app.add_typer(secrets.app, name="secrets")
app.add_typer(workflows.app, name="workflows")
app.command()(workflows.deploy)
app.command()(runs.run)
app.add_typer(runs.app, name="runs")


@app.callback()
def options(
    context: typer.Context,
    url: Annotated[str | None, typer.Option(help="The orchestrator (FLEET_URL, or DATA/up.json).")] = None,
    api_key: Annotated[str | None, typer.Option(help="API key (FLEET_API_KEY, or DATA/up.json).")] = None,
    data: Annotated[Path | None, typer.Option(help="Folder whose up.json to use [.comfyfleet].")] = None,
) -> None:
    """A fleet of GPUs for ComfyUI workflows."""
    context.obj = Options(url=url, api_key=api_key, data=data)


def main() -> None:
    """Runs the command; a problem is one message on standard error and exit code 1."""
    try:
        app()
    except ClientError as error:
        output.complain(str(error))
        sys.exit(1)
    except KeyboardInterrupt:
        sys.exit(130)


if __name__ == "__main__":
    main()
