"""Routes of ComfyDeploy's that stand for something there is not here: each is refused with what to use instead."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, Literal

from litestar import HttpMethod, route

from orchestrator.auth import requires
from orchestrator.errors import ApiProblem

Verb = Literal["get", "post", "patch", "put", "delete"]
GUARDS: Final = requires("viewer", "workflows:read")
BUILDS: Final = (
    "nothing is built here: a machine is what its agent starts, or a ComfyUI at an endpoint (POST /api/machine/custom)"
)
SESSIONS: Final = (
    "no machine is lent out: ComfyUI's front end runs over the pool (POST /api/v1/comfyui-links), and the image loop "
    "keeps a machine for a connection (/api/v1/realtime/{deployment_id})"
)
MODELS: Final = "models lie on the machines and are put there by whoever runs them; GET /api/v1/machines lists them"
SHARES: Final = "a deployment is shared by a link: POST /api/v1/shares"
ABSENT: Final[Sequence[tuple[str, Sequence[Verb], str]]] = (
    ("/doc", ("get",), "GET /openapi.json describes our own API, docs/API/comfydeploy.md this one"),
    ("/machine/serverless", ("post",), BUILDS),
    ("/machine/serverless/{machine_id:str}", ("patch",), BUILDS),
    ("/machine/create", ("post",), BUILDS),
    ("/machine/import", ("post",), BUILDS),
    ("/machine/version", ("get",), BUILDS),
    ("/machine/modal/{rest:path}", ("post",), BUILDS),
    ("/machine/{machine_id:uuid}/rollback", ("post",), BUILDS),
    ("/machine/{machine_id:uuid}/docker-commands", ("get",), BUILDS),
    ("/machine/{machine_id:uuid}/check-custom-nodes", ("get",), "GET /api/v1/machines/{id} lists the node packs"),
    ("/machine/{machine_id:uuid}/update-custom-nodes", ("post",), BUILDS),
    ("/machine/{machine_id:uuid}/export", ("get",), "GET /api/v1/machines/{id} shows all that is known of a machine"),
    ("/machine/{machine_id:uuid}/versions", ("get",), "GET /api/v1/machines/{id}/versions"),
    ("/machine/{machine_id:uuid}/versions/{rest:path}", ("get",), "GET /api/v1/machines/{id}/versions"),
    ("/machine/{machine_id:uuid}/events", ("get",), "GET /api/v1/machines/{id}/events"),
    ("/machine/{machine_id:uuid}/workflows", ("get",), "GET /api/deployments names the machine of each deployment"),
    ("/machine/{machine_id:uuid}/secrets/{rest:path}", ("get",), "GET /api/v1/machines/{id}/secrets"),
    ("/machine/secret", ("post", "patch"), "PUT /api/v1/machines/{id}/secrets/{name}"),
    ("/machine/secret/{rest:path}", ("get", "patch", "delete"), "GET /api/v1/machines/{id}/secrets"),
    ("/machine/secrets/all", ("get",), "GET /api/v1/machines/{id}/secrets"),
    ("/machine-version/{rest:path}", ("get", "post"), "GET /api/v1/machines/{id}/logs"),
    ("/session", ("post",), SESSIONS),
    ("/session/{rest:path}", ("get", "post", "delete"), SESSIONS),
    ("/sessions", ("get",), SESSIONS),
    ("/gpu_event", ("post",), "GPU time is not reported apart: GET /api/v1/usage counts what each run took"),
    ("/volume/{rest:path}", ("get", "post"), MODELS),
    ("/file/{rest:path}", ("get", "post", "delete"), MODELS),
    ("/search/model", ("get",), MODELS),
    ("/snapshot-to-docker", ("post",), BUILDS),
    (
        "/deps",
        ("post",),
        "GET /api/v1/versions/{id}/compatibility says which machines have what it needs",
    ),
    ("/comfyui-versions", ("get",), BUILDS),
    ("/branch-info", ("get",), BUILDS),
    ("/custom-node-list", ("get",), BUILDS),
    ("/workflow/{workflow_id:uuid}/share", ("post", "delete"), SHARES),
    ("/workflow/{workflow_id:uuid}/shared-status", ("get",), SHARES),
    ("/shared-workflows", ("get",), SHARES),
    ("/shared-workflows/{rest:path}", ("get", "post"), SHARES),
    ("/share/output", ("get", "post"), "outputs have signed addresses that expire: GET /api/run/{id}"),
    ("/workflow/{workflow_id:uuid}/gallery", ("get",), "GET /api/workflow/{id}/runs, and GET /api/run/{id} of each"),
    ("/workflow/{workflow_id:uuid}/runs/day", ("get",), "GET /api/v1/usage counts by day"),
    ("/v2/clickhouse-run-logs/{run_id:str}", ("get",), "GET /api/v1/runs/{id}/logs"),
    (
        "/deployment/{deployment_id:uuid}/deactivate",
        ("post",),
        "nothing is kept warm: DELETE /api/deployment/{id}",
    ),
    ("/assets/folder", ("post",), "files have no folders"),
    ("/assets/{file_id:uuid}", ("patch",), "a file keeps its name, and there are no folders"),
    ("/assets/upload", ("post",), "POST /api/file/upload"),
    ("/assets/register", ("post",), "POST /api/file/upload"),
    ("/assets/add", ("post",), "POST /api/v1/files/from-url"),
    ("/assets/presigned-url", ("get",), "GET /api/upload-url"),
    ("/assets/search", ("get",), "GET /api/assets?search="),
    ("/platform/user-settings", ("get", "put"), "GET /api/v1/organisation"),
    ("/user/{user_id:str}", ("get",), "GET /api/v1/members"),
    ("/optimize/{rest:path}", ("get",), "pictures are sent as they are: GET /api/view"),
)
"""Path, methods, and what to use instead or why there is nothing."""


class NotHere(ApiProblem):
    """ComfyDeploy has this, and we do not."""

    status, title, code = 501, "Not here", "not_here"


def _absent(path: str, verbs: Sequence[Verb], instead: str) -> Any:
    async def absent() -> None:
        raise NotHere(f"/api{path.partition('{')[0]} is not here: {instead}")

    absent.__doc__ = f"Refused: {instead}."
    return route(path, http_method=[HttpMethod(verb.upper()) for verb in verbs], opt=GUARDS)(absent)


handlers: Final = [_absent(path, verbs, instead) for path, verbs, instead in ABSENT]
