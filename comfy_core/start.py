"""Puts the parts of the executor together, lets node packs in, and serves until told to end."""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import ssl
import sys
from collections.abc import Callable, Coroutine
from importlib import import_module
from typing import Any

import structlog
import torch
from aiohttp import web

from comfy_core import first_torch
from comfy_core.around import Around
from comfy_core.config import CacheSettings, DeviceSettings, NetworkSettings
from comfy_core.errors import InputRefused
from comfy_core.graph.cache import Keeping
from comfy_core.graph.execute import Engine
from comfy_core.limits import gigabytes
from comfy_core.log import JOURNAL
from comfy_core.memory import Memory, is_out_of_memory
from comfy_core.nodes import built_in
from comfy_core.packs.load import load_all
from comfy_core.queue import History, PromptQueue
from comfy_core.registry import Services
from comfy_core.server.app import add_routes, open_app
from comfy_core.server.hub import Hub
from comfy_core.server.state import State
from comfy_core.surface import Surface
from comfy_core.usage import free_of, held_by
from comfy_core.worker import Worker

GOODBYE_S = 0.5
CPU = torch.device("cpu")
log = structlog.get_logger()


def assemble(surface: Surface) -> State:
    """Build every part of the executor; nothing runs yet."""
    settings = surface.settings
    device = _device(settings.device)
    memory = Memory(device, settings.device.limits)
    services = Services(settings.folders, memory, settings.metadata)
    registry = built_in(services)
    hub = Hub()
    queue, history = PromptQueue(hub.queue_changed), History()
    engine = Engine(registry, _keeping(settings.cache), torch.inference_mode, _reliever(memory))
    worker = Worker(queue, history, engine, memory, hub, Around(services, registry, queue).of)
    return State(settings, services, registry, queue, history, worker, hub, surface.additions)


def _keeping(told: CacheSettings) -> Keeping:
    headroom = gigabytes(told.free_gb) or 0
    return Keeping(told.kind, told.entries, headroom, lambda: free_of(CPU)[0], held_by)


def _reliever(memory: Memory) -> Callable[[BaseException], bool]:
    return lambda error: is_out_of_memory(error) and memory.relieve(error)


def _device(told: DeviceSettings) -> torch.device:
    on_gpu = not told.cpu and torch.cuda.is_available()
    return torch.device("cuda", told.index) if on_gpu else torch.device("cpu")


async def serve(surface: Surface) -> None:
    """Let packs in, open the port once everything answers, and serve until SIGTERM or SIGINT."""
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    _end_on_signals(loop, stop)
    state = assemble(surface)
    state.hub.attach(loop, lambda: state.queue.remaining)
    JOURNAL.tell = state.hub.logged
    surface.complete(state)
    surface.loop, surface.app = loop, open_app(state)
    first_torch.settle()
    if surface.additions.packs and not await _unless(stop, _packs(surface)):
        return
    _end_on_signals(loop, stop)  # a pack may have set handlers of its own
    runner = await _listen(surface, surface.app)
    state.worker.start(_ready)
    if not surface.settings.quick_test:
        await stop.wait()
    for site in runner.sites:
        await site.stop()
    state.queue.interrupt()
    state.services.folders.wipe_temp()


async def _packs(surface: Surface) -> None:
    first_torch.complete()
    await load_all(surface)
    gc.collect()
    first_torch.settle()


def _ready() -> None:
    """What the worker does before its first prompt."""
    first_torch.complete()
    first_torch.settle()


def _end_on_signals(loop: asyncio.AbstractEventLoop, stop: asyncio.Event) -> None:
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)


async def _unless(stop: asyncio.Event, work: Coroutine[Any, Any, None]) -> bool:
    """Do the work, or leave it when told to stop; whether it was done. What it raises is raised."""
    working, told = asyncio.create_task(work), asyncio.create_task(stop.wait())
    await asyncio.wait({working, told}, return_when=asyncio.FIRST_COMPLETED)
    told.cancel()
    if not working.done():
        working.cancel()
        return False
    working.result()
    return True


async def _listen(surface: Surface, app: web.Application) -> web.AppRunner:
    add_routes(app)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=GOODBYE_S)
    await runner.setup()
    network = surface.settings.network
    for host in network.hosts:
        site = web.TCPSite(runner, host, network.port, reuse_address=True, ssl_context=_tls(network))
        await site.start()
    surface.port = min(address[1] for address in runner.addresses)
    nodes = len(surface.registry)
    log.info("listening", hosts=network.hosts, port=surface.port, pid=os.getpid(), nodes=nodes)
    return runner


def _tls(network: NetworkSettings) -> ssl.SSLContext | None:
    if network.tls_certificate is None or network.tls_key is None:
        return None
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    try:
        context.load_cert_chain(network.tls_certificate, network.tls_key)
    except (OSError, ssl.SSLError) as error:
        raise InputRefused(f"the certificate or its key cannot be used: {error}") from error
    return context


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    """uvloop's where it is installed: it sends what is written within one turn together."""
    try:
        return import_module("uvloop").new_event_loop  # type: ignore[no-any-return]
    except ImportError:
        return None


def run(surface: Surface) -> None:
    """Serve; ends the process."""
    if surface.settings.device.threads:
        torch.set_num_threads(surface.settings.device.threads)
    try:
        with asyncio.Runner(loop_factory=_loop_factory()) as runner:
            runner.run(serve(surface))
    except (OSError, InputRefused) as error:
        log.error("cannot listen", reason=str(error))
        raise SystemExit(2) from error
    sys.stderr.flush()
    os._exit(0)  # a node may still be computing in the worker's thread: nothing waits for it
