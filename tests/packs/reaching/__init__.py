"""A pack that reaches into the server: node classes at run time, the queue, checks of prompts."""

from aiohttp import web

import execution
import nodes
from comfy_execution.graph import DependencyCycleError, ExecutionBlocker, get_input_info
from comfy_execution.progress import get_progress_state
from comfy_execution.utils import get_executing_context
from comfy_execution.validation import validate_node_input
from nodes import NODE_CLASS_MAPPINGS as ALL
from nodes import LoadImage, VAEEncode, common_ksampler
from server import PromptServer

__all__ = ["DependencyCycleError", "NODE_CLASS_MAPPINGS"]


class PackEncode(VAEEncode):
    """Can be made and subclassed; what needs a model says so when it is called."""

    RETURN_TYPES = ("LATENT",)
    CATEGORY = "pack/reaching"

    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {"text": ("STRING", {})}, "optional": {"model": ("MODEL",)}}

    def encode(self, text):
        return super().encode(None, text)


class PackWhere:
    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {"stop": ("BOOLEAN", {"default": False})}}

    RETURN_TYPES = ("STRING", "*")
    FUNCTION = "tell"
    CATEGORY = "pack/reaching"

    def tell(self, stop):
        if stop:
            nodes.interrupt_processing()
            nodes.interrupt_processing(False)
            nodes.before_node_execution()
            nodes.interrupt_processing()
            nodes.before_node_execution()
            raise AssertionError("it was to stop")
        here = get_executing_context()
        get_progress_state().update_progress(here.node_id, 1, 3)
        return (f"{here.node_id} {PromptServer.instance.last_prompt_id == here.prompt_id}", ExecutionBlocker(None))


class PackAddsNodes:
    """Makes a node class known while it runs."""

    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {"name": ("STRING", {})}}

    RETURN_TYPES = ()
    OUTPUT_NODE = True
    FUNCTION = "add"
    CATEGORY = "pack/reaching"

    def add(self, name):
        ALL[name] = type(name, (PackWhere,), {"CATEGORY": "pack/added"})
        nodes.NODE_DISPLAY_NAME_MAPPINGS[name] = f"Added {name}"
        return {"ui": {"text": [name]}}


@PromptServer.instance.routes.post("/reaching/queue")
async def queue(request):
    prompt = await request.json()
    good, error, outputs, node_errors = await execution.validate_prompt("p", prompt)
    if not good:
        return web.json_response({"error": error, "node_errors": node_errors}, status=400)
    one = PromptServer.instance
    one.number += 10
    one.prompt_queue.put((one.number, "reached", prompt, {"client_id": request.query["client"]}, outputs))
    return web.json_response({"number": one.number})


@PromptServer.instance.routes.get("/reaching/facts")
async def facts(request):
    refusal = ""
    try:
        common_ksampler(None, 1)
    except Exception as error:  # noqa: BLE001 - any will do
        refusal = str(error)
    return web.json_response(
        {
            "same class": LoadImage is ALL["LoadImage"] is nodes.LoadImage,
            "method": LoadImage.FUNCTION,
            "resolution": nodes.MAX_RESOLUTION,
            "web": sorted(nodes.EXTENSION_WEB_DIRS),
            "input": get_input_info(ALL["PackAdd"], "a"),
            "none": get_input_info(ALL["PackAdd"], "c"),
            "fits": [
                validate_node_input(*pair)
                for pair in (("A,B", "B"), ("A", "B"), ("*", "B"), ("A,B", "A", True), ("A", "B, A", True))
            ],
            "names": execution.full_type_name(ValueError) + " " + execution.full_type_name(web.Request),
            "misspelt": hasattr(nodes, "VAEEncodde"),
            "refusal": refusal,
            "loaded": await nodes.load_custom_node(request.query["path"]) if "path" in request.query else None,
        }
    )


NODE_CLASS_MAPPINGS = {"PackEncode": PackEncode, "PackWhere": PackWhere, "PackAddsNodes": PackAddsNodes}
