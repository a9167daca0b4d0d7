"""Which node class stands for which class_type, and how it describes itself to clients. It runs nothing.

Built-in classes need folders and loaded models; each is bound to them once, as a subclass, so that nothing is global.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import structlog

from comfy_core.folders import Folders
from comfy_core.graph.node import NodeSpec, read
from comfy_core.light import Light
from comfy_core.memory import Memory
from comfy_core.v3.node import ComfyNode

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Services:
    """What built-in nodes may use. metadata: whether images carry the workflow that made them."""

    folders: Folders
    memory: Memory
    metadata: bool = True


class BuiltIn:
    """A node of our own: `services` is set on the bound subclass.

    MODEL_FILES: which inputs name a model file, and the kind of folder it is in, so that memory can plan ahead.
    LISTS_FILES: whether an input offers the files that are there now, so that the declaration is read anew each time.
    LIGHT: when a call takes next to no time; None: never.
    """

    services: ClassVar[Services]
    LISTS_FILES: ClassVar[bool] = False
    LIGHT: ClassVar[Light | None] = None
    MODEL_FILES: ClassVar[Mapping[str, str]] = {}
    DISPLAY_NAME: ClassVar[str | None] = None
    PYTHON_MODULE: ClassVar[str] = "nodes"


class Registry(Mapping[str, type]):
    """class_type -> node class."""

    def __init__(self) -> None:
        self._classes: dict[str, type] = {}
        self._names: dict[str, str] = {}

    def __getitem__(self, class_type: str) -> type:
        return self._classes[class_type]

    def __iter__(self) -> Iterator[str]:
        return iter(self._classes)

    def __len__(self) -> int:
        return len(self._classes)

    @property
    def classes(self) -> dict[str, type]:
        """The live dictionary itself: what packs read and change under the name NODE_CLASS_MAPPINGS."""
        return self._classes

    @property
    def display_names(self) -> dict[str, str]:
        """class_type -> the name people see, live as well. A class without one shows its class_type."""
        return self._names

    def add(self, class_type: str, cls: type, display_name: str | None = None) -> None:
        """Make a class known. The first of a name stays: a pack cannot take the place of a built-in node."""
        if class_type not in self._classes:
            self._classes[class_type] = cls
            self._names[class_type] = display_name or class_type

    def add_built_in(self, cls: type[BuiltIn], services: Services) -> None:
        """Make a node of ours known under its own name, bound to what it needs."""
        own = {
            "services": services,
            "__module__": cls.__module__,
            "RELATIVE_PYTHON_MODULE": cls.PYTHON_MODULE,
            "CONSTANT_INPUTS": not cls.LISTS_FILES,
            "LIGHT": cls.LIGHT,
        }
        bound = type(cls.__name__, (cls,), own)
        class_type = bound.known_schema().node_id if issubclass(bound, ComfyNode) else cls.__name__
        self.add(class_type, bound, cls.DISPLAY_NAME)

    def describe(self, class_type: str) -> dict[str, Any] | None:
        """The entry of /object_info; None for an unknown class and for one whose INPUT_TYPES raises."""
        cls = self._classes.get(class_type)
        if cls is None:
            return None
        try:
            if issubclass(cls, ComfyNode):
                return cls.GET_NODE_INFO_V1()
            return _described(read(class_type, cls), self._names.get(class_type, class_type))
        except Exception as error:  # noqa: BLE001 - a node class's own code; one bad class must not hide the rest
            log.warning("node class cannot be described", class_type=class_type, error=repr(error))
            return None


def _described(spec: NodeSpec, display_name: str) -> dict[str, Any]:
    cls = spec.cls
    entry: dict[str, Any] = {
        "input": spec.declared,
        "input_order": {group: list(names) for group, names in spec.declared.items()},
        "output": list(spec.returns),
        "output_is_list": list(spec.output_is_list),
        "output_name": list(getattr(cls, "RETURN_NAMES", None) or spec.returns),
        "name": spec.class_type,
        "display_name": display_name,
        "description": getattr(cls, "DESCRIPTION", ""),
        "python_module": getattr(cls, "RELATIVE_PYTHON_MODULE", getattr(cls, "PYTHON_MODULE", "nodes")),
        "category": getattr(cls, "CATEGORY", "sd"),
        "output_node": spec.is_output,
    }
    if hasattr(cls, "OUTPUT_TOOLTIPS"):
        entry["output_tooltips"] = cls.OUTPUT_TOOLTIPS
    for flag in ("DEPRECATED", "EXPERIMENTAL", "API_NODE"):
        if getattr(cls, flag, False):
            entry[flag.lower()] = True
    return entry
