"""Samples of the routes that no page of docs/API shows: the dialects' and the dashboard's, each a request that works.

They are sent in this order to one server (test_samples.py), and the inventory test asks for one of every route. A name
in a path, or `<name>` in a body, stands for what an earlier answer gave, or for what was made beforehand.
"""

from __future__ import annotations

import re
from typing import Any, Final, Literal

from msgspec import Struct

from orchestrator.dialects.comfydeploy.absent import ABSENT
from tests.system import coloured

UI: Final = {"nodes": [{"id": 1, "type": "EmptyImage"}], "links": []}
GRAPH: Final = {
    "1": {"class_type": "EmptyImage", "inputs": {"width": 8, "height": 8, "batch_size": 1, "color": 7}},
    "2": {"class_type": "SaveImage", "inputs": {"images": ["1", 0], "filename_prefix": "x"}},
}
Whose = Literal["key", "browser", "nobody"]


class Sample(Struct, kw_only=True):
    """A request to a route (as the inventory names it) and what is answered.

    learn: values of the answer to keep, by name. at: the address that an earlier answer gave. ends: its run is
    cancelled meanwhile, so that the answer ends.
    """

    route: str
    status: int = 200
    query: dict[str, str] = {}
    body: Any = None
    form: dict[str, str] | None = None
    files: dict[str, tuple[str, bytes, str]] | None = None
    content: bytes | None = None
    says: str = ""
    learn: dict[str, str] = {}
    values: dict[str, str] = {}
    whose: Whose = "key"
    at: str = ""
    ends: bool = False


def _comfydeploy() -> list[Sample]:
    run = {"deployment_id": "<deployment>", "inputs": {"colour": 1}}
    graph = {"workflow_api_json": GRAPH}
    shared = {"workflow_version_id": "<version>", "environment": "private-share"}
    version = {"workflow": UI, "workflow_api": coloured(), "snapshot": {}}
    return [
        Sample(route="GET /api/workflows", says='"latest_version"'),
        Sample(route="GET /api/workflows/all", says='"latest_version"'),
        Sample(route="POST /api/upload", body={"workflow_id": "<workflow>", **version}, says='"version":2'),
        Sample(
            route="POST /api/workflow/{workflow}/version", body=version, says='"version":3', learn={"version": "id"}
        ),
        Sample(route="GET /api/workflow/{workflow}", says='"versions"'),
        Sample(route="PATCH /api/workflow/{workflow}", body={"name": "renamed"}, says="renamed"),
        Sample(route="POST /api/workflow/{workflow}/clone", says="renamed (copy)"),
        Sample(route="GET /api/workflow/{workflow}/export", says="workflow_api"),
        Sample(route="GET /api/workflow/{workflow}/version/{number}", says="workflow_api", values={"number": "3"}),
        Sample(route="GET /api/workflow-version/{version}", says="workflow_api"),
        Sample(route="GET /api/workflow/{workflow}/deployments", says="<deployment>"),
        Sample(route="GET /api/deployments", says="<deployment>"),
        Sample(route="GET /api/deployment/{deployment}", says="input_types"),
        Sample(route="PATCH /api/deployment/{deployment}", body={"workflow_version_id": "<version>"}, says="<version>"),
        Sample(route="POST /api/run", body=run, learn={"run": "run_id"}),
        Sample(route="POST /api/run/queue", body=run, says="run_id"),
        Sample(route="GET /api/run", query={"run_id": "<run>"}, says="not-started"),
        Sample(route="GET /api/deployment/{deployment}/runs", says="<run>"),
        Sample(route="GET /api/workflow/{workflow}/runs", says="<run>"),
        Sample(route="GET /api/v2/workflow/{workflow}/runs", says="<run>"),
        Sample(route="GET /api/workflow/{workflow}/run/latest", says='"id"'),
        Sample(
            route="GET /api/runs/count",
            query={"start_time": "2020-01-01T00:00:00Z", "end_time": "2100-01-01T00:00:00Z"},
            says='"count"',
        ),
        Sample(route="POST /api/run/deployment/sync", body=run, status=500, says="cancelled", ends=True),
        Sample(route="POST /api/run/sync", body=run, status=500, says="cancelled", ends=True),
        Sample(route="POST /api/run/workflow/sync", body=graph, status=500, says="cancelled", ends=True),
        Sample(route="POST /api/run/workflow/queue", body=graph, says="run_id"),
        Sample(route="POST /api/run/deployment/stream", body=run, says="cancelled", ends=True),
        Sample(route="POST /api/run/stream", body=run, says="cancelled", ends=True),
        Sample(route="POST /api/run/workflow/stream", body=graph, says="cancelled", ends=True),
        Sample(route="GET /api/v2/stream-progress", query={"run_id": "<run>"}, says="cancelled", ends=True),
        Sample(route="GET /api/v2/stream-logs", query={"run_id": "<run>"}, ends=True),
        Sample(route="POST /api/deployment", body=shared, learn={"slug": "share_slug"}),
        Sample(route="GET /api/share/{username}/{slug}", values={"username": "whoever"}, says="run_url"),
        Sample(route="DELETE /api/deployment/{deployment}"),
        Sample(route="DELETE /api/workflow/{workflow}"),
        *_comfydeploys_machines(),
        *_comfydeploys_files(),
        *_absent(),
        *_plugins_login(),
    ]


