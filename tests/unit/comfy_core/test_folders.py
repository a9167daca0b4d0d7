"""Names from outside stay inside their folder."""

from __future__ import annotations

from pathlib import Path

import pytest

from comfy_core.config import CacheSettings, read_settings
from comfy_core.errors import InputRefused
from comfy_core.folders import Folders, inside
from comfy_core.nodes.saving import place_for


@pytest.mark.parametrize("name", ["../x", "a/../../x", "/etc/passwd", "..", "a\x00b", "x/" * 3000])
def test_names_that_lead_out_are_refused(tmp_path: Path, name: str) -> None:
    """Dots, absolute paths, NUL and endless names raise or stay inside; nothing else happens."""
    try:
        found = inside(tmp_path, name)
    except InputRefused:
        return
    assert tmp_path.resolve() in found.parents


def test_a_link_that_leads_out_is_refused(tmp_path: Path) -> None:
    """A symbolic link is followed before it is judged."""
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "out").symlink_to(tmp_path)
    with pytest.raises(InputRefused):
        inside(tmp_path / "home", "out", "secret")


def test_annotations_choose_the_folder(tmp_path: Path) -> None:
    """`name [output]` is looked for among the outputs."""
    folders = Folders(tmp_path, tmp_path / "in", tmp_path / "out", tmp_path / "temp")
    assert folders.find_annotated("a.png").parent == (tmp_path / "in").resolve()
    assert folders.find_annotated("a.png [output]").parent == (tmp_path / "out").resolve()
    with pytest.raises(InputRefused):
        folders.find_annotated("../a.png [temp]")


def test_counters_go_on_from_the_highest_of_the_same_prefix(tmp_path: Path) -> None:
    """Other prefixes and endings of the same folder are told apart."""
    for name in ("cat_00001_.png", "cat_00007_.jpg", "cat_x_00050_.png", "dog_00099_.png", "cat_note.txt"):
        (tmp_path / name).touch()
    place = place_for("cat", tmp_path)
    assert place.next(0)[0] == "cat_00008_.png"
    assert place.next(1)[0] == "cat_00009_.png"
    assert place_for("new/%width%x%height%", tmp_path, 4, 5).next(0)[1] == tmp_path / "new" / "4x5_00001_.png"
    with pytest.raises(InputRefused):
        place_for("../cat", tmp_path)


def test_the_command_line_takes_comfyuis_flags(tmp_path: Path) -> None:
    """Flags without a meaning here are kept for a warning; model folders come from both sources."""
    extra = tmp_path / "extra.yaml"
    extra.write_text("mine:\n  base_path: weights\n  upscale_models: |\n    up\n    more\n")
    argv = ["--listen", "--port", "0", "--cpu", "--cache-lru", "9", "--lowvram", "--fp16-unet"]
    argv += ["--base-directory", str(tmp_path), "--extra-model-paths-config", str(extra), "--no-such-flag"]
    settings = read_settings(argv)
    assert settings.network.hosts == ["0.0.0.0", "::"]
    assert settings.device.cpu
    assert settings.cache == CacheSettings("lru", 9)
    assert settings.device.limits.keep == "while_used"
    assert settings.ignored == ["--fp16-unet", "--no-such-flag"]
    searched, endings = settings.folders.models["upscale_models"]
    assert searched == [str(tmp_path / name) for name in ("models/upscale_models", "weights/up", "weights/more")]
    assert ".safetensors" in endings


def test_model_names_follow_the_disk_and_the_endings(tmp_path: Path) -> None:
    """A listing is remembered, and read again when a folder below changes, one behind a link too."""
    loras, elsewhere = tmp_path / "loras", tmp_path / "elsewhere"
    (loras / "deep" / ".git").mkdir(parents=True)
    elsewhere.mkdir()
    (loras / "link").symlink_to(elsewhere)
    (loras / "round").symlink_to(loras)
    for name in ("a.safetensors", "notes.txt", "deep/b.PT", "deep/.git/c.pt"):
        (loras / name).touch()
    folders = Folders(tmp_path, tmp_path, tmp_path, tmp_path, {"loras": ([str(loras)], {".safetensors", ".pt"})})
    assert folders.model_names("loras") == ["a.safetensors", "deep/b.PT"]
    (elsewhere / "d.pt").touch()
    assert folders.model_names("loras") == ["a.safetensors", "deep/b.PT", "link/d.pt"]
    folders.models["loras"] = ([str(loras)], set())
    assert "notes.txt" in folders.model_names("loras")


def test_a_model_may_be_a_link_but_not_a_way_out(tmp_path: Path) -> None:
    """Who owns the machine may link models in; a name from a prompt does not leave the folder."""
    (tmp_path / "loras").mkdir()
    (tmp_path / "elsewhere.pt").touch()
    (tmp_path / "loras" / "here.pt").symlink_to(tmp_path / "elsewhere.pt")
    folders = Folders(tmp_path, tmp_path, tmp_path, tmp_path, {"loras": ([str(tmp_path / "loras")], {".pt"})})
    assert folders.find_model("loras", "here.pt") == tmp_path / "loras" / "here.pt"
    for name in ("../elsewhere.pt", str(tmp_path / "elsewhere.pt"), "a\x00", "x/" * 3000):
        with pytest.raises(InputRefused):
            folders.find_model("loras", name)
