"""`comfy.latent_formats`: what the latents of each family of models look like: channels, scale, shift, mean, spread.

The figures are those of the published VAEs' configurations. No factors for quick previews are given.
"""

from typing import Any, ClassVar

import torch

from comfy_core.offered.later import rest

__getattr__ = rest(__name__)


class LatentFormat:
    """Scaled by a factor between the VAE and the diffusion model."""

    scale_factor: float = 1.0
    latent_channels: int = 4
    latent_dimensions: int = 2
    latent_rgb_factors: Any = None
    latent_rgb_factors_bias: Any = None
    taesd_decoder_name: str | None = None

    def process_in(self, latent: torch.Tensor) -> torch.Tensor:
        """From the VAE to the model."""
        return latent * self.scale_factor

    def process_out(self, latent: torch.Tensor) -> torch.Tensor:
        """From the model to the VAE."""
        return latent / self.scale_factor


class Shifted(LatentFormat):
    """Moved by a value before it is scaled."""

    shift_factor: float = 0.0

    def process_in(self, latent: torch.Tensor) -> torch.Tensor:
        """From the VAE to the model."""
        return (latent - self.shift_factor) * self.scale_factor

    def process_out(self, latent: torch.Tensor) -> torch.Tensor:
        """From the model to the VAE."""
        return latent / self.scale_factor + self.shift_factor


class Normalised(LatentFormat):
    """Each channel with its mean and spread."""

    means: ClassVar[tuple[float, ...]] = ()
    spreads: ClassVar[tuple[float, ...]] = ()

    def __init__(self) -> None:
        shape = (1, self.latent_channels, *[1] * self.latent_dimensions)
        self.latents_mean = torch.tensor(self.means).reshape(shape)
        self.latents_std = torch.tensor(self.spreads).reshape(shape)

    def process_in(self, latent: torch.Tensor) -> torch.Tensor:
        """From the VAE to the model."""
        mean, spread = (one.to(latent.device, latent.dtype) for one in (self.latents_mean, self.latents_std))
        return (latent - mean) * self.scale_factor / spread

    def process_out(self, latent: torch.Tensor) -> torch.Tensor:
        """From the model to the VAE."""
        mean, spread = (one.to(latent.device, latent.dtype) for one in (self.latents_mean, self.latents_std))
        return latent * spread / self.scale_factor + mean


class SD15(LatentFormat):
    """Stable Diffusion 1 and 2."""

    taesd_decoder_name = "taesd_decoder"

    def __init__(self, scale_factor: float = 0.18215) -> None:
        self.scale_factor = scale_factor


class SDXL(LatentFormat):
    """Stable Diffusion XL."""

    scale_factor = 0.13025
    taesd_decoder_name = "taesdxl_decoder"


class SDXL_Playground_2_5(Normalised):
    """Playground 2.5."""

    scale_factor = 0.5
    taesd_decoder_name = "taesdxl_decoder"
    means = (-1.6574, 1.886, -1.383, 2.5155)
    spreads = (8.4927, 5.9022, 6.5498, 5.2299)


class SD_X4(LatentFormat):
    """Stable Diffusion's enlarger."""

    scale_factor = 0.08333


class SC_Prior(LatentFormat):
    """Stable Cascade, stage C."""

    latent_channels = 16


class SC_B(LatentFormat):
    """Stable Cascade, stage B."""

    scale_factor = 1.0 / 0.43


class SD3(Shifted):
    """Stable Diffusion 3."""

    scale_factor, shift_factor = 1.5305, 0.0609
    latent_channels = 16
    taesd_decoder_name = "taesd3_decoder"


class Flux(SD3):
    """Flux 1."""

    scale_factor, shift_factor = 0.3611, 0.1159
    taesd_decoder_name = "taef1_decoder"


class StableAudio1(LatentFormat):
    """Stable Audio."""

    latent_channels, latent_dimensions = 64, 1


class Mochi(Normalised):
    """Mochi 1."""

    latent_channels, latent_dimensions = 12, 3
    means = (
        *(-0.06730895953510081, -0.038011381506090416, -0.07477820912866141, -0.05565264470995561),
        *(0.012767231469026969, -0.04703542746246419, 0.043896967884726704, -0.09346305707025976),
        *(-0.09918314763016893, -0.008729793427399178, -0.011931556316503654, -0.0321993391887285),
    )
    spreads = (
        *(0.9263795028493863, 0.9248894543193766, 0.9393059390890617, 0.959253732819592),
        *(0.8244560132752793, 0.917259975397747, 0.9294154431013696, 1.3720942357788521),
        *(0.881393668867029, 0.9168315692124348, 0.9185249279345552, 0.9274757570805041),
    )


class LTXV(LatentFormat):
    """LTX Video."""

    latent_channels, latent_dimensions = 128, 3


class HunyuanVideo(LatentFormat):
    """Hunyuan Video."""

    scale_factor = 0.476986
    latent_channels, latent_dimensions = 16, 3


class Cosmos1CV8x8x8(LatentFormat):
    """Cosmos 1."""

    latent_channels, latent_dimensions = 16, 3


class Wan21(Normalised):
    """Wan 2.1."""

    latent_channels, latent_dimensions = 16, 3
    means = (
        *(-0.7571, -0.7089, -0.9113, 0.1075, -0.1745, 0.9653, -0.1517, 1.5508),
        *(0.4134, -0.0715, 0.5517, -0.3632, -0.1922, -0.9497, 0.2503, -0.2921),
    )
    spreads = (
        *(2.8184, 1.4541, 2.3275, 2.6558, 1.2196, 1.7708, 2.6052, 2.0743),
        *(3.2687, 2.1526, 2.8652, 1.5579, 1.6382, 1.1253, 2.8251, 1.9160),
    )


class Hunyuan3Dv2(LatentFormat):
    """Hunyuan 3D 2."""

    latent_channels, latent_dimensions = 64, 1
    scale_factor = 0.9990943042622529


class Hunyuan3Dv2_1(LatentFormat):
    """Hunyuan 3D 2.1."""

    latent_channels, latent_dimensions = 64, 1
    scale_factor = 1.0039506158752403


class Hunyuan3Dv2mini(LatentFormat):
    """Hunyuan 3D 2 mini."""

    latent_channels, latent_dimensions = 64, 1
    scale_factor = 1.0188137142395404


class ACEAudio(LatentFormat):
    """ACE Step."""

    latent_channels = 8


class HunyuanImage21(LatentFormat):
    """Hunyuan Image 2.1."""

    latent_channels = 64
    scale_factor = 0.75289


class ChromaRadiance(LatentFormat):
    """Chroma Radiance: pixels."""

    latent_channels = 3