def _comfydeploys_machines() -> list[Sample]:
    made = {"name": "pushed", "endpoint": "http://comfy.example:8188"}
    return [
        Sample(route="POST /api/machine/custom", body=made, learn={"machine": "id"}),
        Sample(route="GET /api/latest-hashes", says="comfyui_hash"),
        Sample(route="GET /api/machines", says="pushed"),
        Sample(route="GET /api/machines/all", says="pushed"),
        Sample(route="GET /api/machine/{machine}", says="pushed"),
        Sample(route="PATCH /api/machine/custom/{machine}", body={"name": "moved"}, says="moved"),
        Sample(route="POST /api/machine-built", body={"machine_id": "<machine>"}, says="success"),
        Sample(route="DELETE /api/machine/{machine}"),
    ]


def _comfydeploys_files() -> list[Sample]:
    file = {"file": ("a.png", b"picture", "image/png")}
    return [
        Sample(route="POST /api/file/upload", files=file, says="a.png", learn={"second_file": "file_id"}),
        Sample(route="POST /api/file/upload", files=file, says="a.png", learn={"file": "file_id"}),
        Sample(route="GET /api/view", query={"file": "<file>"}, status=307),
        Sample(
            route="GET /api/upload-url",
            query={"type": "image/png", "file_size": "7"},
            learn={"signed": "upload_url"},
        ),
        Sample(route="PUT /api/upload-url/{organisation_id}/{file_id}/{name}", content=b"picture", at="signed"),
        Sample(route="GET /api/assets", query={"search": "a.png"}, says="<file>"),
        Sample(route="GET /api/assets/{file}", says="a.png"),
        Sample(route="DELETE /api/assets/{second_file}"),
    ]


def _absent() -> list[Sample]:
    """What ComfyDeploy has and we have not: each refused with a word."""
    values = {"uuid": "5e1f2c1e-6f0e-4c55-9b52-0d8a6b1f0a11", "str": "x", "path": "x"}
    return [
        Sample(
            route=f"{verb.upper()} /api{re.sub(r':[a-z]+}', '}', path)}",
            status=501,
            says="not_here",
            values={name: values[kind] for name, kind in re.findall(r"{(\w+):([a-z]+)}", path)},
        )
        for path, verbs, _ in ABSENT
        for verb in verbs
    ]


