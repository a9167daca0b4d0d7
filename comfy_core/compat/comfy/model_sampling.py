"""`comfy.model_sampling`: how a model's noise levels, its time and its predictions hang together. Pure formulas.

A model's sampling is a class made of two: what the model predicts (EPS, V_PREDICTION, CONST ...) and its noise table
(ModelSamplingDiscrete, ModelSamplingDiscreteFlow ...).
"""

import math
from typing import Any

import torch

from comfy_core.offered.later import rest

__getattr__ = rest(__name__)


def reshape_sigma(sigma: torch.Tensor, noise_dim: int) -> torch.Tensor:
    """Levels with as many dimensions as what they are multiplied with; a single one stays as it is."""
    return sigma if sigma.nelement() == 1 else sigma.reshape(sigma.shape[0], *[1] * (noise_dim - 1))


class EPS:
    """The model predicts the noise."""

    sigma_data: float
    sigma_max: Any

    def calculate_input(self, sigma: torch.Tensor, noise: torch.Tensor) -> torch.Tensor:
        """What the model is given: of variance 1."""
        return noise / (reshape_sigma(sigma, noise.ndim) ** 2 + self.sigma_data**2) ** 0.5

    def calculate_denoised(
        self, sigma: torch.Tensor, model_output: torch.Tensor, model_input: torch.Tensor
    ) -> torch.Tensor:
        """The latent the model means."""
        return model_input - model_output * reshape_sigma(sigma, model_output.ndim)

    def noise_scaling(
        self, sigma: torch.Tensor, noise: torch.Tensor, latent_image: torch.Tensor, max_denoise: bool = False
    ) -> torch.Tensor:
        """A latent with noise of a level; max_denoise: the level is the largest there is."""
        level = reshape_sigma(sigma, noise.ndim)
        return noise * (torch.sqrt(1.0 + level**2.0) if max_denoise else level) + latent_image

    def inverse_noise_scaling(self, sigma: torch.Tensor, latent: torch.Tensor) -> torch.Tensor:
        """What is done with the latent at the end: nothing."""
        return latent


class V_PREDICTION(EPS):
    """The model predicts the velocity. Salimans and Ho 2022."""

    def calculate_denoised(
        self, sigma: torch.Tensor, model_output: torch.Tensor, model_input: torch.Tensor
    ) -> torch.Tensor:
        """The latent the model means."""
        level, data = reshape_sigma(sigma, model_output.ndim), self.sigma_data
        total = level**2 + data**2
        return model_input * data**2 / total - model_output * level * data / total**0.5


class EDM(V_PREDICTION):
    """The model predicts a mixture that is preconditioned. Karras et al. 2022, table 1."""

    def calculate_denoised(
        self, sigma: torch.Tensor, model_output: torch.Tensor, model_input: torch.Tensor
    ) -> torch.Tensor:
        """The latent the model means."""
        level, data = reshape_sigma(sigma, model_output.ndim), self.sigma_data
        total = level**2 + data**2
        return model_input * data**2 / total + model_output * level * data / total**0.5


class X0(EPS):
    """The model predicts the latent itself."""

    def calculate_denoised(
        self, sigma: torch.Tensor, model_output: torch.Tensor, model_input: torch.Tensor
    ) -> torch.Tensor:
        """The latent the model means."""
        return model_output


class IMG_TO_IMG(X0):
    """A model that takes a picture and gives one."""

    def calculate_input(self, sigma: torch.Tensor, noise: torch.Tensor) -> torch.Tensor:
        """What the model is given."""
        return noise


class CONST:
    """The model predicts the slope of the straight path between latent and noise. Liu et al. 2022."""

    def calculate_input(self, sigma: torch.Tensor, noise: torch.Tensor) -> torch.Tensor:
        """What the model is given."""
        return noise

    def calculate_denoised(
        self, sigma: torch.Tensor, model_output: torch.Tensor, model_input: torch.Tensor
    ) -> torch.Tensor:
        """The latent the model means."""
        return model_input - model_output * reshape_sigma(sigma, model_output.ndim)

    def noise_scaling(
        self, sigma: torch.Tensor, noise: torch.Tensor, latent_image: torch.Tensor, max_denoise: bool = False
    ) -> torch.Tensor:
        """A point on the path."""
        level = reshape_sigma(sigma, noise.ndim)
        return level * noise + (1.0 - level) * latent_image

    def inverse_noise_scaling(self, sigma: torch.Tensor, latent: torch.Tensor) -> torch.Tensor:
        """The latent at the end of a path that was left early."""
        return latent / (1.0 - reshape_sigma(sigma, latent.ndim))


def _settings(model_config: Any) -> dict[str, Any]:
    found: dict[str, Any] = getattr(model_config, "sampling_settings", None) or {}
    return found


