"""Latents are scaled, turned, cut, laid over, mixed and cut into batches as ComfyUI does it."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch

from comfy_core.errors import InputRefused, OutOfMemory
from tests.unit.comfy_core.bound_nodes import call, counting, one


def latent(*shape: int, **more: Any) -> dict[str, Any]:
    """Counting numbers, and what else travels along."""
    return {"samples": counting(*shape), **more}


@pytest.mark.parametrize(
    ("name", "inputs", "shape"),
    [
        ("EmptyLatentImage", {"width": 520, "height": 1000, "batch_size": 2}, (2, 4, 125, 65)),
        ("EmptySD3LatentImage", {"width": 512, "height": 256, "batch_size": 1}, (1, 16, 32, 64)),
        ("EmptyHunyuanImageLatent", {"width": 512, "height": 256, "batch_size": 1}, (1, 64, 8, 16)),
        ("EmptyHunyuanLatentVideo", {"width": 64, "height": 32, "length": 25, "batch_size": 1}, (1, 16, 7, 4, 8)),
        ("EmptyMochiLatentVideo", {"width": 64, "height": 32, "length": 25, "batch_size": 1}, (1, 12, 5, 4, 8)),
        ("EmptyLTXVLatentVideo", {"width": 64, "height": 64, "length": 97, "batch_size": 1}, (1, 128, 13, 2, 2)),
        ("EmptyCosmosLatentVideo", {"width": 64, "height": 32, "length": 121, "batch_size": 1}, (1, 16, 16, 4, 8)),
        ("EmptyChromaRadianceLatentImage", {"width": 16, "height": 32, "batch_size": 1}, (1, 3, 32, 16)),
        ("EmptyLatentAudio", {"seconds": 47.6, "batch_size": 1}, (1, 64, 1024)),
        ("EmptyAceStepLatentAudio", {"seconds": 120.0, "batch_size": 1}, (1, 8, 16, 1291)),
        ("EmptyLatentHunyuan3Dv2", {"resolution": 77, "batch_size": 2}, (2, 64, 77)),
    ],
)
def test_empty_latents_have_the_grid_of_their_models(name: str, inputs: dict[str, Any], shape: tuple[int, ...]) -> None:
    """Zeros of each family's channels and cells."""
    made = one(name, **inputs)["samples"]
    assert tuple(made.shape) == shape
    assert not made.any()


def test_stable_cascade_gets_a_latent_for_each_stage() -> None:
    """Compression 42 for stage C, 4 for stage B."""
    first, second = call("StableCascade_EmptyLatentImage", width=1024, height=512, compression=42, batch_size=3)
    assert tuple(first["samples"].shape) == (3, 16, 12, 24)
    assert tuple(second["samples"].shape) == (3, 4, 128, 256)


def test_a_latent_that_would_not_fit_is_refused_before_it_is_made() -> None:
    """4096 latents of 16384 pixels a side are 64 TiB."""
    with pytest.raises(OutOfMemory):
        call("EmptyLatentImage", width=16384, height=16384, batch_size=4096)
    with pytest.raises(OutOfMemory):
        call("LatentUpscale", samples=latent(1, 4, 2, 2), upscale_method="area", width=1 << 24, height=1 << 24, crop="")


@pytest.mark.parametrize("method", ["nearest-exact", "bilinear", "area", "bicubic", "bislerp"])
@pytest.mark.parametrize(
    ("width", "height", "cells"),
    [(0, 0, (6, 4)), (64, 0, (12, 8)), (0, 96, (12, 8)), (8, 8, (8, 8)), (200, 100, (12, 25))],
)
def test_a_constant_stays_itself_at_any_size(method: str, width: int, height: int, cells: tuple[int, int]) -> None:
    """0 keeps the proportions, both 0 the size, and no side is smaller than 64 pixels; the mask travels along."""
    mask = torch.ones(1, 1, 48, 32)
    given = {"samples": torch.full((2, 3, 6, 4), 1.5), "noise_mask": mask, "batch_index": [4, 7]}
    made = one("LatentUpscale", samples=given, upscale_method=method, width=width, height=height, crop="disabled")
    assert tuple(made["samples"].shape) == (2, 3, *cells)
    torch.testing.assert_close(made["samples"], torch.full_like(made["samples"], 1.5))
    assert made["noise_mask"] is mask
    assert made["batch_index"] == [4, 7]


