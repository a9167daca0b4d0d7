"""Mask nodes on values that can be worked out by hand, and reading pictures from files. Real torch, no process."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from comfy_core.errors import InputRefused
from comfy_core.nodes.mask import (
    CropMask,
    FeatherMask,
    GrowMask,
    ImageColorToMask,
    ImageToMask,
    InvertMask,
    MaskComposite,
    MaskToImage,
    SolidMask,
    ThresholdMask,
)
from comfy_core.nodes.pixels import read_channel, read_image, to_pictures


def mask(*rows: list[float]) -> torch.Tensor:
    """A mask of one frame."""
    return torch.tensor(rows)[None]


def shown(made: tuple[torch.Tensor]) -> list[list[float]]:
    """The first frame of a result."""
    return [[round(value, 4) for value in row] for row in made[0][0].tolist()]


def test_masks_and_images_turn_into_each_other() -> None:
    """Grey in three channels; a channel back; a mask without frames counts as one."""
    (image,) = MaskToImage().mask_to_image(torch.tensor([[0.25, 0.5]]))
    assert image.shape == (1, 1, 2, 3)
    assert shown(ImageToMask().image_to_mask(image, "blue")) == [[0.25, 0.5]]
    with pytest.raises(InputRefused, match="none is alpha"):
        ImageToMask().image_to_mask(image, "alpha")


def test_a_colour_is_found_exactly() -> None:
    """Rounded to 8 bits; one step beside does not count."""
    image = torch.tensor([[0x12, 0x34, 0x56], [0x12, 0x34, 0x57]])[None, None] / 255
    assert shown(ImageColorToMask().image_to_mask(image, 0x123456)) == [[1, 0]]
    with pytest.raises(InputRefused, match="three"):
        ImageColorToMask().image_to_mask(image[..., :1], 0)


def test_simple_masks() -> None:
    """Solid, inverted, cut, cut beside the mask, and thresholded."""
    (solid,) = SolidMask().solid(0.25, 3, 2)
    assert shown(InvertMask().invert(solid)) == [[0.75] * 3] * 2
    assert CropMask().crop(solid, 1, 0, 99, 1)[0].shape == (1, 1, 2)
    assert CropMask().crop(solid, 5, 5, 1, 1)[0].shape == (1, 0, 0)
    assert shown(ThresholdMask().image_to_mask(mask([0.4, 0.5, 0.6]), 0.5)) == [[0, 0, 1]]


@pytest.mark.parametrize(
    ("operation", "expected"),
    [
        ("multiply", [0.36, 0.08]),
        ("add", [1.0, 1.0]),
        ("subtract", [0.0, 0.6]),
        ("and", [1, 0]),
        ("or", [1, 1]),
        ("xor", [0, 1]),
    ],
)
def test_masks_are_combined_at_a_place(operation: str, expected: list[float]) -> None:
    """0.6 with 0.6 and 0.8 with 0.1..0.2; outside the source the destination stays, what hangs over is cut."""
    below, above = mask([0.5, 0.6, 0.8]), mask([0.6, 0.1 if operation == "multiply" else 0.2, 0.9])
    made = MaskComposite().combine(below, above, 1, 0, operation)
    assert shown(made)[0] == [0.5, *expected]
    assert below[0, 0, 1].item() == pytest.approx(0.6)


def test_masks_of_other_counts_are_refused() -> None:
    """One is laid into each of three; two are not."""
    three = torch.zeros(3, 2, 2)
    assert MaskComposite().combine(three, torch.ones(1, 1, 1), 0, 0, "add")[0][:, 0, 0].tolist() == [1, 1, 1]
    with pytest.raises(InputRefused, match="2 masks"):
        MaskComposite().combine(three, torch.ones(2, 1, 1), 0, 0, "add")


def test_feathering_fades_from_the_edges() -> None:
    """From the left by k / n; from the right one place late, its first step on the first column, as ComfyUI does."""
    assert shown(FeatherMask().feather(torch.ones(1, 1, 6), 3, 0, 0, 0)) == [[0.3333, 0.6667, 1, 1, 1, 1]]
    assert shown(FeatherMask().feather(torch.ones(1, 1, 6), 0, 0, 4, 0)) == [[0.25, 1, 1, 1, 0.75, 0.5]]
    assert shown(FeatherMask().feather(torch.ones(1, 3, 1), 0, 3, 0, 0)) == [[0.3333], [0.6667], [1]]


@pytest.mark.parametrize(("tapered", "count"), [(True, 13), (False, 25)])
def test_growing_makes_a_diamond_or_a_square(tapered: bool, count: int) -> None:
    """Two steps from one pixel; shrinking as far gives the pixel back; far too many steps end early."""
    point = torch.zeros(1, 9, 9)
    point[0, 4, 4] = 1
    (grown,) = GrowMask().expand_mask(point, 2, tapered)
    assert grown.sum().item() == count
    assert torch.equal(GrowMask().expand_mask(grown, -2, tapered)[0], point)
    assert GrowMask().expand_mask(point, 16384, tapered)[0].min().item() == 1


def test_shrinking_does_not_start_at_the_border() -> None:
    """Beyond the edge there is nothing that could eat into a mask."""
    assert torch.equal(GrowMask().expand_mask(torch.ones(1, 4, 4), -2, False)[0], torch.ones(1, 4, 4))


def saved(path: Path, values: Any, mode: str | None = None, **options: Any) -> Path:
    """A picture file."""
    picture = Image.fromarray(np.asarray(values))
    (picture.convert(mode) if mode else picture).save(path, **options)
    return path


def test_channels_are_read_from_files(tmp_path: Path) -> None:
    """Alpha is turned round, colours are not; an opaque picture masks nothing, in its own size."""
    rgba = saved(tmp_path / "a.png", np.array([[[255, 0, 51, 204]]], dtype=np.uint8))
    found = {channel: read_channel(rgba, "a", channel).item() for channel in ("alpha", "red", "green", "blue")}
    assert found == pytest.approx({"alpha": 0.2, "red": 1, "green": 0, "blue": 0.2})
    grey = saved(tmp_path / "g.png", np.array([[51, 102]], dtype=np.uint8))
    assert read_channel(grey, "g", "alpha").tolist() == [[[0, 0]]]
    assert read_channel(grey, "g", "green").flatten().tolist() == pytest.approx([0.2, 0.4])


def test_masks_of_files_are_their_alpha(tmp_path: Path) -> None:
    """A palette's transparency counts; a picture without alpha has an empty mask of 64 x 64."""
    palette = Image.new("P", (2, 1))
    palette.putpalette([255, 0, 0, 0, 255, 0])
    palette.putpixel((1, 0), 1)
    palette.save(tmp_path / "p.png", transparency=bytes([255, 0]))
    image, alpha = read_image(tmp_path / "p.png", "p")
    assert (image[0, 0].tolist(), alpha[0].tolist()) == ([[1, 0, 0], [0, 1, 0]], [[0, 1]])
    assert read_image(saved(tmp_path / "o.png", np.zeros((2, 2, 3), np.uint8)), "o")[1].shape == (1, 64, 64)


