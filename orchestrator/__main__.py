"""`python -m orchestrator serve | migrate | openapi`. How a process starts and ends, not what it serves."""

from __future__ import annotations

import argparse
import asyncio
import gc
import signal
import socket
import sys
from pathlib import Path
from types import FrameType

import msgspec
import structlog
import uvicorn
from litestar import Litestar

from orchestrator import log as logging_setup
from orchestrator.api.schema import document
from orchestrator.app import create_app
from orchestrator.config import Config, from_environment
from orchestrator.store.embedded import EmbeddedPostgres
from orchestrator.store.migrate import migrate

log = structlog.get_logger("orchestrator")

GRACE_S = 2


class Server(uvicorn.Server):
    """uvicorn, which ends our streams before it waits for connections, and says where it listens."""

    def __init__(self, config: uvicorn.Config, app: Litestar, url: str, port: int, port_file: Path | None) -> None:
        super().__init__(config)
        self._app = app
        self._url = url
        self._port = port
        self._port_file = port_file
        self._loop: asyncio.AbstractEventLoop | None = None

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start, then tell the port."""
        self._loop = asyncio.get_running_loop()
        await super().startup(sockets)
        if not self.started:
            return
        # What stands now stays for ever: the collector need not walk it again and again in the middle of requests.
        gc.collect()
        gc.freeze()
        log.info("listening", url=self._url, port=self._port)
        if self._port_file is not None:
            draft = self._port_file.with_name(f"{self._port_file.name}.new")
            draft.write_text(f"{self._port}\n")
            draft.replace(self._port_file)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """SIGTERM and SIGINT: end the streams first, then everything, as an orderly end (status 0).

        A second SIGINT waits for nobody. Nothing is logged here: the signal may have come in the middle of a line, and
        whoever writes it holds the log's lock.
        """
        if self._loop is not None:
            self._loop.call_soon_threadsafe(self._drain, signal.Signals(sig).name)
        self.force_exit = self.should_exit and sig == signal.SIGINT
        self.should_exit = True

    def _drain(self, why: str) -> None:
        log.info("stopping", signal=why)
        self._app.state.draining.set()


def _listen(config: Config) -> socket.socket:
    """A bound socket. Raises OSError."""
    family = socket.AF_INET6 if ":" in config.host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((config.host, config.port))
    except OSError:
        listener.close()
        raise
    return listener


def serve(config: Config, port_file: Path | None, up_file: Path | None) -> int:
    """Serve until SIGTERM or SIGINT; returns the exit status."""
    try:
        listener = _listen(config)
    except OSError as error:
        log.error("cannot listen", host=config.host, port=config.port, error=str(error))
        return 1
    config = msgspec.structs.replace(config, port=listener.getsockname()[1])
    app = create_app(config, up_file=up_file)
    settings = uvicorn.Config(
        app,
        loop="uvloop",
        http="httptools",
        ws="websockets-sansio",
        ws_max_size=32 * 1024 * 1024,
        ws_per_message_deflate=False,
        timeout_graceful_shutdown=GRACE_S,
        timeout_keep_alive=75,
        access_log=False,
        log_config=None,
        server_header=False,
        backlog=4096,
    )
    server = Server(settings, app, config.base_url, config.port, port_file)
    with listener:
        server.run(sockets=[listener])
    return 0 if server.started else 1


async def _migrate(config: Config) -> int:
    if config.database_url:
        applied = await migrate(config.database_url)
    else:
        server = EmbeddedPostgres(config.data / "postgres")
        dsn = await server.start()
        try:
            applied = await migrate(dsn)
        finally:
            await server.stop()
    log.info("migrated", applied=applied)
    return 0


def openapi_document() -> bytes:
    """The OpenAPI 3.1 document of the whole API, as indented JSON."""
    return document(create_app(Config()))


def _arguments() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m orchestrator", description="The ComfyFleet orchestrator.")
    commands = parser.add_subparsers(dest="command", required=True)
    shared = argparse.ArgumentParser(add_help=False)
    shared.add_argument("--data", type=Path, help="data folder (FLEET_DATA; default .comfyfleet)")
    shared.add_argument("--database-url", help="PostgreSQL DSN (DATABASE_URL; default: embedded, under data)")
    serving = commands.add_parser("serve", parents=[shared], help="serve the API and the dashboard")
    serving.add_argument("--host", help="address to listen on (FLEET_HOST; default 127.0.0.1)")
    serving.add_argument("--port", type=int, help="port; 0 takes a free one (FLEET_PORT; default 8420)")
    serving.add_argument("--public-url", help="how clients and agents reach this server (FLEET_PUBLIC_URL)")
    serving.add_argument("--port-file", type=Path, help="write the port here once the server listens")
    serving.add_argument("--up-file", type=Path, help="where a newly made first admin's credentials go (data/up.json)")
    commands.add_parser("migrate", parents=[shared], help="bring the database to the present schema")
    commands.add_parser("openapi", help="print the OpenAPI document")
    return parser


def main(arguments: list[str] | None = None) -> int:
    """Run a command; returns the exit status."""
    options = _arguments().parse_args(arguments)
    if options.command == "openapi":
        sys.stdout.buffer.write(openapi_document())
        return 0
    names = ("data", "database_url", "host", "port", "public_url")
    try:
        config = from_environment(**{name: getattr(options, name, None) for name in names})
    except msgspec.ValidationError as error:
        sys.stderr.write(f"settings: {error}\n")
        return 2
    logging_setup.configure(config.log_level, json=config.log_json)
    if options.command == "migrate":
        return asyncio.run(_migrate(config))
    return serve(config, options.port_file, options.up_file)


if __name__ == "__main__":
    sys.exit(main())
