"""What a ComfyUI with the comfyui-deploy plugin is sent to execute an attempt. Pure."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from msgspec import Struct

from drivers.wire import FILE_SCHEME, Job, WorkflowJson
from orchestrator.runs.inputs import place
from orchestrator.runs.shapes import is_shape


class Order(Struct, frozen=True):
    """What was asked for: the version's graphs and the run's inputs, as they are stored."""

    api_graph: WorkflowJson
    ui_graph: Any
    inputs: dict[str, Any]


def body_of(job: Job, order: Order, base_url: str) -> dict[str, Any]:
    """The body of POST /comfyui-deploy/run. The attempt's id is the prompt's, so that every attempt has its own.

    The plugin lays `inputs` into workflow_api_raw itself; workflow_api is the same done here, for old versions of it.
    It fails without a `workflow` that has nodes, and reports nothing without the addresses.
    """
    urls = {file.key: file.url for file in job.files}
    if is_shape(order.api_graph):
        raw, values = _addressed(job.workflow, urls), {}
    else:
        raw, values = order.api_graph, {key: _plain(value, urls) for key, value in order.inputs.items()}
    ui_graph = order.ui_graph
    if not isinstance(ui_graph, dict) or not isinstance(ui_graph.get("nodes"), list):
        ui_graph = {"nodes": []}
    return {
        "prompt_id": job.attempt_id,
        "workflow_api_raw": raw,
        "workflow_api": place(raw, values),
        "inputs": values,
        "workflow": ui_graph,
        "status_endpoint": f"{base_url}/api/update-run",
        "file_upload_endpoint": f"{base_url}/api/file-upload",
        "cd_token": job.token,
    }


def _plain(value: Any, urls: Mapping[str, str]) -> Any:
    """A value as the plugin's nodes read it: a file is its address, a list is JSON text."""
    if isinstance(value, list):
        return json.dumps([_plain(item, urls) for item in value])
    if isinstance(value, dict) and isinstance(value.get("file_id"), str):
        return urls.get(value["file_id"], "")
    return value


def _addressed(graph: WorkflowJson, urls: Mapping[str, str]) -> WorkflowJson:
    """A filled graph whose files are addresses."""
    return {
        node_id: {**node, "inputs": {name: _address(value, urls) for name, value in node.get("inputs", {}).items()}}
        for node_id, node in graph.items()
    }


def _address(value: Any, urls: Mapping[str, str]) -> Any:
    if isinstance(value, str) and value.startswith(FILE_SCHEME):
        return urls.get(value.removeprefix(FILE_SCHEME), value)
    return value
