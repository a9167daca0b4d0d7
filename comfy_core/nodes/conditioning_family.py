"""Nodes that put what one family of models reads into a conditioning. They know no models."""

from __future__ import annotations

from typing import Any, ClassVar

import torch

from comfy_core.errors import InputRefused
from comfy_core.nodes.conditioning import Conditioning, with_values
from comfy_core.nodes.latent import Latent
from comfy_core.nodes.latent_empty import empty
from comfy_core.nodes.latent_resize import resize_latent
from comfy_core.registry import BuiltIn
from comfy_core.v3 import io

FLUX = "advanced/conditioning/flux"
METHODS = ["offset", "index", "uxo/uno"]
VIEWS = ("front", "left", "back", "right")
SLOWEST = 10000.0
"""The wavelength of the slowest sine, as Vaswani et al. 2017 have it."""


def _one(
    node_id: str, category: str, *more: io.Input, description: str = "", is_experimental: bool = False
) -> io.Schema:
    return io.Schema(
        node_id=node_id,
        category=category,
        inputs=[io.Conditioning.Input("conditioning"), *more],
        outputs=[io.Conditioning.Output()],
        description=description,
        is_experimental=is_experimental,
    )


def _pair() -> list[io.Input]:
    return [io.Conditioning.Input("positive"), io.Conditioning.Input("negative")]


def _pair_out() -> list[io.Output]:
    return [io.Conditioning.Output(display_name="positive"), io.Conditioning.Output(display_name="negative")]


class FluxGuidance(BuiltIn, io.ComfyNode):
    """How closely a distilled model follows the text."""

    PYTHON_MODULE = "comfy_extras.nodes_flux"

    @classmethod
    def define_schema(cls) -> io.Schema:
        """Inputs and outputs."""
        return _one("FluxGuidance", FLUX, io.Float.Input("guidance", default=3.5, min=0.0, max=100.0, step=0.1))

    @classmethod
    def execute(cls, conditioning: Conditioning, guidance: float) -> io.NodeOutput:
        """The scale as the model reads it."""
        return io.NodeOutput(with_values(conditioning, guidance=guidance))


class FluxDisableGuidance(BuiltIn, io.ComfyNode):
    """Without the guidance embedding."""

    PYTHON_MODULE = "comfy_extras.nodes_flux"

    @classmethod
    def define_schema(cls) -> io.Schema:
        """Inputs and outputs."""
        return _one("FluxDisableGuidance", FLUX, description="Leaves out the guidance that Flux models are told.")

    @classmethod
    def execute(cls, conditioning: Conditioning) -> io.NodeOutput:
        """guidance is None."""
        return io.NodeOutput(with_values(conditioning, guidance=None))


class FluxKontextMultiReferenceLatentMethod(BuiltIn, io.ComfyNode):
    """How several reference latents are told apart."""

    PYTHON_MODULE = "comfy_extras.nodes_flux"

    @classmethod
    def define_schema(cls) -> io.Schema:
        """Inputs and outputs."""
        method = io.Combo.Input("reference_latents_method", options=METHODS)
        return _one("FluxKontextMultiReferenceLatentMethod", FLUX, method, is_experimental=True)

    @classmethod
    def execute(cls, conditioning: Conditioning, reference_latents_method: str) -> io.NodeOutput:
        """uxo and uno are one method."""
        same = reference_latents_method if reference_latents_method in METHODS[:2] else "uxo"
        return io.NodeOutput(with_values(conditioning, reference_latents_method=same))


class ReferenceLatent(BuiltIn, io.ComfyNode):
    """A picture for an editing model to look at."""

    PYTHON_MODULE = "comfy_extras.nodes_edit_model"

    @classmethod
    def define_schema(cls) -> io.Schema:
        """Inputs and outputs."""
        return _one(
            "ReferenceLatent",
            "advanced/conditioning/edit_models",
            io.Latent.Input("latent", optional=True),
            description="Gives an editing model one more picture to look at.",
        )

    @classmethod
    def execute(cls, conditioning: Conditioning, latent: Latent | None = None) -> io.NodeOutput:
        """Appended to those that are there."""
        if latent is None:
            return io.NodeOutput(conditioning)
        return io.NodeOutput(
            [
                [tokens, {**options, "reference_latents": [*options.get("reference_latents", ()), latent["samples"]]}]
                for tokens, options in conditioning
            ]
        )


class LTXVConditioning(BuiltIn, io.ComfyNode):
    """The frame rate, for LTX-Video."""

    PYTHON_MODULE = "comfy_extras.nodes_lt"

    @classmethod
    def define_schema(cls) -> io.Schema:
        """Inputs and outputs."""
        return io.Schema(
            node_id="LTXVConditioning",
            category="conditioning/video_models",
            inputs=[*_pair(), io.Float.Input("frame_rate", default=25.0, min=0.0, max=1000.0, step=0.01)],
            outputs=_pair_out(),
        )

    @classmethod
    def execute(cls, positive: Conditioning, negative: Conditioning, frame_rate: float) -> io.NodeOutput:
        """Frames per second."""
        values = {"frame_rate": frame_rate}
        return io.NodeOutput(with_values(positive, **values), with_values(negative, **values))


