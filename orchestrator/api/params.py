"""Query parameters that several lists share."""

from __future__ import annotations

from typing import Annotated

from litestar.params import Parameter

from orchestrator.runs.paging import LARGEST_PAGE

Limit = Annotated[int, Parameter(ge=1, le=LARGEST_PAGE, description="How many items a page holds at most.")]
Cursor = Annotated[str | None, Parameter(max_length=100, description="The next_cursor of the page before.")]
