"""What a workflow version is: is it a graph in ComfyUI's API format, what does it take, what must a machine have. Pure.

Checks walk the graph once, without recursion: a graph of 100,000 nodes in one chain costs the same per node as a short
one. Whether a node class exists is a machine's knowledge, not ours.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any, Final

import msgspec
from msgspec import Struct

from orchestrator.errors import FieldError
from orchestrator.runs.environment import model_hashes, node_packs, packs_of
from orchestrator.wire import InputSpec, ModelNeed, OutputSpec, PackNeed

MOST_NODES: Final = 100_000
MOST_ERRORS: Final = 50
DEEPEST_VALUE: Final = 100
EXTERNAL: Final = "ComfyUIDeployExternal"

_UI_REMEDY: Final = (
    "this is the editor's graph (it has a `nodes` list): send it as ui_graph and leave api_graph out to have it "
    "converted, or export it in the API format"
)

# class -> its input that names a model file -> ComfyUI's folder of such files
MODEL_INPUTS: Final[dict[str, dict[str, str]]] = {
    "CheckpointLoaderSimple": {"ckpt_name": "checkpoints"},
    "CheckpointLoader": {"ckpt_name": "checkpoints"},
    "unCLIPCheckpointLoader": {"ckpt_name": "checkpoints"},
    "ImageOnlyCheckpointLoader": {"ckpt_name": "checkpoints"},
    "UNETLoader": {"unet_name": "diffusion_models"},
    "CLIPLoader": {"clip_name": "text_encoders"},
    "DualCLIPLoader": {"clip_name1": "text_encoders", "clip_name2": "text_encoders"},
    "TripleCLIPLoader": {f"clip_name{n}": "text_encoders" for n in (1, 2, 3)},
    "QuadrupleCLIPLoader": {f"clip_name{n}": "text_encoders" for n in (1, 2, 3, 4)},
    "VAELoader": {"vae_name": "vae"},
    "LoraLoader": {"lora_name": "loras"},
    "LoraLoaderModelOnly": {"lora_name": "loras"},
    "ControlNetLoader": {"control_net_name": "controlnet"},
    "DiffControlNetLoader": {"control_net_name": "controlnet"},
    "CLIPVisionLoader": {"clip_name": "clip_vision"},
    "StyleModelLoader": {"style_model_name": "style_models"},
    "GLIGENLoader": {"gligen_name": "gligen"},
    "HypernetworkLoader": {"hypernetwork_name": "hypernetworks"},
    "PhotoMakerLoader": {"photomaker_model_name": "photomaker"},
    "UpscaleModelLoader": {"model_name": "upscale_models"},
    "LatentUpscaleModelLoader": {"model_name": "latent_upscale_models"},
    "AudioEncoderLoader": {"audio_encoder_name": "audio_encoders"},
}
MODEL_ENDINGS: Final = (".safetensors", ".sft", ".ckpt", ".pth", ".pt", ".gguf")

# what follows ComfyUIDeployExternal -> the kind of input
KINDS: Final[dict[str, Any]] = {
    "Text": "text",
    "TextAny": "text",
    "TextSingleLine": "text",
    "Image": "image",
    "ImageAlpha": "image",
    "ImageBatch": "images",
    "Number": "number",
    "NumberInt": "integer",
    "NumberSlider": "number",
    "NumberSliderInt": "integer",
    "Boolean": "boolean",
    "Enum": "enum",
    "Seed": "seed",
    "Checkpoint": "file",
    "Lora": "file",
    "FaceModel": "file",
    "Video": "file",
    "Vid": "file",
    "Audio": "file",
    "EXR": "file",
    "File": "file",
}
DEFAULT_FIELDS: Final = (
    "default_value",
    "default_value_url",
    "default_lora_name",
    "default_face_model_name",
    "default_video",
    "images",
    "audio_file",
    "exr_file",
    "file_url",
)


# class -> the kind of what it gives out, as RunOutput.kind has it
OUTPUTS: Final[dict[str, str]] = {
    "ComfyDeployOutputImage": "images",
    "ComfyDeployOutputText": "text_file",
    "ComfyDeployOutputEXR": "images",
    "ComfyDeployOutputFile": "files",
    "ComfyDeployStdOutputImage": "images",
    "ComfyDeployStdOutputAny": "text",
    "SaveImage": "images",
    "PreviewImage": "images",
    "SaveAnimatedPNG": "images",
    "SaveAnimatedWEBP": "images",
    "SaveSVGNode": "images",
    "SaveVideo": "images",
    "SaveWEBM": "images",
    "SaveAudio": "audio",
    "SaveAudioMP3": "audio",
    "SaveAudioOpus": "audio",
    "PreviewAudio": "audio",
    "SaveGLB": "3d",
    "PreviewAny": "text",
}


class Requirements(Struct):
    """What is kept of a version besides its graph: stored in workflow_versions.requirements.

    node_packs: class -> the pack that the editor's graph says it is of.
    """

    node_classes: list[str] = []
    models: list[ModelNeed] = []
    inputs: list[InputSpec] = []
    packs: list[PackNeed] = []
    node_packs: dict[str, str] = {}
    outputs: list[OutputSpec] = []


def check_graph(graph: Mapping[str, Any]) -> list[FieldError]:
    """Every way in which this is not a runnable API graph, at most 50, each naming `nodes.<id>`. Empty: it is one."""
    if isinstance(graph.get("nodes"), list):
        return [FieldError("api_graph", _UI_REMEDY, "ui_graph")]
    if not graph:
        return [FieldError("api_graph", "the graph has no node", "empty_graph")]
    if len(graph) > MOST_NODES:
        return [FieldError("api_graph", f"at most {MOST_NODES} nodes, not {len(graph)}", "too_many_nodes")]
    errors: list[FieldError] = []
    for node_id, node in graph.items():
        errors.extend(_check_node(node_id, node, graph))
        if len(errors) >= MOST_ERRORS:
            return errors[:MOST_ERRORS]
    return errors or _check_cycles(graph)


def _check_node(node_id: str, node: Any, graph: Mapping[str, Any]) -> Iterator[FieldError]:
    path = f"nodes.{node_id}"
    if not isinstance(node, dict):
        yield FieldError(path, "must be an object with class_type and inputs", "not_a_node")
        return
    class_type, inputs = node.get("class_type"), node.get("inputs", {})
    if not isinstance(class_type, str) or not class_type:
        yield FieldError(f"{path}.class_type", "must name the node's class", "missing_class_type")
    if not isinstance(inputs, dict):
        yield FieldError(f"{path}.inputs", "must be an object", "not_a_node")
        return
    for name, value in inputs.items():
        source = link_source(value)
        if source is not None and source not in graph:
            yield FieldError(f"{path}.inputs.{name}", f"there is no node {source!r} to link to", "missing_node")
        elif source is None and isinstance(value, list | dict) and _too_deep(value):
            yield FieldError(f"{path}.inputs.{name}", f"is nested deeper than {DEEPEST_VALUE}", "too_deep")


def link_source(value: Any) -> str | None:
    """The node a value links to: ComfyUI takes every list [text, number] for a link."""
    if not isinstance(value, list) or len(value) != 2:
        return None
    source, slot = value
    return source if isinstance(source, str) and isinstance(slot, int | float) and not isinstance(slot, bool) else None


def _too_deep(value: Any) -> bool:
    level = [value]
    for _ in range(DEEPEST_VALUE):
        level = [
            item
            for part in level
            for item in (part.values() if isinstance(part, dict) else part)
            if isinstance(item, list | dict)
        ]
        if not level:
            return False
    return True


def _sources(node: Mapping[str, Any]) -> list[str]:
    return [source for value in node.get("inputs", {}).values() if (source := link_source(value)) is not None]


def _check_cycles(graph: Mapping[str, Any]) -> list[FieldError]:
    """Kahn's algorithm: take away nodes that wait for nobody; what cannot be taken away lies on or behind a cycle."""
    waits = {node_id: len(set(_sources(node))) for node_id, node in graph.items()}
    users: dict[str, list[str]] = {}
    for node_id, node in graph.items():
        for source in set(_sources(node)):
            users.setdefault(source, []).append(node_id)
    ready = [node_id for node_id, count in waits.items() if count == 0]
    while ready:
        for user in users.get(ready.pop(), ()):
            waits[user] -= 1
            if waits[user] == 0:
                ready.append(user)
    stuck = {node_id for node_id, count in waits.items() if count > 0}
    return [
        FieldError(f"nodes.{node_id}", "is part of a cycle: " + " <- ".join(cycle[:20]), "cycle")
        for cycle in [_one_cycle(graph, stuck)]
        for node_id in cycle[: MOST_ERRORS - 1]
    ]


