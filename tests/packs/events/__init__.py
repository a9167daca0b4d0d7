"""A pack that changes prompts before they are validated, and tells of it."""

from server import PromptServer


def replace(body):
    """Every text `<who>` of a prompt becomes the name of the client."""
    for node in body.get("prompt", {}).values():
        for name, value in node.get("inputs", {}).items():
            if value == "<who>":
                node["inputs"][name] = body.get("client_id", "nobody")
                PromptServer.instance.send_sync("events.replaced", {"input": name}, body.get("client_id"))
    return body


def fail(body):
    raise RuntimeError("a handler that fails is passed over")


PromptServer.instance.add_on_prompt_handler(fail)
PromptServer.instance.add_on_prompt_handler(replace)
NODE_CLASS_MAPPINGS = {}
