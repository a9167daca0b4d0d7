"""Says a deployed workflow's input and output nodes with nodes that every ComfyUI has, for executors without ours.

A value takes the place of the links to its input node; an image becomes LoadImage. Pure: the workflow given is never
changed. It knows what the nodes of `comfy_core/nodes/external.py` promise, not how they do it.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Collection
from typing import Any

import msgspec

from drivers.wire import Failure, WorkflowJson
from machine_agent.errors import AttemptFailed

INPUT = "ComfyUIDeployExternal"
LARGEST_SEED = 4294967295
Node = dict[str, Any]
Link = list[Any]


class _Lacking(Exception):
    """There is no core node for this."""


def wanted(workflow: WorkflowJson) -> set[str]:
    """The classes of the workflow's nodes that this module has words for."""
    classes = {str(node.get("class_type", "")) for node in workflow.values() if isinstance(node, dict)}
    return classes & TRANSLATED.keys()


def translatable(classes: Collection[str]) -> set[str]:
    """The classes that an executor with these can run although it does not have them."""
    return {name for name, needs in TRANSLATED.items() if name not in classes and needs <= set(classes)}


def translate(workflow: WorkflowJson, classes: Collection[str]) -> WorkflowJson:
    """The workflow for an executor with these classes. Raises AttemptFailed `bad_graph` for a node that has no twin."""
    result: WorkflowJson = {}
    values: dict[str, Any] = {}
    for node_id, node in workflow.items():
        class_type = str(node.get("class_type", "")) if isinstance(node, dict) else ""
        if class_type in classes or class_type not in TRANSLATED:
            result[node_id] = node
            continue
        try:
            _one(node_id, node, class_type, result, values)
        except _Lacking as reason:
            raise AttemptFailed(
                Failure("bad_graph", f"this machine's executor has no {class_type}, and {reason}", node_id, class_type)
            ) from reason
    return {node_id: _filled(node, values) for node_id, node in result.items()} if values else result


def _one(node_id: str, node: Node, class_type: str, result: WorkflowJson, values: dict[str, Any]) -> None:
    inputs = node.get("inputs", {})
    if class_type in OUTPUTS:
        result[node_id] = {**node, **OUTPUTS[class_type](inputs)}
    elif class_type in IMAGES:
        result.update(IMAGES[class_type](node_id, node, values))
    else:
        values[node_id] = VALUES[class_type](inputs)


def _filled(node: Any, values: dict[str, Any]) -> Any:
    """The node with the values in place of links to nodes that are gone. A value may itself be such a link."""
    if not isinstance(node, dict) or not isinstance(node.get("inputs"), dict):
        return node
    return {**node, "inputs": {name: _value(given, values) for name, given in node["inputs"].items()}}


def _value(given: Any, values: dict[str, Any]) -> Any:
    for _ in values:
        if not (isinstance(given, list) and len(given) == 2 and given[0] in values):
            break
        given = values[given[0]]
    return given


def _image(node_id: str, node: Node, values: dict[str, Any]) -> WorkflowJson:
    """LoadImage of the file given, else of the default; a default that is an image passes through."""
    inputs = node["inputs"]
    name = _file(inputs)
    if name is None:
        values[node_id] = _default_image(inputs)
        return {}
    return {node_id: {**node, "class_type": "LoadImage", "inputs": {"image": name}}}


def _image_alpha(node_id: str, node: Node, values: dict[str, Any]) -> WorkflowJson:
    name = _file(node["inputs"])
    if name is None:
        values[node_id] = _default_image(node["inputs"])
        return {}
    loaded = f"{node_id}.load"
    joined = {"image": [loaded, 0], "alpha": [loaded, 1]}
    return {
        loaded: {"class_type": "LoadImage", "inputs": {"image": name}},
        node_id: {**node, "class_type": "JoinImageWithAlpha", "inputs": joined},
    }


def _image_batch(node_id: str, node: Node, values: dict[str, Any]) -> WorkflowJson:
    names = _names(node["inputs"].get("images", "[]"))
    if not names:
        values[node_id] = _default_image(node["inputs"])
        return {}
    made: WorkflowJson = {}
    last: Link = []
    for place, name in enumerate(names):
        loaded = f"{node_id}.{place}"
        made[loaded] = {"class_type": "LoadImage", "inputs": {"image": name}}
        if last:
            joined = f"{node_id}.{place}.batch"
            made[joined] = {"class_type": "ImageBatch", "inputs": {"image1": last, "image2": [loaded, 0]}}
            last = [joined, 0]
        else:
            last = [loaded, 0]
    values[node_id] = last
    return made


