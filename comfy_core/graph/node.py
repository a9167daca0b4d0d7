"""What a node class declares: its inputs, outputs and how it wants to be called.

V1 classes are read as they are; V3 classes (those with a schema) by their V1 view. It knows neither a prompt nor how
nodes are executed.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from comfy_core.errors import NodeFault

NodeLibrary = Mapping[str, type]
"""class_type -> node class."""


@dataclass(frozen=True, slots=True)
class InputSpec:
    """One declared input. kind is a type name, or the list of choices of an old-style combo."""

    name: str
    kind: Any
    options: dict[str, Any]
    required: bool

    @property
    def config(self) -> list[Any]:
        """[kind, options], as validation errors carry it."""
        return [self.kind, self.options]

    @property
    def choices(self) -> list[Any] | None:
        """The values allowed, where the input is an old-style choice; those of a COMBO are the node's own business."""
        return self.kind if isinstance(self.kind, list) else None

    @property
    def lazy(self) -> bool:
        """Whether the value is made only when the node asks for it."""
        return bool(self.options.get("lazy"))

    @property
    def raw_link(self) -> bool:
        """Whether the node is given the link itself instead of what comes over it."""
        return bool(self.options.get("rawLink"))


@dataclass(frozen=True)
class NodeSpec:
    """A node class, read once."""

    class_type: str
    cls: Any
    inputs: dict[str, InputSpec]
    hidden: dict[str, Any]
    declared: dict[str, Any] = field(repr=False)

    @cached_property
    def returns(self) -> tuple[Any, ...]:
        """The types of the outputs, by slot."""
        return tuple(getattr(self.cls, "RETURN_TYPES", ()))

    @cached_property
    def output_is_list(self) -> tuple[bool, ...]:
        """For each slot, whether the node returns a list to be spread."""
        flags = getattr(self.cls, "OUTPUT_IS_LIST", None)
        return tuple(bool(flag) for flag in flags) if flags else (False,) * len(self.returns)

    @cached_property
    def input_is_list(self) -> bool:
        """Whether the node takes whole lists in one call."""
        return bool(getattr(self.cls, "INPUT_IS_LIST", False))

    @cached_property
    def is_output(self) -> bool:
        """Whether the node is a reason to run a graph."""
        return bool(getattr(self.cls, "OUTPUT_NODE", False))

    @cached_property
    def function(self) -> str:
        """The name of the method that does the work."""
        name = getattr(self.cls, "FUNCTION", None)
        if not isinstance(name, str):
            raise NodeFault(f"node class {self.class_type} names no FUNCTION")
        return name

    @cached_property
    def is_v3(self) -> bool:
        """Whether the class is never instantiated and takes its hidden values beside its arguments."""
        return callable(getattr(self.cls, "GET_SCHEMA", None))

    @cached_property
    def is_async(self) -> bool:
        """Whether the method is a coroutine function."""
        return inspect.iscoroutinefunction(getattr(self.cls, self.function, None))

    @cached_property
    def keeps_its_id(self) -> bool:
        """Whether results depend on the node's own id, so that another node's must not stand in for them."""
        return bool(getattr(self.cls, "NOT_IDEMPOTENT", False)) or "UNIQUE_ID" in self.hidden.values()

    @cached_property
    def sees_the_graph(self) -> bool:
        """Whether the node may add links to nodes it is not linked to itself."""
        return "DYNPROMPT" in self.hidden.values() or any(declared.raw_link for declared in self.inputs.values())

    @cached_property
    def lazy_inputs(self) -> frozenset[str]:
        """Names of the inputs that are made only when the node asks for them."""
        return frozenset(name for name, declared in self.inputs.items() if declared.lazy)

    @cached_property
    def validator(self) -> Validator | None:
        """The class's own validation, where it has one."""
        own = self._own("VALIDATE_INPUTS", "validate_inputs")
        if own is None:
            return None
        names = inspect.getfullargspec(own)
        return Validator(own, frozenset(names.args) | frozenset(names.kwonlyargs), names.varkw is not None)

    @cached_property
    def is_changed(self) -> Any | None:
        """The class's fingerprint function, where it has one."""
        return self._own("IS_CHANGED", "fingerprint_inputs")

    @cached_property
    def asks_lazily(self) -> bool:
        """Whether the class says itself which lazy inputs it needs; else none of them is ever made."""
        return self._own("check_lazy_status", "check_lazy_status") is not None

    def _own(self, old: str, new: str) -> Any | None:
        """The method of a V1 class by its old name, that of a V3 class by its new one and only if overridden."""
        if not self.is_v3:
            return getattr(self.cls, old, None)
        holder = next((base for base in self.cls.__mro__ if new in vars(base)), None)
        return None if holder is None or "GET_SCHEMA" in vars(holder) else getattr(self.cls, new)


@dataclass(frozen=True, slots=True)
class Validator:
    """VALIDATE_INPUTS and the arguments it asks for."""

    call: Any
    names: frozenset[str]
    takes_all: bool

    def covers(self, name: str) -> bool:
        """Whether this function answers for the input, so that ranges and choices are its business."""
        return self.takes_all or name in self.names


class Specs:
    """Node classes read once per pass: choices such as file lists are the same for every node of the pass."""

    def __init__(self, library: NodeLibrary) -> None:
        self._library = library
        self._read: dict[str, NodeSpec] = {}

    def __contains__(self, class_type: object) -> bool:
        return isinstance(class_type, str) and class_type in self._library

    def of(self, class_type: str) -> NodeSpec:
        """The declaration of a class. Raises KeyError for an unknown one, and whatever INPUT_TYPES raises."""
        spec = self._read.get(class_type)
        if spec is None:
            spec = self._read[class_type] = read(class_type, self._library[class_type])
        return spec

    def find(self, class_type: str) -> NodeSpec | None:
        """The declaration of a class; None for an unknown class and one that cannot say what it declares."""
        try:
            return self.of(class_type)
        except Exception:  # noqa: BLE001 - a node class's own code
            return None


def read(class_type: str, cls: Any) -> NodeSpec:
    """Read what a node class declares. Raises whatever its INPUT_TYPES raises.

    A class of our own whose inputs never change says so in `CONSTANT_INPUTS` and is read once, until somebody puts
    another INPUT_TYPES in the place of its own.
    """
    own = vars(cls)
    if not own.get("CONSTANT_INPUTS"):
        return _read(class_type, cls)
    asked = getattr(cls.INPUT_TYPES, "__func__", None)
    known = own.get("KNOWN_SPEC")
    if known is None or known[0] is not asked:
        known = (asked, _read(class_type, cls))
        cls.KNOWN_SPEC = known
    spec: NodeSpec = known[1]
    return spec


def _read(class_type: str, cls: Any) -> NodeSpec:
    declared = cls.INPUT_TYPES()
    inputs = {spec.name: spec for spec in _inputs(declared)}
    hidden = {
        name: (kind[0] if isinstance(kind, tuple | list) else kind) for name, kind in declared.get("hidden", {}).items()
    }
    return NodeSpec(class_type, cls, inputs, hidden, declared)


def _inputs(declared: Mapping[str, Any]) -> Iterator[InputSpec]:
    for group, required in (("required", True), ("optional", False)):
        for name, config in declared.get(group, {}).items():
            options = config[1] if len(config) > 1 else {}
            yield InputSpec(name, config[0], options, required)
