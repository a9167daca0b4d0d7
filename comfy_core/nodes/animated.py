"""Nodes that save a batch of images as one animated file, and drawings as SVG, with the workflow inside."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, ClassVar

import torch
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from comfy_core.errors import InputRefused
from comfy_core.nodes.pixels import to_pictures
from comfy_core.nodes.saving import Place, place_for
from comfy_core.registry import BuiltIn

HIDDEN = {"prompt": "PROMPT", "extra_pnginfo": "EXTRA_PNGINFO"}
MODEL_TAG, MAKE_TAG = 0x0110, 0x010F
"""EXIF tags that carry the prompt and, from the second downwards, what else comes with it."""
METHODS = {"default": 4, "fastest": 0, "slowest": 6}


class SavesFrames(BuiltIn):
    """What nodes share that save all frames into one file. Not a node itself."""

    PYTHON_MODULE = "comfy_extras.nodes_images"
    CATEGORY = "image/animation"
    RETURN_TYPES: ClassVar[tuple[str, ...]] = ()
    FUNCTION = "save_images"
    OUTPUT_NODE = True
    OPTIONS: ClassVar[dict[str, Any]] = {}

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:  # noqa: N802 - the node protocol's name
        """Inputs."""
        return {
            "required": {
                "images": ("IMAGE",),
                "filename_prefix": ("STRING", {"default": "ComfyUI"}),
                "fps": ("FLOAT", {"default": 6.0, "min": 0.01, "max": 1000.0, "step": 0.01}),
                **cls.OPTIONS,
            },
            "hidden": HIDDEN,
        }

    def place(self, prefix: str, images: torch.Tensor | None = None) -> Place:
        """Where the file goes."""
        root = self.services.folders.output
        root.mkdir(parents=True, exist_ok=True)
        return place_for(prefix, root) if images is None else place_for(prefix, root, images.shape[2], images.shape[1])

    def told(self, prompt: Any, extra: dict[str, Any] | None) -> Iterator[tuple[str, str]]:
        """(name, JSON) of what a file says about how it was made."""
        if not self.services.metadata:
            return
        if prompt is not None:
            yield "prompt", json.dumps(prompt)
        for key, value in (extra or {}).items():
            yield key, json.dumps(value)


def _frames(images: torch.Tensor) -> tuple[Image.Image, list[Image.Image]]:
    first, *others = to_pictures(images)
    return first, others


def _duration(fps: float) -> int:
    """Milliseconds of one frame."""
    return int(1000.0 / fps)


class SaveAnimatedWEBP(SavesFrames):
    """An animated WebP file in the output folder."""

    OPTIONS: ClassVar[dict[str, Any]] = {
        "lossless": ("BOOLEAN", {"default": True}),
        "quality": ("INT", {"default": 80, "min": 0, "max": 100}),
        "method": (list(METHODS),),
    }

    def save_images(
        self,
        images: torch.Tensor,
        fps: float,
        filename_prefix: str,
        lossless: bool,
        quality: int,
        method: str,
        num_frames: int = 0,
        prompt: Any = None,
        extra_pnginfo: dict[str, Any] | None = None,
    ) -> dict[str, Any]:
        """One file of all frames; the workflow is in its EXIF. num_frames > 0 starts a new file after so many."""
        place, exif = self.place(filename_prefix, images), Image.Exif()
        for offset, (key, text) in enumerate(self.told(prompt, extra_pnginfo)):
            exif[MODEL_TAG - offset] = f"{key}:{text}"
        saved, size = [], num_frames or len(images)
        for index, start in enumerate(range(0, len(images), size)):
            first, others = _frames(images[start : start + size])
            name, path = place.next(index, "webp")
            first.save(
                path,
                save_all=True,
                append_images=others,
                duration=_duration(fps),
                exif=exif,
                lossless=lossless,
                quality=quality,
                method=METHODS.get(method, METHODS["default"]),
            )
            saved.append({"filename": name, "subfolder": place.subfolder, "type": "output"})
        return {"ui": {"images": saved, "animated": (len(images) != 1,)}}


class SaveAnimatedPNG(SavesFrames):
    """An animated PNG file in the output folder."""

    OPTIONS: ClassVar[dict[str, Any]] = {"compress_level": ("INT", {"default": 4, "min": 0, "max": 9})}

    def save_images(
        self,
        images: torch.Tensor,
        fps: float,
        compress_level: int,
        filename_prefix: str = "ComfyUI",
        prompt: Any = None,
        extra_pnginfo: dict[str, Any] | None = None,
    ) -> dict[str, Any]:
        """One file of all frames; the workflow is in private chunks behind the pictures."""
        place, chunks = self.place(filename_prefix, images), PngInfo()
        for key, text in self.told(prompt, extra_pnginfo):
            chunks.add(b"comf", key.encode("latin-1", "replace") + b"\0" + text.encode("latin-1", "replace"), True)
        first, others = _frames(images)
        name, path = place.next(0, "png")
        first.save(
            path,
            pnginfo=chunks,
            compress_level=compress_level,
            save_all=True,
            duration=_duration(fps),
            append_images=others,
        )
        saved = [{"filename": name, "subfolder": place.subfolder, "type": "output"}]
        return {"ui": {"images": saved, "animated": (True,)}}


class SaveSVGNode(SavesFrames):
    """SVG files in the output folder."""

    DESCRIPTION = "Saves drawings as SVG files."
    CATEGORY = "image/save"
    FUNCTION = "save_svg"

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:  # noqa: N802
        """Inputs."""
        prefix = ("STRING", {"default": "svg/ComfyUI"})
        return {"required": {"svg": ("SVG",), "filename_prefix": prefix}, "hidden": HIDDEN}

    def save_svg(
        self,
        svg: Any,
        filename_prefix: str = "svg/ComfyUI",
        prompt: Any = None,
        extra_pnginfo: dict[str, Any] | None = None,
    ) -> dict[str, Any]:
        """`svg` holds streams of bytes in `data`. The workflow goes into a metadata element."""
        streams = getattr(svg, "data", None)
        if not isinstance(streams, list):
            raise InputRefused(f"a drawing has a list `data` of streams, {type(svg).__name__} has none")
        place = self.place(filename_prefix)
        facts = {key: json.loads(text) for key, text in self.told(prompt, extra_pnginfo)}
        saved = []
        for index, stream in enumerate(streams):
            name, path = place.next(index, "svg")
            path.write_bytes(_with_facts(stream.getvalue(), facts))
            saved.append({"filename": name, "subfolder": place.subfolder, "type": "output"})
        return {"ui": {"images": saved}}


def _with_facts(drawing: bytes, facts: dict[str, Any]) -> bytes:
    """The drawing with a metadata element behind its root's opening tag; as it is where it has no root."""
    start = drawing.find(b"<svg")
    end = drawing.find(b">", start)
    if not facts or start < 0 or end < 0:
        return drawing
    text = json.dumps(facts, indent=2).replace("]]>", "]]]]><![CDATA[>")
    element = f"\n<metadata><![CDATA[{text}]]></metadata>".encode()
    return drawing[: end + 1] + element + drawing[end + 1 :]


NODES = (SaveAnimatedWEBP, SaveAnimatedPNG, SaveSVGNode)