class StableCascade_StageB_Conditioning(BuiltIn, io.ComfyNode):  # noqa: N801 - the name in workflows
    """What stage C made, for stage B."""

    PYTHON_MODULE = "comfy_extras.nodes_stable_cascade"

    @classmethod
    def define_schema(cls) -> io.Schema:
        """Inputs and outputs."""
        category = "conditioning/stable_cascade"
        return _one("StableCascade_StageB_Conditioning", category, io.Latent.Input("stage_c"))

    @classmethod
    def execute(cls, conditioning: Conditioning, stage_c: Latent) -> io.NodeOutput:
        """Its samples as the prior."""
        return io.NodeOutput(with_values(conditioning, stable_cascade_prior=stage_c["samples"]))


class SD_4XUpscale_Conditioning(BuiltIn, io.ComfyNode):  # noqa: N801 - the name in workflows
    """A small picture, for the fourfold upscaling model."""

    PYTHON_MODULE = "comfy_extras.nodes_sdupscale"

    @classmethod
    def define_schema(cls) -> io.Schema:
        """Inputs and outputs."""
        return io.Schema(
            node_id="SD_4XUpscale_Conditioning",
            category="conditioning/upscale_diffusion",
            inputs=[
                io.Image.Input("images"),
                *_pair(),
                io.Float.Input("scale_ratio", default=4.0, min=0.0, max=10.0, step=0.01),
                io.Float.Input("noise_augmentation", default=0.0, min=0.0, max=1.0, step=0.001),
            ],
            outputs=[*_pair_out(), io.Latent.Output(display_name="latent")],
        )

    @classmethod
    def execute(
        cls,
        images: torch.Tensor,
        positive: Conditioning,
        negative: Conditioning,
        scale_ratio: float,
        noise_augmentation: float,
    ) -> io.NodeOutput:
        """The picture in -1..1 at a quarter of the wanted size, and an empty latent of that size."""
        width, height = (max(1, round(side * scale_ratio)) for side in (images.shape[2], images.shape[1]))
        planes = images.movedim(-1, 1) * 2.0 - 1.0
        small = resize_latent(planes, width // 4, height // 4, "bilinear", crop=True)
        values: dict[str, Any] = {"concat_image": small, "noise_augmentation": noise_augmentation}
        samples = empty(images.shape[0], 4, height // 4, width // 4, what="SD_4XUpscale_Conditioning")
        return io.NodeOutput(with_values(positive, **values), with_values(negative, **values), {"samples": samples})


class HunyuanRefinerLatent(BuiltIn):
    """A latent for the refiner to go over."""

    PYTHON_MODULE = "comfy_extras.nodes_hunyuan"
    CATEGORY = "sd"
    RETURN_TYPES = ("CONDITIONING", "CONDITIONING", "LATENT")
    RETURN_NAMES: ClassVar[tuple[str, ...]] = ("positive", "negative", "latent")
    FUNCTION = "execute"

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:  # noqa: N802 - the node protocol's name
        """Inputs."""
        return {
            "required": {
                "positive": ("CONDITIONING",),
                "negative": ("CONDITIONING",),
                "latent": ("LATENT",),
                "noise_augmentation": ("FLOAT", {"default": 0.10, "min": 0.0, "max": 1.0, "step": 0.01}),
            }
        }

    def execute(
        self, positive: Conditioning, negative: Conditioning, latent: Latent, noise_augmentation: float
    ) -> tuple[Conditioning, Conditioning, Latent]:
        """The latent beside the one to make, which is empty and has 32 channels."""
        samples = latent["samples"]
        values = {"concat_latent_image": samples, "noise_augmentation": noise_augmentation}
        made = {"samples": empty(samples.shape[0], 32, *samples.shape[2:], what="HunyuanRefinerLatent")}
        return with_values(positive, **values), with_values(negative, **values), made


class unCLIPConditioning(BuiltIn):  # noqa: N801 - the name in workflows
    """What a picture shows, for models that read that."""

    CATEGORY = "conditioning"
    RETURN_TYPES = ("CONDITIONING",)
    FUNCTION = "apply_adm"

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:  # noqa: N802
        """Inputs."""
        return {
            "required": {
                "conditioning": ("CONDITIONING",),
                "clip_vision_output": ("CLIP_VISION_OUTPUT",),
                "strength": ("FLOAT", {"default": 1.0, "min": -10.0, "max": 10.0, "step": 0.01}),
                "noise_augmentation": ("FLOAT", {"default": 0.0, "min": 0.0, "max": 1.0, "step": 0.01}),
            }
        }

    def apply_adm(
        self, conditioning: Conditioning, clip_vision_output: Any, strength: float, noise_augmentation: float
    ) -> tuple[Conditioning]:
        """Appended to those that are there; strength 0 changes nothing."""
        if strength == 0:
            return (conditioning,)
        seen = {
            "clip_vision_output": clip_vision_output,
            "strength": strength,
            "noise_augmentation": noise_augmentation,
        }
        key = "unclip_conditioning"
        return ([[tokens, {**own, key: [*own.get(key, ()), seen]}] for tokens, own in conditioning],)


class LTXVCropGuides(BuiltIn, io.ComfyNode):
    """Without the frames that guided the sampling, which stand at the end of the latent."""

    PYTHON_MODULE = "comfy_extras.nodes_lt"

    @classmethod
    def define_schema(cls) -> io.Schema:
        """Inputs and outputs."""
        return io.Schema(
            node_id="LTXVCropGuides",
            category="conditioning/video_models",
            inputs=[*_pair(), io.Latent.Input("latent")],
            outputs=[*_pair_out(), io.Latent.Output(display_name="latent")],
        )

    @classmethod
    def execute(cls, positive: Conditioning, negative: Conditioning, latent: Latent) -> io.NodeOutput:
        """As many as there are different times among the guides' positions; the positions are forgotten."""
        samples, mask = latent["samples"], latent.get("noise_mask")
        if mask is None:
            mask = torch.ones((samples.shape[0], 1, samples.shape[2], 1, 1))
        places = next((own["keyframe_idxs"] for _, own in positive if own.get("keyframe_idxs") is not None), None)
        if places is None:
            return io.NodeOutput(positive, negative, {"samples": samples, "noise_mask": mask})
        kept = max(samples.shape[2] - len(set(places[:, 0].flatten().tolist())), 0)
        cropped = {"samples": samples[:, :, :kept].clone(), "noise_mask": mask[:, :, :kept].clone()}
        forgotten: dict[str, Any] = {"keyframe_idxs": None}
        return io.NodeOutput(with_values(positive, **forgotten), with_values(negative, **forgotten), cropped)


class Hunyuan3Dv2Conditioning(BuiltIn):
    """A picture for a model that makes shapes."""

    CATEGORY = "conditioning/video_models"
    PYTHON_MODULE = "comfy_extras.nodes_hunyuan3d"
    RETURN_TYPES = ("CONDITIONING", "CONDITIONING")
    RETURN_NAMES: ClassVar[tuple[str, ...]] = ("positive", "negative")
    FUNCTION = "encode"

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:  # noqa: N802
        """Inputs."""
        return {"required": {"clip_vision_output": ("CLIP_VISION_OUTPUT",)}}

    def encode(self, clip_vision_output: Any) -> tuple[Conditioning, Conditioning]:
        """Its tokens, and zeros."""
        tokens = clip_vision_output.last_hidden_state
        return [[tokens, {}]], [[torch.zeros_like(tokens), {}]]


class Hunyuan3Dv2ConditioningMultiView(BuiltIn):
    """Pictures from up to four sides for a model that makes shapes."""

    CATEGORY = "conditioning/video_models"
    PYTHON_MODULE = "comfy_extras.nodes_hunyuan3d"
    RETURN_TYPES = ("CONDITIONING", "CONDITIONING")
    RETURN_NAMES: ClassVar[tuple[str, ...]] = ("positive", "negative")
    FUNCTION = "encode"

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:  # noqa: N802
        """Inputs."""
        return {"required": {}, "optional": dict.fromkeys(VIEWS, ("CLIP_VISION_OUTPUT",))}

    def encode(
        self, front: Any = None, left: Any = None, back: Any = None, right: Any = None
    ) -> tuple[Conditioning, Conditioning]:
        """The tokens of each, with the number of its side added as sines and cosines. Raises InputRefused for none."""
        given = [(turn, view) for turn, view in enumerate((front, left, back, right)) if view is not None]
        if not given:
            raise InputRefused("at least one view is needed")
        tokens = torch.cat([_turned(view.last_hidden_state, turn) for turn, view in given], dim=1)
        return [[tokens, {}]], [[torch.zeros_like(tokens), {}]]


def _turned(tokens: torch.Tensor, turn: int) -> torch.Tensor:
    half = tokens.shape[-1] // 2
    angles = turn / SLOWEST ** (torch.arange(half, dtype=torch.float32) / half)
    wave = torch.cat((angles.sin(), angles.cos())).to(tokens)
    return tokens + torch.nn.functional.pad(wave, (0, tokens.shape[-1] - 2 * half))


NODES: tuple[type[BuiltIn], ...] = (
    FluxGuidance,
    FluxDisableGuidance,
    FluxKontextMultiReferenceLatentMethod,
    ReferenceLatent,
    LTXVConditioning,
    StableCascade_StageB_Conditioning,
    SD_4XUpscale_Conditioning,
    HunyuanRefinerLatent,
    unCLIPConditioning,
    LTXVCropGuides,
    Hunyuan3Dv2Conditioning,
    Hunyuan3Dv2ConditioningMultiView,
)
