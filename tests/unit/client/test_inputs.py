"""The command line's way of writing a run's inputs."""

from __future__ import annotations

from pathlib import Path

import pytest

from client import inputs
from client.errors import SetupProblem


@pytest.mark.parametrize(
    ("pair", "value"),
    [
        ("seed=7", 7),
        ("seed=0", 0),
        ("strength=-0.5", -0.5),
        ("on=true", True),
        ("prompt=a cat = a pet", "a cat = a pet"),
        ("prompt=", ""),
        ("zip=007", "007"),
        ("prompt=[unfinished", "[unfinished"),
        ('images=["https://a/1.png"]', ["https://a/1.png"]),
        ('number_as_text="7"', "7"),
        ("handle=@@someone", "@someone"),
    ],
)
def test_values_keep_their_kind(pair: str, value: object) -> None:
    """Numbers, booleans and JSON are themselves; everything else stays text."""
    assert inputs.parse(pair)[1] == value


def test_an_at_sign_is_a_file(tmp_path: Path) -> None:
    """key=@path stands for the file's content."""
    photo = tmp_path / "photo.png"
    photo.write_bytes(b"x")
    assert inputs.parse(f"image=@{photo}") == ("image", inputs.FromFile(photo))


@pytest.mark.parametrize("pair", ["seed", "=7", "image=@/nowhere/photo.png"])
def test_what_cannot_be_meant_is_refused(pair: str) -> None:
    """No key, no value or no such file: refused before anything is sent."""
    with pytest.raises(SetupProblem):
        inputs.parse(pair)


def test_labels_are_pairs() -> None:
    """A pool is written as key=value."""
    assert inputs.labels(["gpu=4090", "site=lab=2"]) == {"gpu": "4090", "site": "lab=2"}
