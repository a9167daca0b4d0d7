"""What node classes take, read from what an executor answers to /object_info.

Pure. It knows which declared inputs the editor shows as widgets, and in which order; not what a value means.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

from msgspec import Struct

_VALUES: Final = {"INT": 0, "FLOAT": 0.0, "STRING": "", "BOOLEAN": False}
_CONTROLLED: Final = ("seed", "noise_seed")
_CONTROL: Final = "control_after_generate"
_UPLOADS: Final = ("image_upload", "animated_image_upload", "video_upload", "audio_upload")
_BUTTONS: Final[dict[str, int]] = {"WEBCAM": 0, "AUDIO_RECORD": 0, "LOAD_3D": 3, "LOAD_3D_ANIMATION": 3}
"""Kinds that the editor has a widget of its own for -> how many buttons it puts before it."""
_PACKS: Final = "custom_nodes."
_LONGEST_DEFAULT: Final = 2_000


class Widget(Struct, frozen=True):
    """A value that the editor shows on a node. sent: it is an input of the class, and not the editor's own."""

    name: str
    default: Any = None
    sent: bool = True


class NodeSpec(Struct, frozen=True):
    """What turning an editor's graph into a prompt needs of a class: its widgets in order, and its node pack."""

    widgets: list[Widget] = []
    pack: str = ""


NodeSpecs = Mapping[str, NodeSpec]
"""By class_type."""


def specs_of(declared: Mapping[str, Any]) -> NodeSpecs:
    """The specs of every class that is described as ComfyUI describes one; others are left out."""
    return {name: _spec(info) for name, info in declared.items() if isinstance(info, dict)}


def _spec(info: Mapping[str, Any]) -> NodeSpec:
    module = str(info.get("python_module") or "")
    pack = module.removeprefix(_PACKS) if module.startswith(_PACKS) else ""
    required, optional = _inputs(info, "required"), _inputs(info, "optional")
    uploads = any(_options(given).get(upload) for _, given in required for upload in _UPLOADS)
    button = [Widget("upload", None, sent=False)] if uploads else []
    return NodeSpec([*_shown(required), *button, *_shown(optional)], pack)


def _inputs(info: Mapping[str, Any], group: str) -> list[tuple[str, list[Any]]]:
    """Names and declarations of required or optional inputs, in the order that the class gives."""
    declared, order = _object(_object(info.get("input")).get(group)), _object(info.get("input_order")).get(group)
    named = [(name, declared.get(name)) for name in (order if isinstance(order, list) else declared)]
    return [(name, given) for name, given in named if isinstance(given, list) and given]


def _shown(inputs: list[tuple[str, list[Any]]]) -> Iterator[Widget]:
    for name, given in inputs:
        yield from _widgets(name, given)


def _options(given: list[Any]) -> Mapping[str, Any]:
    return _object(given[1]) if len(given) > 1 else {}


def _widgets(name: str, given: list[Any]) -> Iterator[Widget]:
    kind, options = given[0], _options(given)
    known = isinstance(kind, list) or kind in _VALUES or kind in _BUTTONS or kind == "COMBO"
    if not known or options.get("forceInput"):
        return
    for _ in range(_BUTTONS.get(kind, 0) if isinstance(kind, str) else 0):
        yield Widget("button", None, sent=False)
    yield Widget(name, _default(kind, options))
    if options.get(_CONTROL) or (kind == "INT" and name in _CONTROLLED and options.get(_CONTROL) is None):
        yield Widget(_CONTROL, "fixed", sent=False)
    if _object(options.get("remote")).get("refresh_button"):
        yield Widget("refresh automatically", None, sent=False)
        yield Widget("refresh", None, sent=False)


def _default(kind: Any, options: Mapping[str, Any]) -> Any:
    choices = kind if isinstance(kind, list) else options.get("options")
    fallback = (choices or [None])[0] if isinstance(choices, list) else _VALUES.get(kind)
    value = options.get("default", fallback)
    plain = isinstance(value, str | int | float | bool) and len(str(value)) <= _LONGEST_DEFAULT
    return value if plain else None


def _object(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}
