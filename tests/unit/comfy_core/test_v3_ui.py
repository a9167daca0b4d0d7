"""What V3 nodes show and save: file names, the workflow inside, and what clients are told."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import av
import pytest
import torch
from PIL import Image

from comfy_core.errors import InputRefused
from comfy_core.folders import Folders, standard_models
from comfy_core.memory import Memory
from comfy_core.registry import Services
from comfy_core.surface import NotAttached
from comfy_core.v3 import io, ui

PROMPT = {"1": {"class_type": "Shows", "inputs": {}}}
WORKFLOW = {"nodes": [1]}
OUTPUT, TEMP = io.FolderType.output, io.FolderType.temp


class Shows(io.ComfyNode):
    services: Any = None

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(node_id="Shows", is_output_node=True)

    @classmethod
    def execute(cls) -> None:
        return None


@pytest.fixture
def folders(tmp_path: Path) -> Folders:
    """Folders of one test."""
    models = standard_models([tmp_path / "models"], tmp_path)
    made = Folders(tmp_path, tmp_path / "input", tmp_path / "output", tmp_path / "temp", models)
    made.prepare()
    return made


@pytest.fixture
def node(folders: Folders) -> type[io.ComfyNode]:
    """A node class within a call: it has folders and the workflow."""
    bound = type("Shows", (Shows,), {"services": Services(folders, Memory(torch.device("cpu")))})
    return bound.with_hidden({"prompt": PROMPT, "extra_pnginfo": {"workflow": WORKFLOW}})


def frames(count: int = 2) -> torch.Tensor:
    """Frames of one shade each, 16 x 12."""
    shades = torch.linspace(0.2, 0.8, count).reshape(-1, 1, 1, 1)
    return shades.expand(count, 12, 16, 3).contiguous()


def tone(channels: int = 2) -> dict[str, Any]:
    """A tenth of a second of a soft 440 Hz."""
    wave = 0.1 * torch.sin(torch.arange(4410) * (2 * torch.pi * 440 / 44100))
    return {"waveform": wave.expand(1, channels, -1).contiguous(), "sample_rate": 44100}


def test_images_are_saved_with_their_workflow(node: Any, folders: Folders) -> None:
    """2.10.7: each frame becomes a PNG under the prefix, counted up, with prompt and workflow inside."""
    saved = ui.ImageSaveHelper.save_images(frames(), "own/%width%", OUTPUT, node)
    assert [dict(one) for one in saved] == [
        {"filename": f"16_0000{n}_.png", "subfolder": "own", "type": "output"} for n in (1, 2)
    ]
    with Image.open(folders.output / "own" / "16_00002_.png") as picture:
        assert picture.getpixel((0, 0)) == (204, 204, 204)
        assert json.loads(picture.info["prompt"]) == PROMPT
        assert json.loads(picture.info["workflow"]) == WORKFLOW


def test_no_workflow_where_metadata_is_off(folders: Folders) -> None:
    """An executor told to write no metadata writes none, whatever the node was given."""
    services = Services(folders, Memory(torch.device("cpu")), metadata=False)
    silent = type("Shows", (Shows,), {"services": services}).with_hidden({"prompt": PROMPT})
    ui.ImageSaveHelper.get_save_images_ui(frames(1), "x", silent)
    with Image.open(folders.output / "x_00001_.png") as picture:
        assert "prompt" not in picture.info


def test_animations_are_one_file(node: Any, folders: Folders) -> None:
    """Frames of a rate become one APNG or WebP, the workflow in it, and clients are told that it moves."""
    png = ui.ImageSaveHelper.get_save_animated_png_ui(frames(3), "a", node, 4.0, 4).as_dict()
    webp = ui.ImageSaveHelper.get_save_animated_webp_ui(frames(3), "a", node, 4.0, True, 80, 0).as_dict()
    assert png == {
        "images": [{"filename": "a_00001_.png", "subfolder": "", "type": "output"}],
        "animated": (True,),
    }
    assert webp["images"][0]["filename"] == "a_00002_.webp"
    raw = (folders.output / "a_00001_.png").read_bytes()
    assert b"comfprompt\x00" + json.dumps(PROMPT).encode() in raw
    with Image.open(folders.output / "a_00001_.png") as picture:
        assert (picture.n_frames, picture.info["duration"]) == (3, 250.0)  # type: ignore[attr-defined]
    with Image.open(folders.output / "a_00002_.webp") as picture:
        assert picture.n_frames == 3  # type: ignore[attr-defined]
        assert picture.getexif()[ui.MODEL_TAG] == f"prompt:{json.dumps(PROMPT)}"
        assert picture.getexif()[ui.MAKE_TAG] == f"workflow:{json.dumps(WORKFLOW)}"


def test_previews_go_to_the_temp_folder(node: Any, folders: Folders) -> None:
    """2.10.7: images, masks and sound are saved under a drawn prefix; masks come out grey."""
    image = ui.PreviewImage(frames(), cls=node).as_dict()
    mask = ui.PreviewMask(torch.full((4, 6), 0.5), cls=node).as_dict()
    audio = ui.PreviewAudio(tone(), cls=node).as_dict()
    assert [one["type"] for one in (*image["images"], *mask["images"], *audio["audio"])] == ["temp"] * 4
    assert (image["animated"], mask["animated"]) == ((False,), (False,))
    assert image["images"][0]["filename"].startswith("ComfyUI_temp_")
    with Image.open(folders.temp / mask["images"][0]["filename"]) as picture:
        assert (picture.size, picture.mode, picture.getpixel((0, 0))) == ((6, 4), "RGB", (127, 127, 127))


@pytest.mark.parametrize(
    ("ending", "quality", "codec", "rate"),
    [("flac", "128k", "flac", 44100), ("mp3", "V0", "mp3float", 44100), ("opus", "64k", "opus", 48000)],
)
def test_sound_is_saved(node: Any, folders: Folders, ending: str, quality: str, codec: str, rate: int) -> None:
    """A waveform becomes a file of the codec asked for, tagged with its workflow."""
    (saved,) = ui.AudioSaveHelper.save_audio(tone(), "s", OUTPUT, node, ending, quality)
    assert saved.filename == f"s_00001_.{ending}"
    with av.open(str(folders.output / saved.filename)) as container:
        stream = container.streams.audio[0]
        tags = {key.lower(): value for key, value in {**container.metadata, **stream.metadata}.items()}
        assert (stream.codec_context.name, stream.codec_context.sample_rate) == (codec, rate)
        assert json.loads(tags["prompt"]) == PROMPT


def test_what_cannot_be_saved_is_refused(node: Any, folders: Folders) -> None:
    """A prefix that leads out, an unknown codec, no frames: an error, and no file."""
    with pytest.raises(InputRefused):
        ui.ImageSaveHelper.save_images(frames(), "../out", OUTPUT, node)
    with pytest.raises(InputRefused, match="wav"):
        ui.AudioSaveHelper.save_audio(tone(), "s", OUTPUT, node, "wav")
    with pytest.raises(InputRefused, match="frames"):
        ui.ImageSaveHelper.save_animated_png(frames()[:0], "a", TEMP, node, 4.0, 4)
    assert [path.name for path in folders.output.rglob("*")] == []


def test_helpers_need_an_executor() -> None:
    """Outside an executor, a class without folders of its own is told so."""
    with pytest.raises(NotAttached):
        ui.PreviewImage(frames())


@pytest.mark.parametrize(
    ("shown", "told"),
    [
        (ui.PreviewText("hi"), {"text": ("hi",)}),
        (ui.PreviewUI3D("m.glb", {"fov": 1}), {"result": ["m.glb", {"fov": 1}]}),
        (
            ui.PreviewVideo([ui.SavedResult("v.mp4", "s", OUTPUT)]),
            {"images": [{"filename": "v.mp4", "subfolder": "s", "type": "output"}], "animated": (True,)},
        ),
        (
            ui.SavedImages([ui.SavedResult("a", "", TEMP)]),
            {"images": [{"filename": "a", "subfolder": "", "type": "temp"}]},
        ),
        (
            ui.SavedAudios([ui.SavedResult("a", "", TEMP)]),
            {"audio": [{"filename": "a", "subfolder": "", "type": "temp"}]},
        ),
    ],
)
def test_clients_are_told_what_is_shown(shown: Any, told: dict[str, Any]) -> None:
    """2.10.7, 2.12.3: each kind has its own shape, which goes into the history as JSON."""
    assert shown.as_dict() == told
    json.dumps(shown.as_dict())
