"""Empty latents of further families of models: other channels, other cells, time and sound. They know no models."""

from __future__ import annotations

from comfy_core.nodes.latent_empty import CELL, MAX_SIDE, MOST_FRAMES, empty
from comfy_core.registry import BuiltIn
from comfy_core.v3 import io

ACE_RATE = 44100
ACE_HOP = 512 * 8


def _side(name: str, default: int, least: int, step: int) -> io.Input:
    return io.Int.Input(name, default=default, min=least, max=MAX_SIDE, step=step)


def _batch() -> io.Input:
    return io.Int.Input("batch_size", default=1, min=1, max=MOST_FRAMES)


class EmptySD3LatentImage(BuiltIn, io.ComfyNode):
    """Zeros for models with 16 channels and cells of 8 pixels."""

    PYTHON_MODULE = "comfy_extras.nodes_sd3"

    @classmethod
    def define_schema(cls) -> io.Schema:
        """Inputs and outputs."""
        return io.Schema(
            node_id="EmptySD3LatentImage",
            category="latent/sd3",
            inputs=[_side("width", 1024, 16, 16), _side("height", 1024, 16, 16), _batch()],
            outputs=[io.Latent.Output()],
        )

    @classmethod
    def execute(cls, width: int, height: int, batch_size: int = 1) -> io.NodeOutput:
        """[B, 16, height / 8, width / 8]."""
        shape = (batch_size, 16, height // CELL, width // CELL)
        return io.NodeOutput({"samples": empty(*shape, what="EmptySD3LatentImage")})


class EmptyChromaRadianceLatentImage(BuiltIn, io.ComfyNode):
    """Zeros for a model that works on pixels."""

    PYTHON_MODULE = "comfy_extras.nodes_chroma_radiance"

    @classmethod
    def define_schema(cls) -> io.Schema:
        """Inputs and outputs."""
        return io.Schema(
            node_id="EmptyChromaRadianceLatentImage",
            category="latent/chroma_radiance",
            inputs=[_side("width", 1024, 16, 16), _side("height", 1024, 16, 16), _batch()],
            outputs=[io.Latent.Output()],
        )

    @classmethod
    def execute(cls, width: int, height: int, batch_size: int = 1) -> io.NodeOutput:
        """[B, 3, height, width]."""
        return io.NodeOutput({"samples": empty(batch_size, 3, height, width, what="EmptyChromaRadianceLatentImage")})


class EmptyMochiLatentVideo(BuiltIn, io.ComfyNode):
    """Zeros for Mochi: 12 channels, six frames folded into one."""

    PYTHON_MODULE = "comfy_extras.nodes_mochi"

    @classmethod
    def define_schema(cls) -> io.Schema:
        """Inputs and outputs."""
        length = io.Int.Input("length", default=25, min=7, max=MAX_SIDE, step=6)
        return io.Schema(
            node_id="EmptyMochiLatentVideo",
            category="latent/video",
            inputs=[_side("width", 848, 16, 16), _side("height", 480, 16, 16), length, _batch()],
            outputs=[io.Latent.Output()],
        )

    @classmethod
    def execute(cls, width: int, height: int, length: int, batch_size: int = 1) -> io.NodeOutput:
        """[B, 12, (length - 1) / 6 + 1, height / 8, width / 8]."""
        shape = (batch_size, 12, (length - 1) // 6 + 1, height // CELL, width // CELL)
        return io.NodeOutput({"samples": empty(*shape, what="EmptyMochiLatentVideo")})


class EmptyLTXVLatentVideo(BuiltIn, io.ComfyNode):
    """Zeros for LTX-Video: 128 channels, cells of 32 pixels, eight frames folded into one."""

    PYTHON_MODULE = "comfy_extras.nodes_lt"

    @classmethod
    def define_schema(cls) -> io.Schema:
        """Inputs and outputs."""
        length = io.Int.Input("length", default=97, min=1, max=MAX_SIDE, step=8)
        return io.Schema(
            node_id="EmptyLTXVLatentVideo",
            category="latent/video/ltxv",
            inputs=[_side("width", 768, 64, 32), _side("height", 512, 64, 32), length, _batch()],
            outputs=[io.Latent.Output()],
        )

    @classmethod
    def execute(cls, width: int, height: int, length: int, batch_size: int = 1) -> io.NodeOutput:
        """[B, 128, (length - 1) / 8 + 1, height / 32, width / 32]."""
        shape = (batch_size, 128, (length - 1) // 8 + 1, height // 32, width // 32)
        return io.NodeOutput({"samples": empty(*shape, what="EmptyLTXVLatentVideo")})


class EmptyCosmosLatentVideo(BuiltIn, io.ComfyNode):
    """Zeros for Cosmos: 16 channels, eight frames folded into one."""

    PYTHON_MODULE = "comfy_extras.nodes_cosmos"

    @classmethod
    def define_schema(cls) -> io.Schema:
        """Inputs and outputs."""
        length = io.Int.Input("length", default=121, min=1, max=MAX_SIDE, step=8)
        return io.Schema(
            node_id="EmptyCosmosLatentVideo",
            category="latent/video",
            inputs=[_side("width", 1280, 16, 16), _side("height", 704, 16, 16), length, _batch()],
            outputs=[io.Latent.Output()],
        )

    @classmethod
    def execute(cls, width: int, height: int, length: int, batch_size: int = 1) -> io.NodeOutput:
        """[B, 16, (length - 1) / 8 + 1, height / 8, width / 8]."""
        shape = (batch_size, 16, (length - 1) // 8 + 1, height // CELL, width // CELL)
        return io.NodeOutput({"samples": empty(*shape, what="EmptyCosmosLatentVideo")})


class EmptyAceStepLatentAudio(BuiltIn, io.ComfyNode):
    """Zeros for ACE-Step: 8 channels of 16 bands, one step per 4096 samples at 44.1 kHz."""

    PYTHON_MODULE = "comfy_extras.nodes_ace"

    @classmethod
    def define_schema(cls) -> io.Schema:
        """Inputs and outputs."""
        return io.Schema(
            node_id="EmptyAceStepLatentAudio",
            category="latent/audio",
            inputs=[io.Float.Input("seconds", default=120.0, min=1.0, max=1000.0, step=0.1), _batch()],
            outputs=[io.Latent.Output()],
        )

    @classmethod
    def execute(cls, seconds: float, batch_size: int) -> io.NodeOutput:
        """[B, 8, 16, steps]."""
        steps = int(seconds * ACE_RATE / ACE_HOP)
        samples = empty(batch_size, 8, 16, steps, what="EmptyAceStepLatentAudio")
        return io.NodeOutput({"samples": samples, "type": "audio"})


class StableCascade_EmptyLatentImage(BuiltIn, io.ComfyNode):  # noqa: N801 - the name in workflows
    """Zeros for both stages of Stable Cascade."""

    PYTHON_MODULE = "comfy_extras.nodes_stable_cascade"

    @classmethod
    def define_schema(cls) -> io.Schema:
        """Inputs and outputs."""
        return io.Schema(
            node_id="StableCascade_EmptyLatentImage",
            category="latent/stable_cascade",
            inputs=[
                _side("width", 1024, 256, 8),
                _side("height", 1024, 256, 8),
                io.Int.Input("compression", default=42, min=4, max=128, step=1),
                _batch(),
            ],
            outputs=[io.Latent.Output(display_name="stage_c"), io.Latent.Output(display_name="stage_b")],
        )

    @classmethod
    def execute(cls, width: int, height: int, compression: int, batch_size: int = 1) -> io.NodeOutput:
        """[B, 16, height / compression, width / compression] and [B, 4, height / 4, width / 4]."""
        first = empty(batch_size, 16, height // compression, width // compression, what=cls.__name__)
        second = empty(batch_size, 4, height // 4, width // 4, what=cls.__name__)
        return io.NodeOutput({"samples": first}, {"samples": second})


NODES: tuple[type[BuiltIn], ...] = (
    EmptySD3LatentImage,
    EmptyChromaRadianceLatentImage,
    EmptyMochiLatentVideo,
    EmptyLTXVLatentVideo,
    EmptyCosmosLatentVideo,
    EmptyAceStepLatentAudio,
    StableCascade_EmptyLatentImage,
)