def _file(inputs: dict[str, Any]) -> str | None:
    """The input's file: one that was laid, which has a folder in its name, else the default's name."""
    given, default = inputs.get("input_id"), inputs.get("default_value_url")
    for name in (given, default):
        if isinstance(name, str) and name.startswith("data:"):
            raise _Lacking("an image given as a data: URL cannot be laid for it: upload it as a file")
    if isinstance(given, str) and "/" in given:
        return given
    return default if isinstance(default, str) and default else None


def _default_image(inputs: dict[str, Any]) -> Any:
    if isinstance(inputs.get("default_value"), list):
        return inputs["default_value"]
    raise _Lacking(f"its input {inputs.get('input_id')!r} has neither a file nor a default")


def _names(images: Any) -> list[str]:
    try:
        return msgspec.json.decode(images or "[]", type=list[str])
    except (msgspec.MsgspecError, TypeError) as error:
        raise _Lacking("its images are not a JSON list of names") from error


def _default(inputs: dict[str, Any]) -> Any:
    return inputs.get("default_value", "")


def _number(whole: bool) -> Callable[[dict[str, Any]], Any]:
    def value(inputs: dict[str, Any]) -> Any:
        number = _parsed(str(inputs.get("input_id", "")), whole)
        low, high = inputs.get("min_value"), inputs.get("max_value")
        outside = number is not None and (
            (isinstance(low, int | float) and number < low) or (isinstance(high, int | float) and number > high)
        )
        return inputs.get("default_value", 0) if number is None or outside else number

    return value


def _parsed(text: str, whole: bool) -> float | None:
    try:
        return round(float(text)) if whole else float(text)
    except (ValueError, OverflowError):
        return None


def _seed(inputs: dict[str, Any]) -> Any:
    given = inputs.get("default_value", -1)
    low, high = inputs.get("min_value", 1), inputs.get("max_value", LARGEST_SEED)
    if not all(isinstance(one, int) for one in (given, low, high)) or low <= given <= high:
        return given  # a link, or a seed within the bounds
    if low > high:
        raise _Lacking(f"its smallest seed {low} is above the largest {high}")
    return low + secrets.randbelow(high - low + 1)


def _lora(inputs: dict[str, Any]) -> Any:
    name = inputs.get("lora_url") or inputs.get("default_lora_name", "")
    if isinstance(name, str) and name.startswith(("http://", "https://")):
        raise _Lacking("a LoRA at a URL cannot be fetched for it: name one that the machine has")
    return name


def _save_image(inputs: dict[str, Any]) -> Node:
    if inputs.get("file_type", "png") != "png":
        raise _Lacking(f"core nodes do not write {inputs['file_type']}: choose png")
    kept = {name: inputs[name] for name in ("images", "filename_prefix") if name in inputs}
    return {"class_type": "SaveImage", "inputs": {"filename_prefix": "ComfyUI", **kept}}


def _show_text(inputs: dict[str, Any]) -> Node:
    return {"class_type": "PreviewAny", "inputs": {"source": inputs.get("text", "")}}


VALUES: dict[str, Callable[[dict[str, Any]], Any]] = {
    **{f"{INPUT}{kind}": _default for kind in ("Text", "TextAny", "TextSingleLine", "Boolean", "Enum", "Checkpoint")},
    **{f"{INPUT}{kind}": _number(whole=False) for kind in ("Number", "NumberSlider")},
    **{f"{INPUT}{kind}": _number(whole=True) for kind in ("NumberInt", "NumberSliderInt")},
    f"{INPUT}Seed": _seed,
    f"{INPUT}Lora": _lora,
}
IMAGES: dict[str, Callable[[str, Node, dict[str, Any]], WorkflowJson]] = {
    f"{INPUT}Image": _image,
    f"{INPUT}ImageAlpha": _image_alpha,
    f"{INPUT}ImageBatch": _image_batch,
}
OUTPUTS: dict[str, Callable[[dict[str, Any]], Node]] = {
    "ComfyDeployOutputImage": _save_image,
    "ComfyDeployOutputText": _show_text,
}
TRANSLATED: dict[str, set[str]] = {
    **{name: set() for name in VALUES},
    f"{INPUT}Image": {"LoadImage"},
    f"{INPUT}ImageAlpha": {"LoadImage", "JoinImageWithAlpha"},
    f"{INPUT}ImageBatch": {"LoadImage", "ImageBatch"},
    "ComfyDeployOutputImage": {"SaveImage"},
    "ComfyDeployOutputText": {"PreviewAny"},
}
"""What can be said with core nodes, and which."""
