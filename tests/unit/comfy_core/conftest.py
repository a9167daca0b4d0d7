"""What several modules of tests of the executor share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.unit.comfy_core.pack_side import PackSide


@pytest.fixture(scope="session")
def side(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PackSide]:
    """A process as packs find it while they are imported. Starting it takes seconds: torch."""
    side = PackSide(tmp_path_factory.mktemp("pack_side"))
    yield side
    side.end()
