"""What the registry knows of the built-in classes."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("torch")
import torch

from comfy_core.config import read_settings
from comfy_core.memory import Memory
from comfy_core.nodes import built_in
from comfy_core.registry import Services

ENDINGS = ("png", "wav", "mp3", "flac", "mp4", "webm", "latent", "txt", "glb", "json", "safetensors")


def test_only_classes_that_say_so_offer_files(tmp_path: Path) -> None:
    """Files that appear change no declaration but those of classes marked LISTS_FILES, which are read anew."""
    folders = read_settings(["--base-directory", str(tmp_path)]).folders
    registry = built_in(Services(folders, Memory(torch.device("cpu"))))
    before = {name: repr(cls.INPUT_TYPES()) for name, cls in registry.classes.items()}
    for root in (
        folders.input,
        folders.output,
        *(Path(root) for roots, _ in folders.models.values() for root in roots),
    ):
        (root / "folder").mkdir(parents=True, exist_ok=True)
        for ending in ENDINGS:
            (root / f"new.{ending}").write_bytes(b"x")
    changed = {name for name, cls in registry.classes.items() if repr(cls.INPUT_TYPES()) != before[name]}
    assert changed
    assert {name for name in changed if not registry[name].LISTS_FILES} == set()
