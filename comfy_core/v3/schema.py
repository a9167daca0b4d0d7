"""A V3 node's declaration, checked and completed, and its view in the words of the V1 protocol. It runs nothing."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from comfy_core.errors import NodeFault
from comfy_core.v3.hidden import Hidden
from comfy_core.v3.slot import Input, Output

FOR_OUTPUT = (Hidden.prompt, Hidden.extra_pnginfo)
FOR_API = (Hidden.auth_token_comfy_org, Hidden.api_key_comfy_org)


@dataclass
class Schema:
    """What `define_schema` returns. node_id is the class_type; enable_expand allows the node to return a graph."""

    node_id: str
    display_name: str | None = None
    category: str = "sd"
    inputs: list[Input] = field(default_factory=list)
    outputs: list[Output] = field(default_factory=list)
    hidden: list[Hidden] = field(default_factory=list)
    description: str = ""
    is_input_list: bool = False
    is_output_node: bool = False
    is_deprecated: bool = False
    is_experimental: bool = False
    is_api_node: bool = False
    not_idempotent: bool = False
    enable_expand: bool = False

    def __post_init__(self) -> None:
        """None stands for "none of them", as packs write it."""
        self.inputs = self.inputs or []
        self.outputs = self.outputs or []
        self.hidden = self.hidden or []

    def validate(self) -> None:
        """Raises NodeFault when two slots have the same id, be they inputs or outputs."""
        ids = [slot.id for slot in self.inputs] + [slot.id for slot in self.outputs if slot.id is not None]
        twice = [name for name, count in Counter(ids).items() if count > 1]
        if twice:
            raise NodeFault(f"{self.node_id} declares the ids {', '.join(twice)} more than once")

    def finalize(self) -> None:
        """Complete what the flags imply: hidden inputs, and ids of outputs that were given none."""
        wanted = list(self.hidden)
        if self.is_api_node:
            wanted += FOR_API
        if self.is_output_node:
            wanted += FOR_OUTPUT
        self.hidden = list(dict.fromkeys(wanted))
        for index, output in enumerate(self.outputs):
            if output.id is None:
                output.id = f"_{index}_{output.io_type}_"

    def input_types(self) -> dict[str, dict[str, Any]]:
        """INPUT_TYPES() as a V1 node would give it; hidden ones as (kind,)."""
        declared: dict[str, dict[str, Any]] = {"required": {}}
        for slot in (one for each in self.inputs for one in each.declared()):
            options = slot.as_dict()
            optional = options.pop("optional", slot.optional)
            group = "optional" if optional else "required"
            declared.setdefault(group, {})[slot.id] = (slot.get_io_type(), options)
        if self.hidden:
            declared["hidden"] = {each.name: (each.value,) for each in self.hidden}
        return declared

    def described(self, python_module: str) -> dict[str, Any]:
        """The entry of /object_info."""
        declared = self.input_types()
        return {
            "input": declared,
            "input_order": {group: list(names) for group, names in declared.items()},
            "output": [output.get_io_type() for output in self.outputs],
            "output_is_list": [output.is_output_list for output in self.outputs],
            "output_name": [output.display_name or output.get_io_type() for output in self.outputs],
            "output_tooltips": [output.tooltip for output in self.outputs],
            "name": self.node_id,
            "display_name": self.display_name,
            "description": self.description,
            "python_module": python_module,
            "category": self.category,
            "output_node": self.is_output_node,
            "deprecated": self.is_deprecated,
            "experimental": self.is_experimental,
            "api_node": self.is_api_node,
        }
