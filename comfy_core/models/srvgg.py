"""SRVGGNetCompact: a plain stack of 3x3 convolutions that learns what nearest-neighbour enlargement lacks.

Source: Real-ESRGAN, BSD-3-Clause (X. Wang et al. 2021). It knows no files and no tiling.
"""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional as fn

StateDict = dict[str, torch.Tensor]
NEGATIVE_SLOPE = 0.1


class SRVGGNetCompact(nn.Module):
    """[B, channels_in, H, W] -> [B, channels_out, H * scale, W * scale], values 0..1 in RGB order."""

    def __init__(
        self, channels_in: int, channels_out: int, features: int, convolutions: int, scale: int, act: str = "prelu"
    ) -> None:
        super().__init__()
        self.scale = scale
        layers: list[nn.Module] = [nn.Conv2d(channels_in, features, 3, padding=1), _activation(act, features)]
        for _ in range(convolutions):
            layers += [nn.Conv2d(features, features, 3, padding=1), _activation(act, features)]
        layers.append(nn.Conv2d(features, channels_out * scale * scale, 3, padding=1))
        self.body = nn.Sequential(*layers)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """Enlarge the image: the learned detail is added to the image enlarged by repetition."""
        detail = fn.pixel_shuffle(self.body(image), self.scale)
        return detail + fn.interpolate(image, scale_factor=self.scale, mode="nearest")


def _activation(kind: str, features: int) -> nn.Module:
    return nn.PReLU(num_parameters=features) if kind == "prelu" else nn.LeakyReLU(NEGATIVE_SLOPE, inplace=True)


def recognises(state: StateDict) -> bool:
    """Whether these weights are of this architecture."""
    return "body.0.weight" in state and state["body.0.weight"].ndim == 4 and "body.2.weight" in state


def from_state(state: StateDict) -> SRVGGNetCompact:
    """Build the network the weights were made for, weights loaded. Raises RuntimeError when they do not fit."""
    first = state["body.0.weight"]
    last_index = max(int(key.split(".")[1]) for key in state)
    last = state[f"body.{last_index}.weight"]
    channels = int(first.shape[1])
    net = SRVGGNetCompact(
        channels_in=channels,
        channels_out=channels,
        features=int(first.shape[0]),
        convolutions=last_index // 2 - 1,
        scale=round((int(last.shape[0]) / channels) ** 0.5),
        act="prelu" if "body.1.weight" in state else "leakyrelu",
    )
    net.load_state_dict(state)
    return net
