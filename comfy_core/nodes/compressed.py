"""The node that gives images the marks of a compressed video, which video models expect. It keeps no file."""

from __future__ import annotations

import io as streams

import numpy as np
import torch

from comfy_core import progress
from comfy_core.errors import InputRefused
from comfy_core.memory import require
from comfy_core.nodes.pixels import BYTES_PER_VALUE
from comfy_core.registry import BuiltIn
from comfy_core.v3 import io

WORST = 51
"""The largest constant rate factor of H.264 at 8 bits."""
COLOURS = 3


class LTXVPreprocess(BuiltIn, io.ComfyNode):
    """Each image as the only frame of an H.264 video and back."""

    PYTHON_MODULE = "comfy_extras.nodes_lt"

    @classmethod
    def define_schema(cls) -> io.Schema:
        """An image and the constant rate factor."""
        return io.Schema(
            node_id="LTXVPreprocess",
            category="image",
            inputs=[
                io.Image.Input("image"),
                io.Int.Input("img_compression", default=35, min=0, max=100),
            ],
            outputs=[io.Image.Output(display_name="output_image")],
        )

    @classmethod
    def execute(cls, image: torch.Tensor, img_compression: int) -> io.NodeOutput:
        """0 leaves images as they are; else odd last rows and columns are cut, as 4:2:0 needs."""
        if img_compression == 0:
            return io.NodeOutput(image)
        height, width = (side // 2 * 2 for side in image.shape[1:3])
        if not height or not width or image.shape[3] != COLOURS:
            raise InputRefused("only images of three channels and at least 2 x 2 pixels can be compressed")
        require(image.numel() * BYTES_PER_VALUE, "the compressed images")
        frames = []
        for frame in image[:, :height, :width]:
            progress.stop_if_asked()
            values = (frame.cpu().float().nan_to_num() * 255.0).clamp(0, 255).to(torch.uint8)
            frames.append(torch.from_numpy(_there_and_back(values.numpy(), min(img_compression, WORST))))
        return io.NodeOutput(torch.stack(frames).float() / 255.0)


def _there_and_back(values: np.ndarray, factor: int) -> np.ndarray:
    """[H, W, 3] 8-bit through an encoder and a decoder."""
    import av  # noqa: PLC0415 - loads the codecs, which most runs never need

    file = streams.BytesIO()
    with av.open(file, "w", format="mp4") as container:
        stream = container.add_stream("libx264", rate=1, options={"crf": str(factor), "preset": "veryfast"})
        stream.height, stream.width = values.shape[:2]
        stream.pix_fmt = "yuv420p"
        for frame in (av.VideoFrame.from_ndarray(values, format="rgb24"), None):
            container.mux(stream.encode(frame))
    file.seek(0)
    with av.open(file, "r") as container:
        return next(container.decode(video=0)).to_ndarray(format="rgb24")


NODES = (LTXVPreprocess,)
