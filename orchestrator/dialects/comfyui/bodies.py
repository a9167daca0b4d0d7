"""Bodies of ComfyUI clients: JSON, whatever they say it is, as objects or nothing."""

from __future__ import annotations

from typing import Any

import msgspec
from litestar import Request, Response
from litestar.enums import MediaType

from orchestrator.errors import BadRequest


async def json_object(request: Request[Any, Any, Any]) -> dict[str, Any]:
    """The body's object; {} for an empty body. Raises BadRequest."""
    body = await request.body()
    if not body.strip():
        return {}
    try:
        return msgspec.json.decode(body, type=dict[str, Any])
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise BadRequest(f"the body is no JSON object: {error}", code="malformed_json") from error


def done(status: int = 200, headers: dict[str, str] | None = None) -> Response[bytes]:
    """An answer without a body."""
    return Response(b"", status_code=status, media_type=MediaType.TEXT, headers=headers)


def texts(value: Any) -> list[str]:
    """The texts of a list; [] for anything else."""
    return [item for item in value if isinstance(item, str)] if isinstance(value, list) else []