def test_bislerp_turns_the_channel_vector_and_keeps_its_length() -> None:
    """Halfway between (1, 0) and (0, 1) lies (1, 1) / sqrt 2, where plain interpolation would give (1, 1) / 2."""
    samples = torch.tensor([[1.0, 0.0], [0.0, 1.0]]).reshape(1, 2, 1, 2)
    made = one("LatentUpscaleBy", samples={"samples": samples}, upscale_method="bislerp", scale_by=2.0)["samples"]
    lengths = made.norm(dim=1)
    torch.testing.assert_close(lengths, torch.ones_like(lengths))
    angles = torch.atan2(made[0, 1, 0], made[0, 0, 0])
    torch.testing.assert_close(angles, torch.tensor([0.0, 0.25, 0.75, 1.0]) * math.pi / 2)


def test_cropping_while_scaling_keeps_the_middle() -> None:
    """A latent twice as wide as high loses a quarter on each side when it becomes square."""
    made = one(
        "LatentUpscale",
        samples=latent(1, 1, 8, 16),
        upscale_method="nearest-exact",
        width=64,
        height=64,
        crop="center",
    )
    assert torch.equal(made["samples"], counting(1, 1, 8, 16)[..., 4:12])


def test_videos_are_scaled_frame_by_frame() -> None:
    """[B, C, T, H, W]: time stays, each frame is what it would be alone."""
    video = latent(2, 3, 4, 8, 8)
    made = one("LatentUpscaleBy", samples=video, upscale_method="bicubic", scale_by=1.5)["samples"]
    alone = one(
        "LatentUpscaleBy", samples={"samples": video["samples"][:, :, 2]}, upscale_method="bicubic", scale_by=1.5
    )
    torch.testing.assert_close(made[:, :, 2], alone["samples"])


def test_scaling_refuses_what_has_no_picture_in_it() -> None:
    """Sound latents have no height; a factor that leaves no cell is named."""
    with pytest.raises(InputRefused, match="no height and width"):
        call("LatentUpscaleBy", samples=latent(1, 64, 10), upscale_method="area", scale_by=2.0)
    with pytest.raises(InputRefused, match="0x0"):
        call("LatentUpscaleBy", samples=latent(1, 4, 8, 8), upscale_method="area", scale_by=0.01)


def test_items_of_a_batch_keep_their_mask_and_their_draw_of_the_noise() -> None:
    """Indices past the end mean the last; masks fewer than items are used in turn."""
    given = latent(3, 1, 1, 1, noise_mask=counting(2, 1, 1, 1))
    picked = one("LatentFromBatch", samples=given, batch_index=1, length=5)
    assert picked["samples"].flatten().tolist() == [1, 2]
    assert picked["noise_mask"].flatten().tolist() == [1, 0]
    assert picked["batch_index"] == [1, 2]
    last = one("LatentFromBatch", samples={**given, "batch_index": [9, 8, 7]}, batch_index=63, length=1)
    assert last["batch_index"] == [7]


def test_copies_of_a_batch_get_draws_of_their_own() -> None:
    """Each copy's indices go on after the last copy's."""
    made = one("RepeatLatentBatch", samples=latent(2, 1, 1, 1, batch_index=[3, 5]), amount=3)
    assert made["samples"].flatten().tolist() == [0, 1] * 3
    assert made["batch_index"] == [3, 5, 6, 8, 9, 11]


def test_turning_and_mirroring() -> None:
    """A quarter turn clockwise; upside down; left for right."""
    square = torch.tensor([[1.0, 2.0], [3.0, 4.0]]).reshape(1, 1, 2, 2)

    def flat(made: dict[str, Any]) -> list[float]:
        return [float(value) for value in made["samples"].flatten()]

    assert flat(one("LatentRotate", samples={"samples": square}, rotation="90 degrees")) == [3, 1, 4, 2]
    assert flat(one("LatentRotate", samples={"samples": square}, rotation="none")) == [1, 2, 3, 4]
    assert flat(one("LatentFlip", samples={"samples": square}, flip_method="x-axis: vertically")) == [3, 4, 1, 2]
    assert flat(one("LatentFlip", samples={"samples": square}, flip_method="y-axis: horizontally")) == [2, 1, 4, 3]