def _plugins_login() -> list[Sample]:
    return [
        Sample(route="POST /api/platform/api-keys", body={"name": "by sample"}, learn={"key": "id"}, says="eyJ"),
        Sample(route="GET /api/platform/api-keys", says="by sample"),
        Sample(route="DELETE /api/platform/api-keys/{key}"),
        Sample(route="GET /auth-request/{request}", says="/auth-request/<request>", whose="browser"),
        Sample(route="GET /auth/request/{request}", says="/auth/request/<request>", whose="browser"),
        Sample(route="POST /auth-request/{request}", whose="browser"),
        Sample(route="GET /api/auth-response/{request}", says="api_key", whose="nobody"),
        Sample(route="POST /auth/request/{second}", whose="browser"),
        Sample(
            route="GET /api/platform/comfyui/auth-response",
            query={"request_id": "<second>"},
            says="api_key",
            whose="nobody",
        ),
        Sample(route="POST /api/platform/comfyui/auth-request", body={"request_id": "<third>"}, whose="browser"),
        Sample(route="GET /api/v2/health", whose="nobody"),
        Sample(route="POST /api/v2/assets/from-path", status=501, says="not_implemented"),
    ]


def _comfyui(prefix: str) -> list[Sample]:
    """ComfyUI's routes, which stand under two prefixes."""
    picture = {"image": ("a.png", PNG, "image/png")}
    masked = '{"filename": "a.png", "type": "input", "subfolder": ""}'
    requests: list[tuple[str, dict[str, Any]]] = [
        ("POST {}/prompt", {"body": {"prompt": GRAPH}, "learn": {"prompt": "prompt_id"}}),
        ("GET {}/prompt", {"says": "queue_remaining"}),
        ("GET {}/queue", {"says": "<prompt>"}),
        ("POST {}/queue", {"body": {"clear": True}}),
        ("GET {}/history", {"says": "<prompt>"}),
        ("GET {}/history/{{prompt}}", {"says": "<prompt>"}),
        ("POST {}/history", {"body": {"delete": ["<prompt>"]}}),
        ("POST {}/interrupt", {"body": {}}),
        ("POST {}/free", {"body": {"unload_models": True}}),
        ("GET {}/object_info", {}),
        ("GET {}/object_info/{{name}}", {"values": {"name": "KSampler"}}),
        ("GET {}/models", {}),
        ("GET {}/models/{{folder}}", {"values": {"folder": "checkpoints"}, "status": 404, "says": "no machine"}),
        ("GET {}/experiment/models", {}),
        ("GET {}/experiment/models/{{folder}}", {"values": {"folder": "checkpoints"}}),
        ("GET {}/embeddings", {"says": "[]"}),
        ("GET {}/extensions", {"says": "[]"}),
        ("GET {}/features", {"says": "max_upload_size"}),
        ("GET {}/i18n", {}),
        ("GET {}/workflow_templates", {}),
        ("GET {}/templates/index.json", {"says": "[]"}),
        ("GET {}/system_stats", {"says": "devices"}),
        ("GET {}/users", {}),
        ("POST {}/upload/image", {"files": picture, "form": {"overwrite": "true"}, "says": "a.png"}),
        ("POST {}/upload/mask", {"files": picture, "form": {"original_ref": masked}, "says": "name"}),
        ("GET {}/view", {"query": {"filename": "a.png", "type": "input"}, "status": 302}),
        ("POST {}/settings", {"body": {"Comfy.A": 1}}),
        ("GET {}/settings", {"says": "Comfy.A"}),
        ("POST {}/settings/{{name}}", {"body": 2, "values": {"name": "Comfy.A"}}),
        ("GET {}/settings/{{name}}", {"says": "2", "values": {"name": "Comfy.A"}}),
        ("POST {}/userdata/{{file}}", {"content": b"{}", "values": {"file": "kept%2Fone.json"}}),
        ("GET {}/userdata/{{file}}", {"says": "{}", "values": {"file": "kept%2Fone.json"}}),
        ("GET {}/userdata", {"query": {"dir": "kept"}, "says": "one.json"}),
        ("GET {}/v2/userdata", {"query": {"path": "kept"}, "says": "one.json"}),
        ("DELETE {}/userdata/{{file}}", {"status": 204, "values": {"file": "kept%2Fone.json"}}),
    ]
    return [Sample(route=route.format(prefix), **options) for route, options in requests]


