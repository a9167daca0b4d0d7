"""The demo's judgement of a picture, on the demo's own photos."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image, ImageFilter, ImageOps

from client.demo_check import complaints
from client.stack import demo_folder

PHOTOS = sorted((demo_folder() / "photos").iterdir())


@pytest.fixture(params=PHOTOS, ids=lambda photo: photo.stem)
def photo(request: pytest.FixtureRequest) -> Path:
    """Each photo of the demo."""
    found: Path = request.param
    return found


def enlarged(photo: Path) -> Image.Image:
    """What a good upscaler makes of a photo: the photo itself at 768 pixels, since no photo is larger."""
    picture = Image.open(photo).convert("RGB")
    width = 192
    height = round(picture.height * width / picture.width)
    sharp = picture.resize((width, height), Image.Resampling.BOX).resize(
        (width * 4, height * 4), Image.Resampling.LANCZOS
    )
    return sharp.filter(ImageFilter.UnsharpMask(2, 150, 0))


def judged(picture: Image.Image, photo: Path, folder: Path) -> str:
    """The complaints about a picture, saved as PNG."""
    path = folder / "result.png"
    picture.save(path)
    return "; ".join(complaints(path, photo))


def test_a_right_picture_passes(photo: Path, tmp_path: Path) -> None:
    """A sharp, upright picture of the photo has no complaint."""
    assert judged(enlarged(photo), photo, tmp_path) == ""


def test_wrong_pictures_are_told_apart(photo: Path, tmp_path: Path) -> None:
    """Blurred, mirrored, upside-down, blank and foreign pictures are each found out."""
    right = enlarged(photo)
    small = Image.open(photo).convert("RGB").resize((right.width // 4, right.height // 4), Image.Resampling.BOX)
    blurred = small.resize(right.size, Image.Resampling.BILINEAR)
    other = enlarged(PHOTOS[PHOTOS.index(photo) - 1]).resize(right.size)
    assert "not sharp" in judged(blurred, photo, tmp_path)
    assert "right way round" in judged(ImageOps.mirror(right), photo, tmp_path)
    assert "right way round" in judged(ImageOps.flip(right), photo, tmp_path)
    assert "blank" in judged(Image.new("RGB", right.size, (90, 90, 90)), photo, tmp_path)
    assert judged(other, photo, tmp_path)


def test_the_size_must_be_right(photo: Path, tmp_path: Path) -> None:
    """768 pixels on the long side, in the photo's own shape."""
    right = enlarged(photo)
    assert "long side" in judged(right.resize((right.width - 4, right.height - 4)), photo, tmp_path)
    assert "shape" in judged(right.resize((right.width, right.height - 40)), photo, tmp_path)


def test_what_is_no_png_is_said(tmp_path: Path) -> None:
    """Bytes that are no picture, and a picture that is no PNG."""
    path = tmp_path / "result.png"
    path.write_bytes(b"\x89PNG\r\n\x1a\n but not really")
    assert "cannot be decoded" in complaints(path, PHOTOS[0])[0]
    enlarged(PHOTOS[0]).save(path, format="JPEG")
    assert complaints(path, PHOTOS[0]) == ["is JPEG, not PNG"]
