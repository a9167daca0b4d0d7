"""RRDBNet: residual-in-residual dense blocks, the network of ESRGAN and Real-ESRGAN.

Source: ESRGAN (X. Wang et al. 2018), weights layouts of ESRGAN ("model.0...") and Real-ESRGAN ("conv_first...").
It knows no files and no tiling.
"""

from __future__ import annotations

import re

import torch
from torch import nn
from torch.nn import functional as fn

StateDict = dict[str, torch.Tensor]
RESIDUAL = 0.2
NEGATIVE_SLOPE = 0.2
IMAGE_CHANNELS = 3


class DenseBlock(nn.Module):
    """Five convolutions, each seeing all before it."""

    def __init__(self, features: int, growth: int) -> None:
        super().__init__()
        for index in range(4):
            self.add_module(f"conv{index + 1}", nn.Conv2d(features + index * growth, growth, 3, padding=1))
        self.conv5 = nn.Conv2d(features + 4 * growth, features, 3, padding=1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """[B, features, H, W] to the same shape."""
        seen = x
        for index in range(4):
            grown = fn.leaky_relu(self.get_submodule(f"conv{index + 1}")(seen), NEGATIVE_SLOPE, inplace=True)
            seen = torch.cat((seen, grown), 1)
        fused: torch.Tensor = self.conv5(seen)
        return x + RESIDUAL * fused


class ResidualDenseBlock(nn.Module):
    """Three dense blocks with a residual around them."""

    def __init__(self, features: int, growth: int) -> None:
        super().__init__()
        self.rdb1 = DenseBlock(features, growth)
        self.rdb2 = DenseBlock(features, growth)
        self.rdb3 = DenseBlock(features, growth)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """[B, features, H, W] to the same shape."""
        deep: torch.Tensor = self.rdb3(self.rdb2(self.rdb1(x)))
        return x + RESIDUAL * deep


class RRDBNet(nn.Module):
    """[B, 3, H, W] -> [B, 3, H * scale, W * scale], values 0..1 in RGB order.

    `shrink` folds the image into more channels first (pixel unshuffle), as the x2 and x1 Real-ESRGAN weights do.
    """

    def __init__(self, features: int, growth: int, blocks: int, doublings: int, shrink: int, channels_out: int) -> None:
        super().__init__()
        self.shrink = shrink
        self.doublings = doublings
        self.scale = 2**doublings // shrink
        self.conv_first = nn.Conv2d(IMAGE_CHANNELS * shrink * shrink, features, 3, padding=1)
        self.body = nn.Sequential(*(ResidualDenseBlock(features, growth) for _ in range(blocks)))
        self.conv_body = nn.Conv2d(features, features, 3, padding=1)
        for index in range(doublings):
            self.add_module(f"conv_up{index + 1}", nn.Conv2d(features, features, 3, padding=1))
        self.conv_hr = nn.Conv2d(features, features, 3, padding=1)
        self.conv_last = nn.Conv2d(features, channels_out, 3, padding=1)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """Enlarge the image; a size that `shrink` does not divide is mirrored up to one that it does."""
        height, width = image.shape[-2:]
        if self.shrink > 1:
            pad = (-width % self.shrink, -height % self.shrink)
            image = fn.pixel_unshuffle(fn.pad(image, (0, pad[0], 0, pad[1]), mode="reflect"), self.shrink)
        first = self.conv_first(image)
        deep = first + self.conv_body(self.body(first))
        for index in range(self.doublings):
            grown = fn.interpolate(deep, scale_factor=2, mode="nearest")
            deep = fn.leaky_relu(self.get_submodule(f"conv_up{index + 1}")(grown), NEGATIVE_SLOPE, inplace=True)
        fine = fn.leaky_relu(self.conv_hr(deep), NEGATIVE_SLOPE, inplace=True)
        result: torch.Tensor = self.conv_last(fine)
        return result[..., : height * self.scale, : width * self.scale]


def recognises(state: StateDict) -> bool:
    """Whether these weights are of this architecture, in either layout."""
    return "model.1.sub.0.RDB1.conv1.0.weight" in state or "body.0.rdb1.conv1.weight" in state


def from_state(state: StateDict) -> RRDBNet:
    """Build the network the weights were made for, weights loaded. Raises RuntimeError when they do not fit."""
    named = _renamed(state) if "model.0.weight" in state else state
    first = named["conv_first.weight"]
    net = RRDBNet(
        features=int(first.shape[0]),
        growth=int(named["body.0.rdb1.conv1.weight"].shape[0]),
        blocks=1 + max(int(key.split(".")[1]) for key in named if key.startswith("body.")),
        doublings=sum(1 for key in named if re.fullmatch(r"conv_up\d+\.weight", key)),
        shrink=round((int(first.shape[1]) / IMAGE_CHANNELS) ** 0.5),
        channels_out=int(named["conv_last.weight"].shape[0]),
    )
    net.load_state_dict(named)
    return net


def _renamed(state: StateDict) -> StateDict:
    """The ESRGAN layout under Real-ESRGAN's names: its layers are numbered, the last two being hr and last."""
    numbers = sorted({int(key.split(".")[1]) for key in state if re.fullmatch(r"model\.\d+\.(weight|bias)", key)})
    names = {0: "conv_first", numbers[-2]: "conv_hr", numbers[-1]: "conv_last"}
    names |= {number: f"conv_up{index + 1}" for index, number in enumerate(numbers[1:-2])}
    renamed: StateDict = {}
    for key, tensor in state.items():
        block = re.fullmatch(r"model\.1\.sub\.(\d+)\.RDB(\d)\.conv(\d)\.0\.(\w+)", key)
        if block:
            renamed["body.{}.rdb{}.conv{}.{}".format(*block.groups())] = tensor
        elif key.startswith("model.1.sub."):
            renamed[f"conv_body.{key.rsplit('.', 1)[1]}"] = tensor
        else:
            number, leaf = key.split(".")[1:3]
            renamed[f"{names[int(number)]}.{leaf}"] = tensor
    return renamed