def _dashboard() -> list[Sample]:
    named = {"name": "by hand", "labels": ""}
    return [
        Sample(route="GET /login", says="Password", whose="nobody"),
        Sample(route="GET /", says="Runs", whose="browser"),
        Sample(route="GET /runs", says="<run>", whose="browser"),
        Sample(route="GET /runs/{run}", says="<run>", whose="browser"),
        Sample(route="POST /runs/{run}/cancel", status=303, whose="browser"),
        Sample(route="POST /machines", form=named, says="enrol-token", whose="browser"),
        Sample(route="GET /machines", says="by hand", whose="browser"),
        Sample(route="POST /machines/{own}/enrol", says="enrol-token", whose="browser"),
        Sample(route="POST /machines/{own}/drain", status=303, whose="browser"),
        Sample(route="POST /machines/{own}/undrain", status=303, whose="browser"),
        Sample(route="POST /machines/{own}/delete", status=303, whose="browser"),
        Sample(route="GET /workflows", says="orkflow", whose="browser"),
        Sample(route="GET /webhooks", says="ebhook", whose="browser"),
        Sample(route="GET /dashboard/files/{file}", status=302, whose="browser"),
        Sample(route="GET /dashboard/static/{file_path}", values={"file_path": "app.css"}, says="{", whose="nobody"),
        Sample(route="HEAD /dashboard/static/{file_path}", values={"file_path": "app.css"}, whose="nobody"),
        Sample(route="GET /openapi.json", says="openapi", whose="nobody"),
        Sample(route="GET /comfy", says="html", whose="nobody"),
        Sample(route="GET /dashboard-session/renew", status=303, whose="browser"),
        Sample(route="POST /dashboard-session/renew", status=204, whose="browser"),
        Sample(route="POST /logout", status=303, whose="browser"),
    ]


PNG: Final = bytes.fromhex(
    "89504e470d0a1a0a0000000d4948445200000001000000010802000000907753de"
    "0000000c49444154789c63f8cfc0000003010100c9fe92ef0000000049454e44ae426082"
)
SAMPLES: Final = [*_comfydeploy(), *_comfyui("/comfy"), *_comfyui("/comfy/api"), *_dashboard()]
BY_TEST: Final = {
    "WS /api/v1/agent/link": ("tests/wire/fake_agent.py", "/api/v1/agent/link"),
    "WS /api/v1/realtime/{deployment_id}": ("tests/end_to_end/test_realtime.py", "/api/v1/realtime/"),
    "WS /comfy/ws": ("tests/wire/test_samples.py", '"/comfy/ws"'),
    "WS /comfy/api/ws": ("tests/wire/test_samples.py", '"/comfy/api/ws"'),
    "GET /comfy/{file}": ("tests/browser/test_comfyui_facade.py", "def test_the_front_end_runs"),
    "GET /api/file-upload": ("tests/wire/test_comfydeploy_push.py", '"/api/file-upload"'),
    "PUT /api/file-upload/{attempt_id}/{file_id}/{name}": (
        "tests/wire/test_comfydeploy_push.py",
        '.put(granted["url"]',
    ),
    "GET /dashboard/stream": ("tests/wire/test_samples.py", '"/dashboard/stream"'),
    "POST /login": ("tests/wire/test_samples.py", 'post("/login"'),
    "GET /login/oidc": ("tests/wire/test_sign_on.py", 'get("/login/oidc"'),
    "GET /login/oidc/callback": ("tests/wire/test_sign_on.py", 'get("/login/oidc/callback"'),
    "HEAD /files/{file_id}/{name}": ("tests/wire/test_api_files.py", 'head(file["url"])'),
}
"""Routes whose use takes more than a request: the tests that use them, and what stands there."""


def shape(route: str) -> str:
    """A route without the names of its parameters."""
    return re.sub(r"\{\w+\}", "{}", route)
