"""The node that finds edges: J. Canny, "A Computational Approach to Edge Detection" (1986). It knows no files.

Smoothing and gradients are those of the usual implementations: a Gaussian of 5 x 5 with sigma 1, Sobel's operator.
"""

from __future__ import annotations

import math

import torch
from torch.nn import functional

from comfy_core import progress
from comfy_core.errors import InputRefused
from comfy_core.memory import require
from comfy_core.nodes.morphology import LUMA
from comfy_core.nodes.pixels import BYTES_PER_VALUE
from comfy_core.nodes.post_processing import along
from comfy_core.registry import BuiltIn
from comfy_core.v3 import io

REACH = 2
FLAT = 1e-6
"""Added under the root, so that even a flat place has a magnitude."""
SECTORS = 8
TOWARDS = ((0, 1), (1, 1), (1, 0), (1, -1), (0, -1), (-1, -1), (-1, 0), (-1, 1))
"""(rows, columns) to the neighbour in each sector of 45 degrees."""
RIGHT, BELOW = 0, 2


class Canny(BuiltIn, io.ComfyNode):
    """Edges, one pixel thin, white on black."""

    PYTHON_MODULE = "comfy_extras.nodes_canny"

    @classmethod
    def define_schema(cls) -> io.Schema:
        """An image and two thresholds."""
        return io.Schema(
            node_id="Canny",
            category="image/preprocessors",
            inputs=[
                io.Image.Input("image"),
                io.Float.Input("low_threshold", default=0.4, min=0.01, max=0.99, step=0.01),
                io.Float.Input("high_threshold", default=0.8, min=0.01, max=0.99, step=0.01),
            ],
            outputs=[io.Image.Output()],
        )

    @classmethod
    def execute(cls, image: torch.Tensor, low_threshold: float, high_threshold: float) -> io.NodeOutput:
        """Edges above the high threshold, and those above the low one that are connected with them."""
        if low_threshold > high_threshold:
            raise InputRefused(f"the low threshold {low_threshold} is above the high one {high_threshold}")
        require(image[..., 0].numel() * BYTES_PER_VALUE * 2 * SECTORS, "finding edges")
        thin = _thinned(*_gradient(_smoothed(_grey(image))))
        edges = _connected(thin > high_threshold, thin > low_threshold)
        return io.NodeOutput(edges.float()[..., None].expand(-1, -1, -1, 3))


def _grey(image: torch.Tensor) -> torch.Tensor:
    """[B, H, W, C] to [B, H, W], rounded once: a last bit decides between equal neighbours."""
    if image.shape[3] < len(LUMA):
        return image[..., 0]
    return (image[..., : len(LUMA)].double() @ torch.tensor(LUMA).to(image.device).double()).float()


def _smoothed(planes: torch.Tensor) -> torch.Tensor:
    """[B, H, W] under the Gaussian, mirrored at the edges."""
    weights = torch.exp(-torch.arange(-REACH, REACH + 1).square() / 2.0)
    weights /= weights.sum()
    for axis in (2, 1):
        planes = along(planes, axis, weights)
    return planes


def _gradient(planes: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Magnitude, and direction as sector of 45 degrees counted from the right by way of below."""
    padded = functional.pad(planes[:, None], (1, 1, 1, 1), mode="replicate")
    sobel = torch.tensor([[-1.0, 0.0, 1.0], [-2.0, 0.0, 2.0], [-1.0, 0.0, 1.0]]).to(planes)
    across, down = functional.conv2d(padded, torch.stack((sobel, sobel.T))[:, None]).unbind(1)
    magnitude = torch.sqrt(across.square() + down.square() + FLAT)
    sector = torch.round(torch.atan2(down, across) * (4 / math.pi)).long() % SECTORS
    return magnitude, sector


def _thinned(magnitude: torch.Tensor, sector: torch.Tensor) -> torch.Tensor:
    """Only what is greater than both neighbours along the gradient; 0 elsewhere.

    Of two equal ones side by side (above one another) the left (upper) one stays, as in OpenCV and kornia.
    """
    height, width = magnitude.shape[1:]
    padded = functional.pad(magnitude, (1, 1, 1, 1))
    around = torch.stack([padded[:, 1 + y : 1 + y + height, 1 + x : 1 + x + width] for y, x in TOWARDS])
    kept = torch.ones_like(magnitude, dtype=torch.bool)
    for towards in (sector, (sector + SECTORS // 2) % SECTORS):
        beside = around.gather(0, towards[None])[0]
        kept &= (magnitude > beside) | ((magnitude == beside) & ((towards == RIGHT) | (towards == BELOW)))
    return magnitude * kept


def _connected(strong: torch.Tensor, weak: torch.Tensor) -> torch.Tensor:
    """What of `weak` [B, H, W] can be reached from `strong` over neighbours, by growing from the last ones found."""
    left = functional.pad(weak & ~strong, (1, 1, 1, 1))
    found = functional.pad(strong, (1, 1, 1, 1))
    row = left.shape[2]
    around = torch.tensor([y * row + x for y, x in TOWARDS])
    unseen, seen = left.view(-1), found.view(-1)
    frontier = seen.nonzero()[:, 0]
    while len(frontier):
        progress.stop_if_asked()
        near = (frontier[:, None] + around).view(-1)
        frontier = torch.unique(near[unseen[near]])
        unseen[frontier] = False
        seen[frontier] = True
    return found[:, 1:-1, 1:-1]


NODES = (Canny,)