@pytest.mark.parametrize(("x", "y", "left", "top"), [(8, 16, 1, 2), (4000, 4000, 8, 4), (5, 3, 0, 0)])
def test_a_crop_is_moved_back_inside(x: int, y: int, left: int, top: int) -> None:
    """At least 64 pixels of it lie in the picture."""
    given = latent(1, 1, 12, 16)
    made = one("LatentCrop", samples=given, width=64, height=64, x=x, y=y)["samples"]
    assert torch.equal(made, given["samples"][:, :, top : top + 8, left : left + 8])


def test_a_noise_mask_becomes_a_batch_of_single_channels() -> None:
    """[H, W] and [B, H, W] alike."""
    made = one("SetLatentNoiseMask", samples=latent(1, 1, 1, 1), mask=counting(3, 4))
    assert tuple(made["noise_mask"].shape) == (1, 1, 3, 4)
    made = one("SetLatentNoiseMask", samples=latent(1, 1, 1, 1), mask=counting(2, 3, 4))
    assert tuple(made["noise_mask"].shape) == (2, 1, 3, 4)


def test_a_composite_feathers_only_its_inner_borders() -> None:
    """Laid into the corner at the bottom right, it rises from the left and the top over two cells."""
    below, above = {"samples": torch.zeros(1, 1, 4, 4)}, {"samples": torch.ones(1, 1, 3, 3)}
    made = one("LatentComposite", samples_to=below, samples_from=above, x=8, y=8, feather=16)["samples"][0, 0]
    line = torch.tensor([0.0, 0.5, 1.0, 1.0])
    torch.testing.assert_close(made, line[:, None] * line[None, :])
    outside = one("LatentComposite", samples_to=below, samples_from=above, x=800, y=0, feather=16)
    assert not outside["samples"].any()
    assert not below["samples"].any()


@pytest.mark.parametrize(("x", "y"), [(8, 16), (-8, 0), (0, -16), (24, 24), (4000, 0), (-4000, 8)])
def test_a_masked_composite_is_cut_at_the_borders(x: int, y: int) -> None:
    """Cell by cell: the source where it and its mask are, else what was there."""
    below, above = torch.zeros(2, 1, 4, 5), counting(1, 1, 3, 3) + 1
    mask = torch.tensor([[1.0, 0.5, 1.0], [0.0, 1.0, 1.0], [1.0, 1.0, 0.25]])
    inputs = {"destination": {"samples": below}, "source": {"samples": above}, "x": x, "y": y}
    made = one("LatentCompositeMasked", **inputs, resize_source=False, mask=mask)["samples"]
    expected = below.clone()
    for row in range(3):
        for column in range(3):
            down, across = row + y // 8, column + x // 8
            if 0 <= down < 4 and 0 <= across < 5:
                expected[:, :, down, across] = above[0, 0, row, column] * mask[row, column]
    torch.testing.assert_close(made, expected)


def test_sums_and_batches_fit_the_second_to_the_first() -> None:
    """The size and batch of the first; a batch of both keeps every draw of the noise."""
    first, second = latent(3, 1, 2, 2, batch_index=[5, 6, 7]), {"samples": torch.full((2, 1, 4, 4), 2.0)}
    added = one("LatentAdd", samples1=first, samples2=second)
    torch.testing.assert_close(added["samples"], first["samples"] + 2)
    assert added["batch_index"] == [5, 6, 7]
    taken = one("LatentSubtract", samples1=first, samples2=second)["samples"]
    torch.testing.assert_close(taken, first["samples"] - 2)
    together = one("LatentBatch", samples1=first, samples2=second)
    assert together["samples"].shape[0] == 5
    assert together["batch_index"] == [5, 6, 7, 0, 1]
    blended = one("LatentBlend", samples1=latent(1, 1, 2, 2), samples2=latent(1, 1, 2, 2), blend_factor=0.25)
    torch.testing.assert_close(blended["samples"], counting(1, 1, 2, 2))
    assert one("LatentMultiply", samples=latent(1, 1, 1, 3), multiplier=-2.0)["samples"].tolist() == [[[[0, -2, -4]]]]


