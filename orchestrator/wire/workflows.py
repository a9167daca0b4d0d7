"""Workflows, their versions and what these need; deployments."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal

from msgspec import UNSET, Meta, Struct, UnsetType, field

from orchestrator.wire.base import Environment, Label, Name, Request


class WorkflowCreate(Request):
    """Body of POST /workflows. With api_graph, version 1 is made at once."""

    name: Name
    api_graph: dict[str, Any] | None = None
    ui_graph: Any = None
    snapshot: Any = None
    comment: str = ""


class VersionCreate(Request):
    """Body of POST /workflows/{id}/versions. api_graph is ComfyUI's API format; ui_graph the editor's."""

    api_graph: dict[str, Any]
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
    """A model file the graph names. folder is empty when the node's class is not known to us."""

    name: str
    folder: str = ""
    node_id: str = ""


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
    api_graph: dict[str, Any] | None = None
    ui_graph: Any = None
    snapshot: Any = None


class Workflow(Struct, omit_defaults=True):
    """A workflow and its newest version number (0: none yet)."""

    id: str
    name: str
    latest_version: int
    created_at: datetime
    updated_at: datetime
    version: Version | None = None


class DeploymentCreate(Request):
    """Body of POST /deployments: makes or moves the workflow's deployment of that environment."""

    version_id: str
    environment: Environment = "production"
    machine_id: str | None = None
    pool: dict[Label, Label] = field(default_factory=dict)


class DeploymentUpdate(Request):
    """Body of PATCH /deployments/{id}: what is left out stays."""

    version_id: str | None = None
    machine_id: str | UnsetType | None = UNSET  # null unpins
    pool: dict[Label, Label] | None = None


class Deployment(Struct, omit_defaults=True):
    """A version made callable, and the machines that may run it."""

    id: str
    workflow_id: str
    workflow_name: str
    version_id: str
    version: int
    environment: Environment
    created_at: datetime
    updated_at: datetime
    machine_id: str | None = None
    pool: dict[str, str] = {}
