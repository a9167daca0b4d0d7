"""The command line and its environment twins, read into one Config. The only file that sees the environment.

It does not know what the settings do.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path

from msgspec import Struct

from machine_agent import VERSION
from machine_agent.launch import COMFY_CORE, How, Program, how
from machine_agent.log import LogFormat

_SECRETS = ("FLEET_ENROL_TOKEN",)


class Config(Struct, frozen=True):
    """Everything the agent was told. Sizes in bytes, times in seconds."""

    command: str
    data: Path
    url: str | None = None
    enrol_token: str | None = None
    slots: int | None = None
    models: Path | None = None
    executor: How = Program(COMFY_CORE)
    recycle_runs: int | None = None
    recycle_memory: int | None = None
    threads: int | None = None
    cache_limit: int = 10_000_000_000
    allow_private_inputs: bool = False
    drain_s: float = 600.0
    rescan_s: float = 60.0
    log_format: LogFormat = "text"
    environment: dict[str, str] = {}
    """What an executor inherits: ours without our secrets."""

    @property
    def models_directory(self) -> Path:
        """Where the models lie; the data folder's own `models` unless told otherwise."""
        return (self.models or self.data / "models").absolute()

    @property
    def visible_devices(self) -> list[str] | None:
        """The CUDA devices this agent may use, when its environment limits them."""
        value = self.environment.get("CUDA_VISIBLE_DEVICES")
        return None if value is None else [part.strip() for part in value.split(",") if part.strip()]


def parse(argv: list[str], environ: dict[str, str] | None = None) -> Config:
    """Read the command line, with the environment for what it leaves out. Exits 2 on bad usage, like argparse."""
    env = dict(os.environ) if environ is None else environ
    options = _parser(env).parse_args(argv)
    return Config(
        command=options.command,
        data=options.data.absolute(),
        url=options.url.rstrip("/") if options.url else None,
        enrol_token=options.enrol_token or None,
        slots=options.slots,
        models=options.models,
        executor=how(options.executor, options.executor_python, options.executor_args or ""),
        recycle_runs=options.recycle_runs,
        recycle_memory=None if options.recycle_memory_gb is None else int(options.recycle_memory_gb * 1e9),
        threads=options.threads,
        cache_limit=int(options.cache_gb * 1e9),
        allow_private_inputs=options.allow_private_inputs,
        drain_s=options.drain_s,
        rescan_s=options.rescan_s,
        log_format=options.log_format,
        environment={name: value for name, value in env.items() if name not in _SECRETS},
    )


def _parser(env: dict[str, str]) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="machine_agent",
        description="Connects this machine to a ComfyFleet orchestrator and runs its jobs.",
        epilog="Every option has a twin in the environment: --url is FLEET_URL, --drain-s is FLEET_DRAIN_S, ...",
    )
    parser.add_argument("--version", action="version", version=VERSION)
    commands = parser.add_subparsers(dest="command", required=True, metavar="enrol|run")
    enrol = commands.add_parser("enrol", help="trade a one-time token for this machine's credential")
    run = commands.add_parser("run", help="connect and take jobs until told to stop")
    for command in (enrol, run):
        _common(command, env)
    enrol.add_argument("--token", dest="enrol_token", default=env.get("FLEET_ENROL_TOKEN"), help="one-time token")
    enrol.set_defaults(
        slots=None, models=None, executor="comfy_core", executor_python=None, executor_args=None, recycle_runs=None,
        recycle_memory_gb=None, threads=None, cache_gb=10.0, allow_private_inputs=False, drain_s=600.0, rescan_s=60.0,
    )  # fmt: skip
    _run_options(run, env)
    return parser


def _common(parser: argparse.ArgumentParser, env: dict[str, str]) -> None:
    home = Path.home() / ".comfyfleet" / "agent"
    parser.add_argument("--url", default=env.get("FLEET_URL"), help="orchestrator, such as http://host:8420")
    parser.add_argument("--data", type=Path, default=Path(env.get("FLEET_DATA", str(home))), help="data folder")
    parser.add_argument(
        "--log-format", choices=("text", "json"), default=env.get("FLEET_LOG_FORMAT", "text"), help="log lines"
    )


def _run_options(parser: argparse.ArgumentParser, env: dict[str, str]) -> None:
    def twin(flag: str, kind: type, default: str | None, text: str) -> None:
        name = "FLEET_" + flag.strip("-").replace("-", "_").upper()
        # A default given as text goes through `type` like the command line does.
        parser.add_argument(flag, type=kind, default=env.get(name, default), help=f"{text} ({name})")

    twin("--enrol-token", str, None, "enrol with this one-time token first, unless already enrolled")
    twin("--slots", int, None, "jobs at once; default: one per GPU, or one on CPU")
    twin("--models", Path, None, "models folder; default: DATA/models")
    forms = "comfy_core | comfyui:/path/to/checkout | http(s)://host:port | a command with {port} {input} {output} ..."
    twin("--executor", str, "comfy_core", forms)
    twin("--executor-python", Path, None, "the Python of comfyui:/path; default: the one of its venv")
    twin("--executor-args", str, None, "more arguments for the executor, in one text")
    twin("--recycle-runs", int, None, "start an executor afresh after so many runs")
    twin("--recycle-memory-gb", float, None, "start an executor afresh that holds more than this after a run")
    twin("--threads", int, None, "CPU threads per executor; default: the cores shared by the slots")
    twin("--cache-gb", float, "10", "size limit of the input cache")
    twin("--drain-s", float, "600", "on SIGTERM, seconds that running jobs get to finish")
    twin("--rescan-s", float, "60", "seconds between looks at the models folder")
    parser.add_argument(
        "--allow-private-inputs",
        action="store_true",
        default=env.get("FLEET_ALLOW_PRIVATE_INPUTS", "").lower() in ("1", "true", "yes"),
        help="let input URLs given by users reach private addresses (FLEET_ALLOW_PRIVATE_INPUTS)",
    )
