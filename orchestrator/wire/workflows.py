"""Workflows, their versions and what these need."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal

from msgspec import UNSET, Meta, Struct

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
    """A workflow and its newest version number (0: none yet). Its ETag is its revision."""

    id: str
    name: str
    latest_version: int
    created_at: datetime
    updated_at: datetime
    version: Version | None = None
    revision: int = 0


class WorkflowUpdate(Request):
    """Body of PATCH /workflows/{id}."""

    name: Name


class WorkflowExport(Request):
    """A version as a file: what GET .../export gives as JSON, and POST /workflows/import takes."""

    name: Name
    format: Literal["comfyfleet.workflow.1"] = "comfyfleet.workflow.1"
    version: int = 0
    comment: Annotated[str, Meta(max_length=2000)] = ""
    api_graph: dict[str, Any] | None = None
    ui_graph: Any = None
    snapshot: Any = None


class VersionSchema(Struct):
    """JSON Schemas of what a run of the version may be given, and of what it gives out."""

    version_id: str
    inputs: dict[str, Any]
    outputs: dict[str, Any]


class NodeName(Struct, omit_defaults=True):
    """A node of a graph."""

    node_id: str
    class_type: str
    title: str = ""


class ChangedInput(Struct, omit_defaults=True):
    """What a node is given under a name; before or after is absent where there is nothing of the name."""

    name: str
    before: Any = UNSET
    after: Any = UNSET


class ChangedNode(Struct, omit_defaults=True):
    """A node that is in both versions. class_before is there when it is of another class now."""

    node_id: str
    class_type: str
    title: str = ""
    class_before: str = ""
    inputs: list[ChangedInput] = []


class ChangedPack(Struct):
    """A node pack's commit or version in both snapshots; null where the snapshot does not name it."""

    name: str
    before: str | None
    after: str | None


class VersionDiff(Struct):
    """What has to be done to the version `against` to get this one. A model of another hash is removed and added."""

    nodes_added: list[NodeName]
    nodes_removed: list[NodeName]
    nodes_changed: list[ChangedNode]
    models_added: list[ModelNeed]
    models_removed: list[ModelNeed]
    packs_changed: list[ChangedPack]
    inputs_added: list[str]
    inputs_removed: list[str]
    inputs_changed: list[str]