class ModelSamplingDiscrete(torch.nn.Module):
    """A table of a thousand noise levels. Ho et al. 2020."""

    sigmas: torch.Tensor
    log_sigmas: torch.Tensor

    def __init__(self, model_config: Any = None, zsnr: bool | None = None) -> None:
        super().__init__()
        told = _settings(model_config)
        self.num_timesteps = int(told.get("timesteps", 1000))
        self.linear_start, self.linear_end = told.get("linear_start", 0.00085), told.get("linear_end", 0.012)
        self.sigma_data = 1.0
        self.zsnr = told.get("zsnr", False) if zsnr is None else zsnr
        self.set_sigmas(self._table(told.get("beta_schedule", "linear")))

    def _table(self, kind: str) -> torch.Tensor:
        """Stable Diffusion calls `linear` what is linear in the square root."""
        if kind not in ("linear", "sqrt_linear"):
            return torch.as_tensor(rest("comfy.ldm.modules.diffusionmodules.util")("make_beta_schedule")(kind))
        power = 0.5 if kind == "linear" else 1.0
        ends = self.linear_start**power, self.linear_end**power
        betas = torch.linspace(*ends, self.num_timesteps, dtype=torch.float64) ** (1 / power)
        kept = torch.cumprod(1.0 - betas, dim=0)
        return (((1 - kept) / kept) ** 0.5).float()

    def set_sigmas(self, sigmas: torch.Tensor) -> None:
        """Use these levels."""
        self.register_buffer("sigmas", sigmas.float())
        self.register_buffer("log_sigmas", sigmas.log().float())

    @property
    def sigma_min(self) -> torch.Tensor:
        """The smallest level."""
        return self.sigmas[0]

    @property
    def sigma_max(self) -> torch.Tensor:
        """The largest level."""
        return self.sigmas[-1]

    def timestep(self, sigma: torch.Tensor) -> torch.Tensor:
        """The place in the table of the nearest level."""
        away = sigma.log().to(self.log_sigmas.device) - self.log_sigmas[:, None]
        return away.abs().argmin(dim=0).view(sigma.shape).to(sigma.device)

    def sigma(self, timestep: torch.Tensor) -> torch.Tensor:
        """The level at a time, between two places of the table too."""
        time = torch.clamp(timestep.float().to(self.log_sigmas.device), min=0, max=len(self.sigmas) - 1)
        low, high, share = time.floor().long(), time.ceil().long(), time.frac()
        between = (1 - share) * self.log_sigmas[low] + share * self.log_sigmas[high]
        return between.exp().to(timestep.device)

    def percent_to_sigma(self, percent: float) -> float:
        """The level after this share of all steps."""
        if percent <= 0.0:
            return 999999999.9
        return 0.0 if percent >= 1.0 else float(self.sigma(torch.tensor((1.0 - percent) * 999.0)))


def time_snr_shift(alpha: float, t: Any) -> Any:
    """Time moved towards more noise. Esser et al. 2024, equation 23."""
    return t if alpha == 1.0 else alpha * t / (1 + (alpha - 1) * t)


def flux_time_shift(mu: float, sigma: float, t: Any) -> Any:
    """Time moved towards more noise, as Flux has it."""
    return math.exp(mu) / (math.exp(mu) + (1 / t - 1) ** sigma)


class _Path(torch.nn.Module):
    """The table of a model of straight paths: a level is a share of noise."""

    sigmas: torch.Tensor
    shift: float

    @property
    def sigma_min(self) -> torch.Tensor:
        """The smallest level."""
        return self.sigmas[0]

    @property
    def sigma_max(self) -> torch.Tensor:
        """The largest level."""
        return self.sigmas[-1]

    def sigma(self, timestep: Any) -> Any:
        """The level at a time."""
        raise NotImplementedError

    def percent_to_sigma(self, percent: float) -> float:
        """The level after this share of all steps."""
        if percent <= 0.0:
            return 1.0
        return 0.0 if percent >= 1.0 else float(self._after(1.0 - percent))

    def _after(self, left: float) -> Any:
        raise NotImplementedError


class ModelSamplingDiscreteFlow(_Path):
    """Straight paths; time goes to multiplier."""

    def __init__(self, model_config: Any = None) -> None:
        super().__init__()
        told = _settings(model_config)
        self.set_parameters(shift=told.get("shift", 1.0), multiplier=told.get("multiplier", 1000))

    def set_parameters(self, shift: float = 1.0, timesteps: int = 1000, multiplier: float = 1000) -> None:
        """Use another shift of time."""
        self.shift, self.multiplier = shift, multiplier
        times = torch.arange(1, timesteps + 1, 1) / timesteps * multiplier
        self.register_buffer("sigmas", self.sigma(times))

    def timestep(self, sigma: Any) -> Any:
        """The model's time at a level."""
        return sigma * self.multiplier

    def sigma(self, timestep: Any) -> Any:
        """The level at a time."""
        return time_snr_shift(self.shift, timestep / self.multiplier)

    def _after(self, left: float) -> Any:
        return time_snr_shift(self.shift, left)


class ModelSamplingFlux(_Path):
    """Straight paths as Flux has them."""

    def __init__(self, model_config: Any = None) -> None:
        super().__init__()
        self.set_parameters(shift=_settings(model_config).get("shift", 1.15))

    def set_parameters(self, shift: float = 1.15, timesteps: int = 10000) -> None:
        """Use another shift of time."""
        self.shift = shift
        self.register_buffer("sigmas", self.sigma(torch.arange(1, timesteps + 1, 1) / timesteps))

    def timestep(self, sigma: Any) -> Any:
        """The model's time at a level."""
        return sigma

    def sigma(self, timestep: Any) -> Any:
        """The level at a time."""
        return flux_time_shift(self.shift, 1.0, timestep)

    def _after(self, left: float) -> Any:
        return flux_time_shift(self.shift, 1.0, left)
