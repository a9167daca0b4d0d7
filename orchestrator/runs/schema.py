"""What a version takes and gives as JSON Schema, and a deployment as an OpenAPI document. Pure.

The schema of the inputs admits what runs/inputs.py admits, and nothing else; a test holds the two together.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from orchestrator.runs.inputs import MAX_TEXT, check
from orchestrator.wire import InputSpec, OutputSpec

DIALECT: Final = "https://json-schema.org/draft/2020-12/schema"
PROBLEM: Final = "application/problem+json"

_FILE_ID: Final[dict[str, Any]] = {
    "type": "object",
    "description": "An uploaded file.",
    "properties": {"file_id": {"type": "string"}},
    "required": ["file_id"],
    "additionalProperties": False,
}
_URL: Final[dict[str, Any]] = {
    "type": "string",
    "description": "A URL, or the picture itself.",
    "pattern": "^([hH][tT][tT][pP][sS]?://|[dD][aA][tT][aA]:[iI][mM][aA][gG][eE]/"
    "([pP][nN][gG]|[jJ][pP][eE]?[gG]|[wW][eE][bB][pP]);[bB][aA][sS][eE]64,)",
}
_NAME: Final[dict[str, Any]] = {"type": "string", "description": "A URL, or a name on the machine.", "minLength": 1}
_FILE: Final[dict[str, Any]] = {"anyOf": [_FILE_ID, _URL]}
_KINDS: Final[dict[str, dict[str, Any]]] = {
    "text": {"type": "string", "maxLength": MAX_TEXT},
    "number": {"type": "number"},
    "integer": {"type": "integer"},
    "seed": {"type": "integer"},
    "boolean": {"type": "boolean"},
    "enum": {"type": "string"},
    "image": _FILE,
    "images": {"type": "array", "items": _FILE},
    "file": {"anyOf": [_FILE_ID, _NAME]},
}
_LIMITED: Final = frozenset({"number", "integer", "seed"})


def inputs_schema(specs: Sequence[InputSpec]) -> dict[str, Any]:
    """What `inputs` of a run may be."""
    properties = {spec.input_id: _property(spec) for spec in specs}
    return {"$schema": DIALECT, "type": "object", "properties": properties, "additionalProperties": False}


def _property(spec: InputSpec) -> dict[str, Any]:
    schema: dict[str, Any] = dict(_KINDS[spec.kind])
    if spec.display_name:
        schema["title"] = spec.display_name
    if spec.description:
        schema["description"] = spec.description
    if spec.kind == "enum" and spec.options:
        schema["enum"] = spec.options
    if spec.kind in _LIMITED:
        schema |= {
            name: value for name, value in (("minimum", spec.minimum), ("maximum", spec.maximum)) if value is not None
        }
    if spec.default is not None and not check({spec.input_id: spec.default}, [spec]):  # not a name on the machine
        schema["default"] = spec.default
    return schema


def outputs_schema(specs: Sequence[OutputSpec]) -> dict[str, Any]:
    """What `outputs` of a run that has succeeded are, one shape for each node that gives something out."""
    shapes = [_output(spec) for spec in specs]
    return {"$schema": DIALECT, "type": "array", "items": {"anyOf": shapes} if shapes else {"type": "object"}}


def _output(spec: OutputSpec) -> dict[str, Any]:
    return {
        "type": "object",
        "title": spec.output_id,
        "description": f"What the {spec.class_type} gives out.",
        "properties": {
            "node_id": {"const": spec.node_id},
            "kind": {"type": "string", "examples": [spec.kind]},
            "file_id": {"type": "string"},
            "url": {"type": "string", "format": "uri"},
            "content_type": {"type": "string"},
            "size": {"type": "integer"},
            "data": {},
        },
        "required": ["node_id", "kind"],
    }


def deployment_document(
    *, name: str, about: str, server: str, path: str, inputs: Sequence[InputSpec], outputs: Sequence[OutputSpec]
) -> dict[str, Any]:
    """An OpenAPI 3.1 document with the one path that starts runs of a deployment, and the one that looks at a run."""
    problem = {
        "description": "What is wrong.",
        "content": {PROBLEM: {"schema": {"$ref": "#/components/schemas/Problem"}}},
    }
    return {
        "openapi": "3.1.0",
        "info": {"title": name, "version": "1", **({"description": about} if about else {})},
        "servers": [{"url": server}],
        "security": [{"bearer": []}],
        "paths": {
            path: {"post": _start(name, problem)},
            "/api/v1/runs/{run_id}": {"get": _look(problem)},
        },
        "components": {
            "securitySchemes": {"bearer": {"type": "http", "scheme": "bearer"}},
            "schemas": {
                "Inputs": _inner(inputs_schema(inputs)),
                "Outputs": _inner(outputs_schema(outputs)),
                "Accepted": _object(
                    {"id": {"type": "string"}, "status": {"type": "string"}, "url": {"type": "string"}}
                ),
                "Run": _object(
                    {
                        "id": {"type": "string"},
                        "status": {"type": "string"},
                        "outputs": {"$ref": "#/components/schemas/Outputs"},
                    }
                ),
                "Problem": _object({"status": {"type": "integer"}, "code": {"type": "string"}}),
            },
        },
    }


def _inner(schema: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in schema.items() if name != "$schema"}


def _object(properties: dict[str, Any]) -> dict[str, Any]:
    return {"type": "object", "properties": properties}


def _start(name: str, problem: dict[str, Any]) -> dict[str, Any]:
    body = {
        "type": "object",
        "properties": {
            "inputs": {"$ref": "#/components/schemas/Inputs"},
            "webhook_url": {"type": "string", "maxLength": 2000},
            "priority": {"type": "integer", "minimum": -100, "maximum": 100, "default": 0},
            "timeout_s": {"type": "integer", "minimum": 1, "maximum": 86400},
            "max_attempts": {"type": "integer", "minimum": 1, "maximum": 10, "default": 3},
            "pool": {"type": "object", "additionalProperties": {"type": "string"}},
        },
        "additionalProperties": False,
    }
    accepted = {"application/json": {"schema": {"$ref": "#/components/schemas/Accepted"}}}
    return {
        "operationId": "run",
        "summary": f"Run {name}",
        "requestBody": {"required": True, "content": {"application/json": {"schema": body}}},
        "responses": {
            "202": {"description": "The run is stored and will end.", "content": accepted},
            "default": problem,
        },
    }


def _look(problem: dict[str, Any]) -> dict[str, Any]:
    shown = {"application/json": {"schema": {"$ref": "#/components/schemas/Run"}}}
    return {
        "operationId": "getRun",
        "summary": "Look at a run",
        "parameters": [{"name": "run_id", "in": "path", "required": True, "schema": {"type": "string"}}],
        "responses": {"200": {"description": "The run.", "content": shown}, "default": problem},
    }
