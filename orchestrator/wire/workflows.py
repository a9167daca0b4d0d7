"""Workflows, their versions and what these need."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal

from msgspec import Meta, Struct

from orchestrator.wire.base import MachineState, Name, Request


class WorkflowCreate(Request):
    """Body of POST /workflows. With api_graph or ui_graph, version 1 is made at once."""

    name: Name
    api_graph: dict[str, Any] | None = None
    ui_graph: Any = None
    snapshot: Any = None
    comment: str = ""


class VersionCreate(Request):
    """Body of POST /workflows/{id}/versions. api_graph is ComfyUI's API format; ui_graph the editor's.

    Without api_graph it is made from ui_graph.
    """

    api_graph: dict[str, Any] | None = None
    ui_graph: Any = None
    snapshot: Any = None
    comment: Annotated[str, Meta(max_length=2000)] = ""


class InputSpec(Struct, omit_defaults=True):
    """One input of a version, from an external input node of its graph."""

    input_id: str
    node_id: str
    class_type: str
    kind: Literal["text", "image", "images", "number", "integer", "boolean", "enum", "seed", "file"]
    default: Any = None
    display_name: str = ""
    description: str = ""
    minimum: float | None = None
    maximum: float | None = None
    options: list[str] = []


class ModelNeed(Struct, omit_defaults=True):
    """A model file the graph names. folder is empty when the node's class is not known to us.

    sha256 (hex) is there when the editor's graph names it: a machine whose file has another cannot run the version.
    """

    name: str
    folder: str = ""
    node_id: str = ""
    sha256: str = ""


class PackNeed(Struct, omit_defaults=True):
    """A node pack that the environment snapshot names. commit is git's; version a registry's."""

    name: str
    url: str = ""
    commit: str = ""
    version: str = ""


class OutputSpec(Struct, omit_defaults=True):
    """One named output of a version, from a node that gives something out."""

    output_id: str
    node_id: str
    class_type: str
    kind: str


class Version(Struct, omit_defaults=True):
    """A workflow version: immutable. The graphs are left out of lists."""

    id: str
    workflow_id: str
    version: int
    created_at: datetime
    comment: str = ""
    inputs: list[InputSpec] = []
    node_classes: list[str] = []
    models: list[ModelNeed] = []
    packs: list[PackNeed] = []
    outputs: list[OutputSpec] = []
    api_graph: dict[str, Any] | None = None
    ui_graph: Any = None
    snapshot: Any = None


class MissingNode(Struct, omit_defaults=True):
    """A node class that a machine does not have. pack is empty when nobody told which pack it is of."""

    class_type: str
    pack: str = ""


class OtherModel(Struct):
    """A model file that a machine has, with another content. sha256 is the wanted one (hex)."""

    name: str
    sha256: str
    found: list[str]


class OtherPack(Struct):
    """A node pack that a machine has at another commit than the snapshot names: told, but no hindrance."""

    name: str
    commit: str
    found: str


class MachineCompatibility(Struct, omit_defaults=True):
    """Whether a machine can run a version, by what it last said it has; unknown: it has not said anything yet."""

    machine_id: str
    name: str
    state: MachineState
    verdict: Literal["able", "unable", "unknown"]
    missing_nodes: list[MissingNode] = []
    missing_models: list[ModelNeed] = []
    other_models: list[OtherModel] = []
    other_packs: list[OtherPack] = []


class Compatibility(Struct):
    """Which machines can run a version. summary is for people."""

    version_id: str
    able: int
    total: int
    summary: str
    machines: list[MachineCompatibility]


class Workflow(Struct, omit_defaults=True):
    """A workflow and its newest version number (0: none yet)."""

    id: str
    name: str
    latest_version: int
    created_at: datetime
    updated_at: datetime
    version: Version | None = None
