"""A pack that does at import what only the main thread may: a signal handler, and a task on the running loop."""

import asyncio
import signal

from aiohttp import web

from server import PromptServer

DONE = []


@PromptServer.instance.routes.get("/on_main/done")
async def done(request):
    return web.json_response([*DONE, signal.getsignal(signal.SIGUSR2) is handle])


def handle(number, frame):
    DONE.append(number)


async def begin():
    DONE.append("begun")


signal.signal(signal.SIGUSR2, handle)
TASK = asyncio.get_running_loop().create_task(begin())
NODE_CLASS_MAPPINGS = {}
