"""`comfy.sample`: the noise a seed stands for. Sampling itself comes with the diffusion models."""

from typing import Any

import torch

from comfy_core.offered.later import rest

__getattr__ = rest(__name__)


def prepare_noise(latent_image: torch.Tensor, seed: int, noise_inds: Any = None) -> torch.Tensor:
    """Noise of the latent's shape on the CPU. noise_inds: which noise of the seed's series each sample gets."""
    generator = torch.manual_seed(seed)
    size = latent_image.size()
    kind: dict[str, Any] = {"dtype": latent_image.dtype, "layout": latent_image.layout}
    if noise_inds is None:
        return torch.randn(size, generator=generator, device="cpu", **kind)
    wanted = [int(index) for index in noise_inds]
    drawn = [torch.randn([1, *size[1:]], generator=generator, device="cpu", **kind) for _ in range(max(wanted) + 1)]
    return torch.cat([drawn[index] for index in wanted])


def fix_empty_latent_channels(model: Any, latent_image: torch.Tensor) -> torch.Tensor:
    """An empty latent with as many channels as the model's latents have."""
    wanted = model.get_model_object("latent_format")
    if wanted.latent_channels != latent_image.shape[1] and not torch.count_nonzero(latent_image):
        shape = [latent_image.shape[0], wanted.latent_channels, *latent_image.shape[2:]]
        latent_image = latent_image.new_zeros(shape)
    if wanted.latent_dimensions == 3 and latent_image.ndim == 4:
        latent_image = latent_image.unsqueeze(2)
    return latent_image
