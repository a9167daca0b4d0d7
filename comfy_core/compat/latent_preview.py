"""`latent_preview`: small pictures of a latent while it is being sampled."""

from collections.abc import Callable
from typing import Any

import torch
from PIL import Image

import comfy.utils
from comfy.cli_args import LatentPreviewMethod, args

MAX_PREVIEW_RESOLUTION = args.preview_size


def preview_to_image(latent_image: torch.Tensor) -> Image.Image:
    """[H, W, 3] in -1..1 as a picture."""
    values = ((latent_image + 1.0) / 2.0).clamp(0, 1).mul(255)
    return Image.fromarray(values.to(device="cpu", dtype=torch.uint8).numpy())


class LatentPreviewer:
    """Makes a picture of a latent."""

    def decode_latent_to_preview(self, x0: torch.Tensor) -> Image.Image:
        """The picture: said by a subclass."""
        raise NotImplementedError

    def decode_latent_to_preview_image(self, preview_format: str, x0: torch.Tensor) -> tuple[str, Image.Image, int]:
        """(format, picture, longest side) as progress takes it."""
        return ("JPEG", self.decode_latent_to_preview(x0), MAX_PREVIEW_RESOLUTION)


class TAESDPreviewerImpl(LatentPreviewer):
    """By a small decoder."""

    def __init__(self, taesd: Any) -> None:
        self.taesd = taesd

    def decode_latent_to_preview(self, x0: torch.Tensor) -> Image.Image:
        """Of the first sample."""
        return preview_to_image(self.taesd.decode(x0[:1])[0].movedim(0, 2))


class Latent2RGBPreviewer(LatentPreviewer):
    """By a matrix from channels to colours."""

    def __init__(self, latent_rgb_factors: Any, latent_rgb_factors_bias: Any = None) -> None:
        self.latent_rgb_factors = torch.tensor(latent_rgb_factors, device="cpu").transpose(0, 1)
        self.latent_rgb_factors_bias = None
        if latent_rgb_factors_bias is not None:
            self.latent_rgb_factors_bias = torch.tensor(latent_rgb_factors_bias, device="cpu")

    def decode_latent_to_preview(self, x0: torch.Tensor) -> Image.Image:
        """Of the first sample; of its first frame where it has several."""
        factors = self.latent_rgb_factors.to(x0)
        bias = self.latent_rgb_factors_bias
        first = x0[0, :, 0] if x0.ndim == 5 else x0[0]
        colours = torch.nn.functional.linear(first.movedim(0, -1), factors, None if bias is None else bias.to(x0))
        return preview_to_image(colours)


def get_previewer(device: Any, latent_format: Any) -> LatentPreviewer | None:
    """What makes previews of such latents; None when none are wished for or it is not known how."""
    factors = getattr(latent_format, "latent_rgb_factors", None)
    if args.preview_method is LatentPreviewMethod.NoPreviews or factors is None:
        return None
    return Latent2RGBPreviewer(factors, getattr(latent_format, "latent_rgb_factors_bias", None))


def prepare_callback(model: Any, steps: int, x0_output_dict: dict[str, Any] | None = None) -> Callable[..., None]:
    """What a sampler calls after each step: it shows a preview and how far it is."""
    previewer = get_previewer(model.load_device, model.model.latent_format)
    bar = comfy.utils.ProgressBar(steps)

    def callback(step: int, x0: torch.Tensor, x: torch.Tensor, total_steps: int) -> None:
        if x0_output_dict is not None:
            x0_output_dict["x0"] = x0
        preview = None if previewer is None else previewer.decode_latent_to_preview_image("JPEG", x0)
        bar.update_absolute(step + 1, total_steps, preview)

    return callback
