"""What a declared input or output of a V3 node is, and the type both belong to. It knows neither schemas nor nodes.

An io type is a class with `io_type` (the name on the wire), `Type` (what Python passes) and nested `Input`/`Output`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar, TypeVar

T = TypeVar("T", bound=type)


def pruned(values: dict[str, Any]) -> dict[str, Any]:
    """Without what was not given: clients take an absent key for the default, not null."""
    return {key: value for key, value in values.items() if value is not None}


class TypeName(str):
    """A type's name that does not differ from any name it accepts: links are checked by `!=`, packs do the same.

    accepts: names joined by commas, `*` for all; left out, the name itself.
    """

    def __new__(cls, name: str, accepts: str | None = None) -> TypeName:
        """A string with the names it goes along with."""
        made = super().__new__(cls, name)
        made.accepts = frozenset((accepts if accepts is not None else name).split(","))
        return made

    accepts: frozenset[str]

    def __ne__(self, other: object) -> bool:
        if not isinstance(other, str):
            return True
        theirs = other.accepts if isinstance(other, TypeName) else frozenset(other.split(","))
        return "*" not in self.accepts | theirs and not self.accepts & theirs

    __eq__ = str.__eq__
    __hash__ = str.__hash__


class Slot:
    """An input or an output: it belongs to an io type, its Parent."""

    Parent: ClassVar[Any] = None

    @property
    def io_type(self) -> Any:
        """The type's name on the wire; for an output that is one of several choices, their list."""
        return self.Parent.io_type

    @property
    def Type(self) -> Any:  # noqa: N802 - the node protocol's name
        """What Python passes."""
        return self.Parent.Type

    def get_io_type(self) -> Any:
        """The type as links are checked against; several alternatives are joined by commas."""
        return TypeName("*") if self.io_type == "*" else self.io_type


class Input(Slot):
    """A declared input. lazy: pulled only when the node asks; extra_dict: options laid over the others."""

    def __init__(
        self,
        id: str,  # noqa: A002 - the node protocol's name
        display_name: str | None = None,
        optional: bool = False,
        tooltip: str | None = None,
        lazy: bool | None = None,
        extra_dict: dict[str, Any] | None = None,
    ) -> None:
        self.id = id
        self.display_name = display_name
        self.optional = optional
        self.tooltip = tooltip
        self.lazy = lazy
        self.extra_dict = extra_dict if extra_dict is not None else {}

    def as_dict(self) -> dict[str, Any]:
        """The options that clients are told, without those not given, and whether the input is optional."""
        return pruned(self._shared() | self._own()) | pruned(self.extra_dict)

    def _shared(self) -> dict[str, Any]:
        """Options of every kind of input, in the order in which ComfyUI tells them."""
        return {
            "display_name": self.display_name,
            "optional": self.optional,
            "tooltip": self.tooltip,
            "lazy": self.lazy,
        }

    def _own(self) -> dict[str, Any]:
        """Options of this kind of input."""
        return {}

    def declared(self) -> list[Input]:
        """The inputs it stands for: itself, unless it grows."""
        return [self]


class WidgetInput(Input):
    """An input that users can fill in by hand."""

    def __init__(
        self,
        id: str,  # noqa: A002
        display_name: str | None = None,
        optional: bool = False,
        tooltip: str | None = None,
        lazy: bool | None = None,
        default: Any = None,
        socketless: bool | None = None,
        widget_type: str | None = None,
        force_input: bool | None = None,
        extra_dict: dict[str, Any] | None = None,
    ) -> None:
        super().__init__(id, display_name, optional, tooltip, lazy, extra_dict)
        self.default = default
        self.socketless = socketless
        self.widget_type = widget_type
        self.force_input = force_input

    def _shared(self) -> dict[str, Any]:
        return super()._shared() | {
            "default": self.default,
            "socketless": self.socketless,
            "widgetType": self.widget_type,
            "forceInput": self.force_input,
        }


class Output(Slot):
    """A declared output. is_output_list: the node returns a list to be spread."""

    def __init__(
        self,
        id: str | None = None,  # noqa: A002
        display_name: str | None = None,
        tooltip: str | None = None,
        is_output_list: bool = False,
    ) -> None:
        self.id = id
        self.display_name = display_name
        self.tooltip = tooltip
        self.is_output_list = is_output_list

    def as_dict(self) -> dict[str, Any]:
        """What clients are told of it, without what was not given."""
        told = {"display_name": self.display_name, "tooltip": self.tooltip, "is_output_list": self.is_output_list}
        return pruned(told)


class ComfyTypeI:
    """An io type that nodes can take."""

    io_type: ClassVar[str] = ""
    Type: ClassVar[Any] = Any

    class Input(Input):
        """An input of this type."""


class ComfyTypeIO(ComfyTypeI):
    """An io type that nodes can take and return."""

    class Output(Output):
        """An output of this type."""


def comfytype(io_type: str, **extra: Any) -> Callable[[T], T]:
    """Class decorator: names the type on the wire and gives it an Input and an Output of its own.

    A class that brings its own nested Input or Output keeps it; one that has none gets plain ones.
    """

    def declare(cls: T) -> T:
        cls.io_type = io_type  # type: ignore[attr-defined]
        for key, value in extra.items():
            setattr(cls, key, value)
        if not hasattr(cls, "Type"):
            cls.Type = Any  # type: ignore[attr-defined]
        _adopt(cls, "Input", Input, give=True)
        _adopt(cls, "Output", Output, give=not issubclass(cls, ComfyTypeI))
        return cls

    return declare


def _adopt(cls: type, name: str, plain: type[Slot], give: bool) -> None:
    nested: Any = getattr(cls, name, None)
    if nested is None:
        if not give:
            return
        nested = plain
    if name not in cls.__dict__:
        nested = type(name, (nested,), {"__module__": cls.__module__, "__qualname__": f"{cls.__qualname__}.{name}"})
        setattr(cls, name, nested)
    nested.Parent = cls


def Custom(io_type: str) -> type[ComfyTypeIO]:  # noqa: N802 - the node protocol's name
    """An io type of a pack's own, by its name on the wire."""
    return comfytype(io_type)(type(io_type, (ComfyTypeIO,), {"__module__": __name__}))