def _one_cycle(graph: Mapping[str, Any], stuck: set[str]) -> list[str]:
    """The nodes of one cycle. Every stuck node waits for another stuck one, so walking upstream must meet itself."""
    if not stuck:
        return []
    place: dict[str, int] = {}
    walk: list[str] = []
    node_id = min(stuck)
    while node_id not in place:
        place[node_id] = len(walk)
        walk.append(node_id)
        node_id = next(source for source in _sources(graph[node_id]) if source in stuck)
    return walk[place[node_id] :]


def requirements_of(graph: Mapping[str, Any], ui_graph: Any = None, snapshot: Any = None) -> Requirements:
    """What a checked graph takes and gives, and what a machine must have to run it.

    The editor's graph and the snapshot add what only they know: hashes of models, packs and their commits.
    """
    classes: set[str] = set()
    hashes = model_hashes(ui_graph)
    outputs: list[OutputSpec] = []
    models: dict[tuple[str, str], ModelNeed] = {}
    inputs: dict[str, InputSpec] = {}
    for node_id, node in graph.items():
        class_type: str = node["class_type"]
        classes.add(class_type)
        for need in _models(node_id, class_type, node.get("inputs", {})):
            need.sha256 = hashes.get(need.name) or hashes.get(need.name.rsplit("/", 1)[-1], "")
            models.setdefault((need.folder, need.name), need)
        spec = _input(node_id, class_type, node.get("inputs", {}))
        if spec is not None:
            inputs.setdefault(spec.input_id, spec)
        if class_type in OUTPUTS:
            outputs.append(_output(node_id, class_type, node.get("inputs", {})))
    packs = {name: pack for name, pack in node_packs(ui_graph).items() if name in classes}
    return Requirements(
        sorted(classes), list(models.values()), list(inputs.values()), packs_of(snapshot), packs, outputs
    )