def test_interpolation_mixes_direction_and_length_apart() -> None:
    """Between (2, 0) and (0, 4): halfway at 45 degrees with length 3, for every item of a batch."""
    first = {"samples": torch.tensor([2.0, 0.0]).reshape(1, 2, 1, 1).repeat(3, 1, 1, 1)}
    second = {"samples": torch.tensor([0.0, 4.0]).reshape(1, 2, 1, 1)}
    made = one("LatentInterpolate", samples1=first, samples2=second, ratio=0.5)["samples"]
    torch.testing.assert_close(made, torch.full((3, 2, 1, 1), 3 / math.sqrt(2)))
    zeros = {"samples": torch.zeros(1, 2, 1, 1)}
    assert not one("LatentInterpolate", samples1=zeros, samples2=zeros, ratio=0.5)["samples"].any()


def test_joining_and_cutting_along_an_axis() -> None:
    """A minus puts the second first; a cut's bounds are moved inside, negative ones count from the end."""
    first, second = latent(1, 1, 2, 2), {"samples": counting(1, 1, 2, 2) + 10}
    assert one("LatentConcat", samples1=first, samples2=second, dim="x")["samples"][0, 0, 0].tolist() == [0, 1, 10, 11]
    assert one("LatentConcat", samples1=first, samples2=second, dim="-y")["samples"][0, 0, 0].tolist() == [10, 11]
    video = latent(1, 1, 5, 1, 1)
    for index, amount, left in ((1, 2, [1, 2]), (100, 9, [4]), (-2, 9, [3, 4]), (-100, 2, [0, 1])):
        made = one("LatentCut", samples=video, dim="t", index=index, amount=amount)
        assert made["samples"].flatten().tolist() == left
    assert one("TrimVideoLatent", samples=video, trim_amount=3)["samples"].flatten().tolist() == [3, 4]
    with pytest.raises(InputRefused, match="no axis"):
        call("LatentConcat", samples1=latent(1, 3, 4), samples2=latent(1, 3, 4), dim="t")


def test_the_seeds_of_a_batch_are_one_or_many() -> None:
    """fixed gives all the first item's draw, random forgets the draws."""
    given = latent(3, 1, 1, 1, batch_index=[4, 5, 6])
    assert one("LatentBatchSeedBehavior", samples=given, seed_behavior="fixed")["batch_index"] == [4, 4, 4]
    assert "batch_index" not in one("LatentBatchSeedBehavior", samples=given, seed_behavior="random")
    assert given["batch_index"] == [4, 5, 6]


def test_batches_are_cut_anew_with_their_masks() -> None:
    """Latents of another size begin a new batch; an item without mask gets ones beside one that has a mask."""
    given = [
        latent(2, 1, 2, 2),
        latent(3, 1, 2, 2, noise_mask=torch.zeros(1, 1, 16, 16), batch_index=[7, 8, 9]),
        latent(1, 1, 3, 2),
    ]
    (made,) = call("RebatchLatents", latents=given, batch_size=[3])
    assert [one["batch_index"] for one in made] == [[0, 1, 7], [8, 9], [5]]
    assert [one["samples"].shape[0] for one in made] == [3, 2, 1]
    assert made[0]["noise_mask"].amax(dim=(1, 2, 3)).tolist() == [1, 1, 0]
    assert not made[1]["noise_mask"].any()
    assert "noise_mask" not in made[2]
    with pytest.raises(InputRefused, match="cannot share a batch"):
        call("RebatchLatents", latents=[latent(1, 1, 2, 2), latent(1, 4, 2, 2)], batch_size=[2])


def test_operations_are_values_that_another_node_applies() -> None:
    """Sharpening leaves a constant alone; tone mapping keeps directions and lowers what is far above the rest."""
    flat = {"samples": torch.full((1, 2, 8, 8), 3.0)}
    sharpen = one("LatentOperationSharpen", sharpen_radius=2, sigma=1.0, alpha=0.5)
    torch.testing.assert_close(one("LatentApplyOperation", samples=flat, operation=sharpen)["samples"], flat["samples"])
    bright = {"samples": torch.ones(1, 2, 8, 8)}
    bright["samples"][0, :, 4, 4] = 100.0
    tonemap = one("LatentOperationTonemapReinhard", multiplier=1.0)
    made = one("LatentApplyOperation", samples=bright, operation=tonemap)["samples"]
    assert made[0, 0, 4, 4] < 60
    torch.testing.assert_close(made[:, 0], made[:, 1])
