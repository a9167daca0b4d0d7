"""The generated documents say what the program says now."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parents[2]
pytestmark = pytest.mark.anyio


def _make_docs() -> ModuleType:
    spec = importlib.util.spec_from_file_location("make_docs", ROOT / "deploy" / "make_docs.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


async def test_generated_documents_are_up_to_date(database_url: str) -> None:
    """Generating every document again gives the committed text; `make docs` mends it."""
    for path, text in (await _make_docs().generate_all(database_url)).items():
        assert (ROOT / path).read_text() == text, f"{path} is out of date: run `make docs`"
