"""Inputs whose types or number are not fixed: several types, one type shared by several slots, inputs that grow.

It names types and inputs. That slots of one template get the same type is the user interface's business.
"""

from __future__ import annotations

from copy import copy
from typing import Any

from comfy_core.v3 import slot
from comfy_core.v3.links import AnyType
from comfy_core.v3.slot import ComfyTypeI, ComfyTypeIO, TypeName, comfytype

MOST_GROWN = 100
"""How many inputs grow where a node sets no limit: some there must be, since each is declared."""
Kind = Any
"""An io type: a class made by `comfytype` or `Custom`."""


def joined(kinds: list[Kind]) -> str:
    """The names of several types, each once, as links are checked against."""
    return ",".join(dict.fromkeys(name for kind in kinds for name in str(kind.io_type).split(",")))


@comfytype(io_type="COMFY_MULTITYPED_V3")
class MultiType(ComfyTypeIO):
    """Any of several types."""

    class Input(slot.Input):
        """types: the types taken. id may be a widget input, whose widget is then shown beside the socket."""

        def __init__(
            self,
            id: str | slot.Input,  # noqa: A002 - the node protocol's name
            types: list[Kind],
            display_name: str | None = None,
            optional: bool = False,
            tooltip: str | None = None,
            lazy: bool | None = None,
            extra_dict: dict[str, Any] | None = None,
        ) -> None:
            self.input_override = id if isinstance(id, slot.Input) else None
            own_id = id.id if isinstance(id, slot.Input) else id
            shown_optional = self.input_override is not None and self.input_override.optional
            super().__init__(own_id, display_name, optional or shown_optional, tooltip, lazy, extra_dict)
            self._kinds = types

        @property
        def io_types(self) -> list[Kind]:
            """The types taken, that of the widget first."""
            own = [self.input_override.Parent] if self.input_override is not None else []
            return [*own, *(kind for kind in self._kinds if kind not in own)]

        def get_io_type(self) -> str:
            """All names, joined by commas."""
            return TypeName(joined(self.io_types))

        def as_dict(self) -> dict[str, Any]:
            """The widget's options, where there is one, with this input's own over them."""
            if self.input_override is None:
                return super().as_dict()
            widget = self.input_override.as_dict() | {"widgetType": self.input_override.get_io_type()}
            return widget | super().as_dict()


@comfytype(io_type="COMFY_MATCHTYPE_V3")
class MatchType(ComfyTypeIO):
    """The same type on every slot with the same template."""

    class Template:
        """What the slots have in common. allowed_types: one type or several; left out, any."""

        def __init__(self, template_id: str, allowed_types: list[Kind] | Kind | None = None) -> None:
            self.template_id = template_id
            several = allowed_types if isinstance(allowed_types, list | tuple) else [allowed_types or AnyType]
            self.allowed_types: list[Kind] = list(several)

        def as_dict(self) -> dict[str, Any]:
            """As clients are told it."""
            return {"template_id": self.template_id, "allowed_types": joined(self.allowed_types)}

        def type_name(self) -> TypeName:
            """The name on the wire, which links to and from any allowed type fit."""
            return TypeName(MatchType.io_type, joined(self.allowed_types))

    class Input(slot.Input):
        """An input of the template's type."""

        def __init__(
            self,
            id: str,  # noqa: A002
            template: MatchType.Template,
            display_name: str | None = None,
            optional: bool = False,
            tooltip: str | None = None,
            lazy: bool | None = None,
            extra_dict: dict[str, Any] | None = None,
        ) -> None:
            super().__init__(id, display_name, optional, tooltip, lazy, extra_dict)
            self.template = template

        def _own(self) -> dict[str, Any]:
            return {"template": self.template.as_dict()}

        def get_io_type(self) -> str:
            """The name on the wire; it compares as the template's types."""
            return self.template.type_name()

    class Output(slot.Output):
        """An output of the template's type."""

        def __init__(
            self,
            id: str,  # noqa: A002
            template: MatchType.Template,
            display_name: str | None = None,
            tooltip: str | None = None,
            is_output_list: bool = False,
        ) -> None:
            super().__init__(id, display_name, tooltip, is_output_list)
            self.template = template

        def get_io_type(self) -> str:
            """The name on the wire; it compares as the template's types."""
            return self.template.type_name()

        def as_dict(self) -> dict[str, Any]:
            """What clients are told of it."""
            return super().as_dict() | {"template": self.template.as_dict()}


class DynamicInput(slot.Input):
    """An input that stands for several."""

    def get_dynamic(self) -> list[slot.Input]:
        """The inputs it stands for."""
        return []

    def declared(self) -> list[slot.Input]:
        """The inputs it stands for."""
        return self.get_dynamic()


class DynamicOutput(slot.Output):
    """An output that stands for several."""

    def get_dynamic(self) -> list[slot.Output]:
        """The outputs it stands for."""
        return []


@comfytype(io_type="COMFY_AUTOGROW_V3")
class Autogrow(ComfyTypeI):
    """As many inputs of one kind as are linked."""

    Type = dict[str, Any]

    class Input(DynamicInput):
        """template_input is repeated from `min` to `max` times."""

        def __init__(
            self,
            id: str,  # noqa: A002
            template_input: slot.Input,
            min: int = 1,  # noqa: A002
            max: int | None = None,  # noqa: A002
            display_name: str | None = None,
            optional: bool = False,
            tooltip: str | None = None,
            lazy: bool | None = None,
            extra_dict: dict[str, Any] | None = None,
        ) -> None:
            super().__init__(id, display_name, optional, tooltip, lazy, extra_dict)
            self.template_input = template_input
            self.min = min
            self.max = max if max is not None else MOST_GROWN

        def get_dynamic(self) -> list[slot.Input]:
            """Copies named `<template's id><number>_$<own id>_ag$`, the first `min` of them required."""
            return [self._grown(number) for number in range(1, max(self.min, self.max) + 1)]

        def _grown(self, number: int) -> slot.Input:
            one = copy(self.template_input)
            one.id = f"{one.id}{number}_${self.id}_ag$"
            one.display_name = f"{one.display_name}{number}" if one.display_name else None
            one.optional = self.optional or one.optional or number > self.min
            if isinstance(one, slot.WidgetInput):
                one.force_input = True
            return one


AutogrowDynamic = Autogrow


@comfytype(io_type="COMFY_COMBODYNAMIC_V3")
class ComboDynamic(ComfyTypeI):
    """A choice on which other inputs depend."""

    class Input(DynamicInput):
        """The choice; a subclass says which inputs come with it."""
