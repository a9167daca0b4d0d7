"""A run that goes on: pictures come in, each is run through the workflow, pictures go out; the newest only.

It knows frames and workflows, not the link nor the executor. Nodes that only stand for the client's end of the line are
said with nodes that every ComfyUI has: the picture is loaded from a file, the result is sent over the socket.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import tempfile
from collections.abc import Collection
from pathlib import Path
from typing import Any, Final

from msgspec import structs

from drivers.wire import LiveEnd, LiveImage, LiveInput, WorkflowJson
from machine_agent.errors import AttemptFailed
from machine_agent.shelf import Shelf

INPUT: Final = "ComfyDeployWebscoketImageInput"
OUTPUT: Final = "ComfyDeployWebscoketImageOutput"
SENT: Final = "SaveImageWebsocket"
IDLE_S: Final = 120.0
LARGEST: Final = 16_000_000
_ENDINGS: Final = {"image/jpeg": "jpg", "image/png": "png", "image/webp": "webp"}


class Feed:
    """What the client gave last: a newer picture takes an older one's place, whether it was used or not."""

    def __init__(self) -> None:
        self._newest: LiveInput | None = None
        self._images: dict[str, LiveImage] = {}
        self._workflow: WorkflowJson | None = None
        self._ended = False
        self._bell = asyncio.Event()

    def offer(self, frame: LiveInput | LiveEnd) -> None:
        """Take a frame."""
        if isinstance(frame, LiveEnd):
            self._ended = True
        else:
            self._images |= {image.id: image for image in frame.images}
            self._workflow = frame.workflow or self._workflow
            self._newest = structs.replace(frame, images=list(self._images.values()), workflow=self._workflow)
        self._bell.set()

    async def next(self) -> LiveInput | None:
        """The newest input, with every picture and the workflow as they stand; None: the client is gone."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(IDLE_S):
                while self._newest is None and not self._ended:
                    self._bell.clear()
                    await self._bell.wait()
        found, self._newest = self._newest, None
        return None if self._ended else found


class Collector:
    """The pictures that one prompt sends, by the output that sent them."""

    def __init__(self, workflow: WorkflowJson) -> None:
        self._outputs = outputs_of(workflow)
        self._node: str | None = None
        self.images: dict[str, LiveImage] = {}

    def on_message(self, name: str, data: dict[str, Any]) -> None:
        """Follow which node is at work."""
        if name == "executing":
            self._node = data.get("display_node") or data.get("node")

    def on_preview(self, content_type: str, image: bytes) -> None:
        """Keep a picture of an output node; what other nodes show is no result."""
        name = self._outputs.get(str(self._node))
        if name is not None:
            self.images[name] = LiveImage(name, content_type, base64.b64encode(image).decode())


def outputs_of(workflow: WorkflowJson) -> dict[str, str]:
    """The name of each live output, by its node's id."""
    return {
        node_id: str(node.get("inputs", {}).get("output_id") or node_id)
        for node_id, node in workflow.items()
        if isinstance(node, dict) and node.get("class_type") == OUTPUT
    }


def with_pictures(workflow: WorkflowJson, files: dict[str, str], classes: Collection[str]) -> WorkflowJson:
    """The workflow with the pictures in place of its live inputs. files: names by input id."""
    laid: WorkflowJson = {}
    for node_id, node in workflow.items():
        fields = node.get("inputs", {})
        name = files.get(str(fields.get("input_id"))) if node.get("class_type") == INPUT else None
        if name is not None:
            laid[node_id] = {**node, "class_type": "LoadImage", "inputs": {"image": name}}
        elif node.get("class_type") == OUTPUT and OUTPUT not in classes:
            laid[node_id] = {**node, "class_type": SENT, "inputs": {"images": fields.get("images")}}
        else:
            laid[node_id] = node
    return laid


async def lay(shelf: Shelf, frame: LiveInput) -> dict[str, str]:
    """Put a frame's pictures where the executor finds them; their names by input id. Two names take turns."""
    names = {}
    for place, image in enumerate(frame.images):
        ending = _ENDINGS.get(image.content_type)
        if ending is None or len(image.data) > LARGEST:
            raise AttemptFailed.because("input_unavailable", f"the picture for {image.id!r} cannot be taken")
        name = f"live/{place}-{frame.number % 2}.{ending}"
        with tempfile.NamedTemporaryFile(suffix=f".{ending}") as file:
            file.write(base64.b64decode(image.data))
            file.flush()
            await shelf.put(Path(file.name), name)
        names[image.id] = name
    return names
