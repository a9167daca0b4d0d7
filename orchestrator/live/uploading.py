"""The one way a version comes in, for the native API and every dialect: converted where need be, checked, understood.

It knows what a version is made of, and no words of any API but those of the errors.
"""

from __future__ import annotations

from typing import Any

from msgspec.structs import replace

from orchestrator.errors import FieldError, Invalid
from orchestrator.live.infos import INFOS
from orchestrator.live.policing import refuse_forbidden
from orchestrator.runs.conversion import classes_of, convert
from orchestrator.runs.requirements import check_graph, requirements_of
from orchestrator.store.db import Database
from orchestrator.store.workflows import NewVersion
from orchestrator.wire import VersionCreate


async def checked(db: Database, organisation_id: str, graphs: VersionCreate) -> NewVersion:
    """The version, ready to be stored. Raises Invalid, whose errors name each node."""
    if graphs.api_graph is None:
        graphs = replace(graphs, api_graph=await _converted(db, organisation_id, graphs.ui_graph))
    assert graphs.api_graph is not None
    _refuse(check_graph(graphs.api_graph))
    needs = requirements_of(graphs.api_graph, graphs.ui_graph, graphs.snapshot)
    await refuse_forbidden(db, organisation_id, needs.node_classes)
    return NewVersion(graphs, needs)


async def _converted(db: Database, organisation_id: str, ui_graph: Any) -> dict[str, Any]:
    if ui_graph is None:
        message = "give api_graph (ComfyUI's API format), or ui_graph (the editor's) to have it converted"
        raise Invalid(message, errors=[FieldError("api_graph", message, "missing_field")])
    specs = await INFOS.specs(db, organisation_id, classes_of(ui_graph))
    converted = convert(ui_graph, specs)
    _refuse(converted.errors)
    return converted.graph


def _refuse(errors: list[FieldError]) -> None:
    if errors:
        code = errors[0].code if len({error.code for error in errors}) == 1 else "bad_graph"
        more = f" (and {len(errors) - 1} more)" if len(errors) > 1 else ""
        raise Invalid(f"{errors[0].path}: {errors[0].message}{more}", code=code, errors=errors)
