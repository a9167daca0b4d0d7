"""Images through the whole executor: loading, scaling, enlarging, saving, and the inputs of deployed workflows."""

from __future__ import annotations

import base64
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.executor.process import Client, Executor, n, picture, upscale

pytestmark = pytest.mark.anyio
PHOTOS = Path(__file__).resolve().parents[2] / "deploy/demo/photos"


def saved(executor: Executor, entry: dict[str, Any], node_id: str = "save") -> Path:
    """Where the first image of a node lies."""
    item = entry["outputs"][node_id]["images"][0]
    return executor.base / item["type"] / item["subfolder"] / item["filename"]


def opened(path: Path) -> Image.Image:
    """A picture, read whole and its file closed."""
    with Image.open(path) as picture_file:
        picture_file.load()
        return picture_file


def pixels(path: Path) -> np.ndarray:
    """8-bit values of a file."""
    return np.asarray(opened(path))


async def test_an_image_is_enlarged_tile_by_tile(client: Client, executor: Executor, inputs: Path) -> None:
    """700 x 600 needs four tiles; the seams are exact, progress counts the tiles."""
    source = picture(inputs / "large.png", 700, 600)
    entry, heard = await client.run(upscale("large.png"))
    result = pixels(saved(executor, entry))
    doubled = np.asarray(source).repeat(2, axis=0).repeat(2, axis=1)
    assert result.shape == (1200, 1400, 3)
    assert np.abs(result.astype(int) - doubled).max() <= 1
    told = [m["data"] for m in heard if m["type"] == "progress"]
    assert [(one["value"], one["max"], one["node"]) for one in told] == [(i, 4, "up") for i in (1, 2, 3, 4)]


