"""`server` as node packs import it: PromptServer.instance, with routes, events and the queue."""

from comfy_core.packs.prompt_server import BinaryEventTypes, PromptServer

__all__ = ["BinaryEventTypes", "PromptServer"]
