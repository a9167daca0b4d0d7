"""The one way the bytes of an upload come in, for the native API and every dialect: where there is room for them."""

from __future__ import annotations

from collections.abc import AsyncIterator

from orchestrator.errors import Forbidden
from orchestrator.files import Draft
from orchestrator.live.parts import Parts


async def take_in(parts: Parts, organisation_id: str, chunks: AsyncIterator[bytes], limit: int) -> Draft:
    """Receive an input of an organisation, which nothing names yet.

    Raises TooLarge, and Forbidden (`quota_exceeded`) before the first byte where the storage is full, or after the last
    where this does not fit; nothing is left of it then.
    """
    quotas = parts.queue.quotas
    await quotas.check_storage(organisation_id, 0)
    draft = await parts.files.receive(chunks, limit)
    try:
        await quotas.check_storage(organisation_id, draft.size)
    except Forbidden:
        draft.path.unlink(missing_ok=True)
        raise
    return draft
