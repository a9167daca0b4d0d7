"""Image nodes where they touch the server: what goes over the socket, what is refused, and that it lives on."""

from __future__ import annotations

import io
import shutil
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from PIL import Image

from tests.executor.process import RUN_S, Client, Executor, n

pytestmark = pytest.mark.anyio


async def test_images_are_sent_over_the_socket(client: Client) -> None:
    """Two binary messages: preview, PNG, the image unscaled; nothing is in the history."""
    prompt = {
        "e": n("EmptyImage", width=700, height=20, batch_size=2, color=0x0000FF),
        "w": n("SaveImageWebsocket", images=["e", 0]),
    }
    prompt_id = await client.queue(prompt)
    pictures: list[Image.Image] = []
    while True:
        message = await client.socket.receive(timeout=RUN_S)
        if message.type is aiohttp.WSMsgType.BINARY:
            assert message.data[:8] == bytes([0, 0, 0, 1, 0, 0, 0, 2])
            pictures.append(Image.open(io.BytesIO(message.data[8:])))
        elif '"executing"' in message.data and '"node": null' in message.data.replace('"node":null', '"node": null'):
            break
    assert [(picture.format, picture.size, picture.getpixel((0, 0))) for picture in pictures] == [
        ("PNG", (700, 20), (0, 0, 255))
    ] * 2
    assert (await client.get(f"/history/{prompt_id}"))[prompt_id]["outputs"] == {}


@pytest.mark.parametrize(
    ("node", "reason"),
    [
        pytest.param(n("CropMask", mask=["m", 0], x=99, y=99, width=5, height=5), "empty", id="nothing left"),
        pytest.param(n("GrowMask", mask=["m", 0], expand=16384, tapered_corners=True), None, id="many steps"),
        pytest.param(n("ImageToMask", image=["e", 0], channel="alpha"), "channels", id="no such channel"),
    ],
)
async def test_results_that_cannot_be_shown_say_why(client: Client, node: dict[str, Any], reason: str | None) -> None:
    """The run ends at once, with the reason where it fails; the next one runs."""
    prompt = {
        "m": n("SolidMask", value=1.0, width=8, height=8),
        "e": n("EmptyImage", width=8, height=8, batch_size=1, color=0),
        "x": node,
        "s": n("MaskPreview", mask=["x", 0]),
    }
    entry, _ = await client.run(prompt)
    told = entry["status"]["messages"][-1][1].get("exception_message")
    assert told is None if reason is None else reason in told
    prompt["s"] = n("MaskPreview", mask=["m", 0])
    assert (await client.run(prompt))[0]["status"]["status_str"] == "success"


@pytest.mark.parametrize("class_type", ["LoadImage", "LoadImageMask", "WebcamCapture"])
async def test_names_that_lead_out_are_no_files(client: Client, class_type: str) -> None:
    """Refused when the prompt is given, not when it runs."""
    more = {"channel": "red"} if class_type == "LoadImageMask" else {}
    more |= {"width": 0, "height": 0, "capture_on_queue": True} if class_type == "WebcamCapture" else {}
    prompt = {"l": n(class_type, image="../secret.png", **more), "p": n("PreviewAny", source=["l", 0])}
    status, body = await client.post("/prompt", {"prompt": prompt, "client_id": client.client_id})
    assert status == 400
    assert body["node_errors"]["l"]["errors"][0]["type"] == "custom_validation_failed"


async def test_results_and_captures_are_loaded(client: Client, executor: Executor, inputs: Path) -> None:
    """A name may say that it is among the results or in the temporary folder."""
    for folder, name in (("output", "made.png"), ("temp", "webcam.png")):
        (executor.base / folder).mkdir(exist_ok=True)
        shutil.copy(inputs / "small.png", executor.base / folder / name)
    capture = {"width": 0, "height": 0, "capture_on_queue": True}
    prompt = {
        "r": n("LoadImageOutput", image="made.png [output]"),
        "w": n("WebcamCapture", image="webcam.png [temp]", **capture),
        "g": n("GetImageSize", image=["r", 0]),
        "h": n("GetImageSize", image=["w", 0]),
        "s": n("PreviewAny", source=["g", 0]),
        "t": n("PreviewAny", source=["h", 1]),
    }
    entry, _ = await client.run(prompt)
    assert [entry["outputs"][node]["text"] for node in ("s", "t")] == [["48"], ["32"]]