def test_sixteen_bits_become_eight(tmp_path: Path) -> None:
    """Divided by 255 and clamped: white stays white, mid grey mid grey."""
    path = saved(tmp_path / "d.png", np.array([[0, 255 * 128, 65535]], dtype=np.uint16))
    assert (read_image(path, "d")[0][0, 0, :, 0] * 255).round().tolist() == [0, 128, 255]


def test_frames_are_stacked_if_they_have_one_size(tmp_path: Path) -> None:
    """An animation is a batch; a page of another size is left out."""
    pages = [Image.new("RGB", size) for size in ((4, 3), (4, 3), (2, 2))]
    pages[0].save(tmp_path / "t.tif", save_all=True, append_images=pages[1:])
    assert read_image(tmp_path / "t.tif", "t")[0].shape == (2, 3, 4, 3)


def test_what_is_no_whole_picture_is_refused(tmp_path: Path) -> None:
    """Text, half a file, too many pixels: by name and reason."""
    noise = np.random.default_rng(1).integers(0, 255, (64, 64, 3), dtype=np.uint8)
    whole = saved(tmp_path / "whole.png", noise).read_bytes()
    (tmp_path / "half.png").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "text.png").write_text("hello")
    Image.new("1", (20_000, 20_000)).save(tmp_path / "bomb.png")
    for name, reason in (("half", "damaged"), ("text", "not an image"), ("bomb", "pixels")):
        for read in (read_image, lambda path, label: read_channel(path, label, "red")):
            with pytest.raises(InputRefused, match=f"{name}.*{reason}"):
                read(tmp_path / f"{name}.png", name)


@pytest.mark.parametrize("channels", [1, 3, 4])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.float64])
def test_a_picture_is_as_its_image_however_that_lies_in_memory(channels: int, dtype: torch.dtype) -> None:
    """Packs hand over images that they turned round, flipped, cut out or repeated, and such as have gradients."""
    whole = torch.rand((2, channels, 6, 9)).to(dtype)
    images = whole.permute(0, 2, 3, 1)[:, 1:, ::2].requires_grad_()
    for picture, frame in zip(to_pictures(images), images.detach().float(), strict=True):
        expected = (frame.numpy() * 255).astype(np.uint8)
        assert np.array_equal(np.asarray(picture).reshape(expected.shape), expected)
    (grey,) = to_pictures(torch.full((1, 3, 2, 1), 0.5).expand(1, 3, 2, 3))
    assert np.array_equal(np.asarray(grey), np.full((3, 2, 3), 127))


def test_pictures_come_only_of_images() -> None:
    """not a number is black; an empty image, two channels and a mask are refused."""
    (picture,) = to_pictures(torch.tensor([[[[float("nan"), 2.0, -1.0]]]]))
    assert picture.getpixel((0, 0)) == (0, 255, 0)
    for shape, reason in (((1, 0, 0, 3), "empty"), ((1, 2, 2, 2), "channels"), ((1, 2, 2), "dimensions")):
        with pytest.raises(InputRefused, match=reason):
            to_pictures(torch.zeros(shape))
