"""`python -m comfy_core`: puts the parts together and serves until told to end. The only file that knows them all."""

from __future__ import annotations

import asyncio
import ctypes
import os
import signal
import sys

import structlog
import torch
from aiohttp import web

from comfy_core import log as logging_setup
from comfy_core.config import Settings, read_settings
from comfy_core.errors import ExecutorError
from comfy_core.graph.execute import Engine
from comfy_core.memory import Memory
from comfy_core.models.loader import UpscaleModel
from comfy_core.nodes import built_in
from comfy_core.queue import History, PromptQueue
from comfy_core.registry import Services
from comfy_core.server.app import create_app
from comfy_core.server.hub import Hub
from comfy_core.server.state import State
from comfy_core.worker import Worker

PR_SET_PDEATHSIG = 1
GOODBYE_S = 0.5
log = structlog.get_logger()


def assemble(settings: Settings) -> State:
    """Build every part of the executor; nothing runs yet."""
    device = torch.device("cpu" if settings.cpu or not torch.cuda.is_available() else "cuda:0")
    memory: Memory[UpscaleModel] = Memory(device)
    services = Services(settings.folders, memory, settings.metadata)
    registry = built_in(services)
    hub = Hub()
    queue, history = PromptQueue(hub.queue_changed), History()
    engine = Engine(registry, settings.keep, torch.inference_mode)
    worker = Worker(queue, history, engine, memory, hub)
    return State(settings, services, registry, queue, history, worker, hub)


async def serve(state: State) -> None:
    """Open the port once everything answers, and serve until SIGTERM or SIGINT."""
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    state.hub.attach(loop, lambda: state.queue.remaining)
    state.worker.start()
    runner = web.AppRunner(create_app(state), access_log=None, shutdown_timeout=GOODBYE_S)
    await runner.setup()
    for host in state.settings.hosts:
        site = web.TCPSite(runner, host, state.settings.port, reuse_address=True)
        await site.start()
    ports = sorted({address[1] for address in runner.addresses})
    log.info("listening", hosts=state.settings.hosts, port=ports[0], pid=os.getpid(), nodes=len(state.registry))
    await stop.wait()
    state.queue.interrupt()
    state.services.folders.wipe_temp()


def die_with_parent() -> None:
    """Have the kernel kill this process when its parent ends. Linux only."""
    parent = os.getppid()
    ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:
        raise SystemExit(1)


def main() -> None:
    """Read the command line, assemble, serve."""
    logging_setup.set_up()
    try:
        settings = read_settings(sys.argv[1:])
    except ExecutorError as error:
        log.error("cannot start", reason=str(error))
        raise SystemExit(2) from error
    if settings.die_with_parent:
        die_with_parent()
    if settings.ignored:
        log.warning("flags without a meaning here are ignored", flags=settings.ignored)
    if settings.threads:
        torch.set_num_threads(settings.threads)
    settings.folders.prepare()
    try:
        asyncio.run(serve(assemble(settings)))
    except OSError as error:
        log.error("cannot listen", reason=str(error))
        raise SystemExit(2) from error
    sys.stderr.flush()
    os._exit(0)  # a node may still be computing in the worker's thread: nothing waits for it


if __name__ == "__main__":
    main()