async def test_a_photo_is_enlarged_by_real_weights(client: Client, executor: Executor, inputs: Path) -> None:
    """The demo's way: 96 pixels wide times four, close to the photo and sharper than interpolation."""
    (inputs / "cat.png").write_bytes((PHOTOS / "chelsea.png").read_bytes())
    prompt = upscale("cat.png", "realesr-animevideov3-x4.safetensors")
    prompt["small"] = n("ImageScale", image=["load", 0], upscale_method="area", width=96, height=0, crop="disabled")
    prompt["up"]["inputs"]["image"] = ["small", 0]
    entry, _ = await client.run(prompt)
    made = opened(saved(executor, entry))
    photo = opened(PHOTOS / "chelsea.png").convert("RGB")
    assert made.size == (384, 4 * round(photo.height * 96 / photo.width))
    small = photo.resize((made.width // 4, made.height // 4), Image.Resampling.BOX)
    target = np.asarray(photo.resize(made.size, Image.Resampling.LANCZOS), dtype=float)
    blurred = np.asarray(small.resize(made.size, Image.Resampling.BILINEAR), dtype=float)
    result = np.asarray(made, dtype=float)
    assert np.abs(result - target).mean() < 12
    assert edges(result) > 1.3 * edges(blurred)
    assert {"prompt"} <= set(made.info)
    assert json.loads(made.info["prompt"])["up"]["class_type"] == "ImageUpscaleWithModel"


def edges(values: np.ndarray) -> float:
    """How much neighbours differ."""
    return float(np.abs(np.diff(values, axis=1)).mean())


@pytest.mark.parametrize(
    ("method", "width", "height", "crop", "size"),
    [
        ("nearest-exact", 96, 64, "disabled", (96, 64)),
        ("bilinear", 0, 16, "disabled", (24, 16)),
        ("area", 24, 0, "disabled", (24, 16)),
        ("bicubic", 20, 20, "center", (20, 20)),
        ("lanczos", 30, 40, "center", (30, 40)),
        ("lanczos", 0, 0, "disabled", (48, 32)),
    ],
)
async def test_scaling_gives_the_size_asked_for(
    client: Client, executor: Executor, method: str, width: int, height: int, crop: str, size: tuple[int, int]
) -> None:
    """0 keeps the proportions, both 0 the image; lanczos is PIL's, crop takes the centre."""
    prompt = {
        "load": n("LoadImage", image="small.png"),
        "s": n("ImageScale", image=["load", 0], upscale_method=method, width=width, height=height, crop=crop),
        "save": n("SaveImage", images=["s", 0], filename_prefix=f"scale/{method}"),
    }
    entry, _ = await client.run(prompt)
    made = opened(saved(executor, entry))
    assert made.size == size
    if (method, crop) == ("lanczos", "center"):
        source = opened(executor.base / "input/small.png").crop((12, 0, 36, 32))
        assert (
            np.abs(np.asarray(made).astype(int) - np.asarray(source.resize(size, Image.Resampling.LANCZOS))).max() <= 1
        )


async def test_photos_are_turned_upright_and_alpha_becomes_the_mask(
    client: Client, executor: Executor, inputs: Path
) -> None:
    """EXIF orientation 6 swaps the sides; ImageInvert and PreviewImage keep the rest."""
    exif = Image.Exif()
    exif[0x0112] = 6
    picture(inputs / "plain.png", 40, 20).convert("RGB").save(inputs / "turned.jpg", exif=exif, quality=95)
    prompt = {"l": n("LoadImage", image="turned.jpg"), "i": n("ImageInvert", image=["l", 0])}
    prompt["save"] = n("PreviewImage", images=["i", 0])
    entry, _ = await client.run(prompt)
    made = opened(saved(executor, entry))
    assert made.size == (20, 40)
    assert saved(executor, entry).parent == executor.base / "temp"


async def test_changed_content_under_the_same_name_is_loaded_anew(
    client: Client, executor: Executor, inputs: Path
) -> None:
    """The content of the file is part of the signature."""
    prompt = {"l": n("LoadImage", image="changing.png"), "save": n("SaveImage", images=["l", 0])}
    prompt["save"]["inputs"]["filename_prefix"] = "changing"
    for width in (10, 20):
        picture(inputs / "changing.png", width, 10)
        entry, _ = await client.run(prompt)
        assert opened(saved(executor, entry)).size == (width, 10)


async def test_batches_take_the_size_of_the_first_image(client: Client, executor: Executor) -> None:
    """Two frames are saved with counters of their own."""
    prompt = {
        "a": n("EmptyImage", width=16, height=8, batch_size=1, color=0xFF8000),
        "l": n("LoadImage", image="small.png"),
        "b": n("ImageBatch", image1=["a", 0], image2=["l", 0]),
        "save": n("SaveImage", images=["b", 0], filename_prefix="batch/x"),
    }
    entry, _ = await client.run(prompt)
    names = [item["filename"] for item in entry["outputs"]["save"]["images"]]
    assert names == ["x_00001_.png", "x_00002_.png"]
    assert pixels(saved(executor, entry))[0, 0].tolist() == [255, 128, 0]


def data_url(path: Path) -> str:
    """A picture as a data: URL."""
    return "data:image/png;base64," + base64.b64encode(path.read_bytes()).decode()


async def test_external_images_come_from_a_file_a_data_url_or_the_default(
    client: Client, executor: Executor, inputs: Path
) -> None:
    """All three give the picture; a URL is refused with what to do about it."""
    small = pixels(inputs / "small.png")
    for source, default in (("small.png", None), (data_url(inputs / "small.png"), None), ("none.png", ["d", 0])):
        prompt = {"d": n("LoadImage", image="small.png"), "e": n("ComfyUIDeployExternalImage", input_id=source)}
        if default:
            prompt["e"]["inputs"]["default_value"] = default
        prompt["save"] = n("SaveImage", images=["e", 0], filename_prefix="ext")
        entry, _ = await client.run(prompt)
        assert (pixels(saved(executor, entry)) == small).all()
    prompt["e"]["inputs"]["input_id"] = "https://example.com/a.png"
    entry, _ = await client.run(prompt)
    assert "agent" in entry["status"]["messages"][-1][1]["exception_message"]


async def test_external_alpha_and_batches(client: Client, executor: Executor, inputs: Path) -> None:
    """Alpha is kept as a fourth channel; a JSON list gives a batch."""
    picture(inputs / "alpha.png", 12, 10, "RGBA")
    prompt = {"e": n("ComfyUIDeployExternalImageAlpha", input_id="alpha.png")}
    prompt["save"] = n("SaveImage", images=["e", 0], filename_prefix="alpha")
    entry, _ = await client.run(prompt)
    assert np.abs(pixels(saved(executor, entry)).astype(int) - pixels(inputs / "alpha.png")).max() <= 1
    names = json.dumps(["small.png", data_url(inputs / "alpha.png")])
    prompt["e"] = n("ComfyUIDeployExternalImageBatch", input_id="images", images=names)
    entry, _ = await client.run(prompt)
    assert len(entry["outputs"]["save"]["images"]) == 2


@pytest.mark.parametrize(
    ("class_type", "given", "shown"),
    [
        ("Text", {"input_id": "a", "default_value": "hello"}, "hello"),
        ("TextAny", {"input_id": "a", "default_value": "hi"}, "hi"),
        ("Number", {"input_id": "2.5", "default_value": 1}, "2.5"),
        ("Number", {"input_id": "input_number", "default_value": 1.5}, "1.5"),
        ("NumberInt", {"input_id": "0", "default_value": 7}, "0"),
        ("NumberInt", {"input_id": 0, "default_value": 7}, "0"),
        ("NumberInt", {"input_id": "-5", "default_value": 7}, "-5"),
        ("NumberInt", {"input_id": "", "default_value": 7}, "7"),
        ("NumberSlider", {"input_id": "0.25"}, "0.25"),
        ("NumberSlider", {"input_id": "3", "default_value": 0.5, "min_value": 0, "max_value": 1}, "0.5"),
        ("NumberSliderInt", {"input_id": "2.6", "default_value": 1, "min_value": 0, "max_value": 10}, "3"),
        ("Boolean", {"input_id": "b", "default_value": False}, "False"),
        ("Enum", {"input_id": "e", "default_value": "x", "options": '["x"]'}, "x"),
        ("Seed", {"input_id": "s", "default_value": 42, "min_value": 1, "max_value": 99}, "42"),
        ("Lora", {"input_id": "l", "default_lora_name": "a.safetensors"}, "a.safetensors"),
    ],
)
async def test_external_values(client: Client, class_type: str, given: dict[str, Any], shown: str) -> None:
    """The value laid in is what comes out, zero and negative numbers included; else the default."""
    prompt = {"e": n(f"ComfyUIDeployExternal{class_type}", **given), "o": n("PreviewAny", source=["e", 0])}
    entry, _ = await client.run(prompt)
    assert entry["status"]["status_str"] == "success", entry["status"]
    assert entry["outputs"]["o"]["text"] == [shown]


async def test_a_seed_outside_its_bounds_is_drawn_for_each_run(client: Client) -> None:
    """-1 means random; the cache does not keep it."""
    given = {"input_id": "s", "default_value": -1, "min_value": 1, "max_value": 4294967295}
    prompt = {"e": n("ComfyUIDeployExternalSeed", **given), "o": n("PreviewAny", source=["e", 0])}
    drawn = {(await client.run(prompt))[0]["outputs"]["o"]["text"][0] for _ in range(3)}
    assert len(drawn) == 3


async def test_named_outputs_carry_their_name(client: Client, executor: Executor) -> None:
    """Image and text outputs say which output_id they are."""
    prompt = {
        "l": n("LoadImage", image="small.png"),
        "i": n("ComfyDeployOutputImage", images=["l", 0], filename_prefix="n", file_type="webp", quality=90),
        "s": n("PrimitiveString", value="hello"),
        "t": n("ComfyDeployOutputText", text=["s", 0], filename_prefix="n", file_type="md", output_id="mine"),
    }
    entry, _ = await client.run(prompt)
    assert entry["outputs"]["i"]["images"][0]["output_id"] == "output_images"
    assert opened(saved(executor, entry, "i")).format == "WEBP"
    item = entry["outputs"]["t"]["text_file"][0]
    assert (item["output_id"], (executor.base / "output" / item["filename"]).read_text()) == ("mine", "hello")


async def test_files_go_up_and_come_down(client: Client, executor: Executor, inputs: Path) -> None:
    """The same content keeps its name, other content gets (1); /view gives bytes, previews and channels."""
    first, second = (inputs / "small.png").read_bytes(), b"other"

    async def upload(content: bytes, name: str, **fields: str) -> tuple[int, Any]:
        import aiohttp

        form = aiohttp.FormData(fields)
        form.add_field("image", content, filename=name)
        async with client.session.post(f"{executor.url}/upload/image", data=form) as answer:
            return answer.status, await answer.json() if answer.status == 200 else await answer.text()

    assert await upload(first, "risen.png") == (200, {"name": "risen.png", "subfolder": "", "type": "input"})
    assert (await upload(first, "risen.png"))[1]["name"] == "risen.png"
    assert (await upload(second, "risen.png"))[1]["name"] == "risen (1).png"
    assert (await upload(second, "risen.png", overwrite="true"))[1]["name"] == "risen.png"
    assert (await upload(first, "risen.png", subfolder="a/b", type="temp"))[1]["subfolder"] == "a/b"
    for name, fields in (("../x.png", {}), ("x.png", {"subfolder": "../.."}), ("x.png", {"type": "models"})):
        status, _ = await upload(first, name, **fields)
        assert status in (200, 400)
    assert not (executor.base / "x.png").exists()
    assert not (executor.base.parent / "x.png").exists()
    assert not list(inputs.glob(".upload-*"))

    async def view(**query: str) -> tuple[int, bytes]:
        async with client.session.get(f"{executor.url}/view", params=query) as answer:
            return answer.status, await answer.read()

    assert await view(filename="risen.png", subfolder="a/b", type="temp") == (200, first)
    assert await view(filename="small.png [input]") == (200, first)
    assert (
        Image.open(io.BytesIO((await view(filename="small.png", type="input", preview="webp;50"))[1])).format == "WEBP"
    )
    shown = Image.open(io.BytesIO((await view(filename="small.png", type="input", channel="a"))[1]))
    assert shown.mode == "RGBA"
    assert (await view(filename="../log", type="input"))[0] == 400
    assert (await view(filename="/etc/passwd", type="input"))[0] == 400
    assert (await view(filename="small.png", type="models"))[0] == 400
    assert (await view(filename="log", type="input", subfolder=".."))[0] == 403
    assert (await view(filename="none.png", type="input"))[0] == 404
    assert (await view(type="input"))[0] == 404