def _output(node_id: str, class_type: str, fields: Mapping[str, Any]) -> OutputSpec:
    """An output is called as its node says, or else as the node itself."""
    name = fields.get("output_id")
    return OutputSpec(name if isinstance(name, str) and name else node_id, node_id, class_type, OUTPUTS[class_type])


def _models(node_id: str, class_type: str, inputs: Mapping[str, Any]) -> Iterator[ModelNeed]:
    if class_type.startswith(EXTERNAL):
        return
    known = MODEL_INPUTS.get(class_type)
    for name, value in inputs.items():
        if not isinstance(value, str) or not value.lower().endswith(MODEL_ENDINGS) or "\n" in value:
            continue
        if known is None:
            yield ModelNeed(value, "", node_id)
        elif name in known:
            yield ModelNeed(value, known[name], node_id)


def _input(node_id: str, class_type: str, fields: Mapping[str, Any]) -> InputSpec | None:
    kind = KINDS.get(class_type.removeprefix(EXTERNAL)) if class_type.startswith(EXTERNAL) else None
    input_id = fields.get("input_id")
    if kind is None or not isinstance(input_id, str) or not input_id:
        return None
    return InputSpec(
        input_id=input_id,
        node_id=node_id,
        class_type=class_type,
        kind=kind,
        default=_default(fields),
        display_name=_text(fields.get("display_name")),
        description=_text(fields.get("description")),
        minimum=_number(fields.get("min_value")),
        maximum=_number(fields.get("max_value")),
        options=_options(fields.get("options")) if kind == "enum" else [],
    )


def _default(fields: Mapping[str, Any]) -> Any:
    values = (fields.get(name) for name in DEFAULT_FIELDS)
    return next((value for value in values if value not in (None, "") and link_source(value) is None), None)


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""


def _number(value: Any) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float) or abs(value) > 2**63 or math.isnan(value):
        return None
    return float(value)


def _options(value: Any) -> list[str]:
    """An enum's options: a JSON array of texts, as text."""
    try:
        options = msgspec.json.decode(value) if isinstance(value, str) else value
    except msgspec.DecodeError:
        return []
    return [str(option) for option in options] if isinstance(options, list) else []
