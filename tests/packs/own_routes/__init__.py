"""A pack that answers requests of its own and reaches for the application."""

import os
import threading

from aiohttp import web

import server
from server import PromptServer

SEEN = []


@PromptServer.instance.routes.get("/own_routes/hello")
async def hello(request):
    return web.json_response({"hello": request.query.get("name", "you")})


@PromptServer.instance.routes.post("/own_routes/keep/{key}")
async def keep(request):
    SEEN.append((request.match_info["key"], await request.json()))
    return web.json_response(SEEN)


@PromptServer.instance.routes.get("/own_routes/server")
async def about(request):
    one = PromptServer.instance
    running, pending = one.prompt_queue.get_current_queue()
    return web.json_response(
        {
            "same": server.PromptServer.instance is one,
            "port": one.port,
            "loop": one.loop.is_running(),
            "sockets": sorted(one.sockets),
            "queue": [len(running), len(pending), one.prompt_queue.get_tasks_remaining()],
            "history": sorted(one.prompt_queue.get_history()),
            "number": one.number,
            "address": one.address,
            "web root": os.path.isdir(one.web_root) or one.web_root == "",
            "info": one.get_queue_info(),
        }
    )


@PromptServer.instance.routes.get("/own_routes/fails")
async def fails(request):
    raise ValueError("a route that fails")


PromptServer.instance.app.router.add_static("/own_static", os.path.join(os.path.dirname(__file__), "files"))
PromptServer.instance.app.router.add_get("/own_routes/direct", hello)


class PackTells:
    """Sends what it is given to the client, from another thread, as text and as bytes."""

    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {"text": ("STRING", {"default": ""})}, "hidden": {"node": "UNIQUE_ID"}}

    RETURN_TYPES = ()
    OUTPUT_NODE = True
    FUNCTION = "tell"
    CATEGORY = "pack/routes"

    def tell(self, text, node):
        one = PromptServer.instance
        client = one.client_id

        def say():
            one.send_sync("own_routes.said", {"text": text, "node": one.last_node_id}, client)
            one.send_sync(77, text.encode(), client)
            one.send_sync("own_routes.all", {"text": text})
            one.send_progress_text(text, node)

        thread = threading.Thread(target=say)
        thread.start()
        thread.join()
        return {"ui": {"client": [client or ""]}}


NODE_CLASS_MAPPINGS = {"PackTells": PackTells}
