"""Networks and weights files: layouts, tiles, and what is refused. Real torch, no process."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from comfy_core.errors import ModelRefused, OutOfMemory
from comfy_core.folders import Folders
from comfy_core.memory import Memory, require
from comfy_core.models.loader import UpscaleModel, load_upscaler
from comfy_core.models.rrdbnet import RRDBNet
from comfy_core.models.srvgg import SRVGGNetCompact
from comfy_core.nodes.tiles import count, enlarge_tiled
from comfy_core.nodes.upscale import ImageUpscaleWithModel
from comfy_core.registry import Services


def old_layout(state: dict[str, torch.Tensor], doublings: int) -> dict[str, torch.Tensor]:
    """Real-ESRGAN's names under those of ESRGAN."""
    numbers = {"conv_first": "model.0", "conv_body": "model.1.sub.2"}
    numbers |= {f"conv_up{i + 1}": f"model.{3 * (i + 1)}" for i in range(doublings)}
    numbers |= {"conv_hr": f"model.{3 * doublings + 2}", "conv_last": f"model.{3 * doublings + 4}"}
    renamed = {}
    for key, tensor in state.items():
        head, leaf = key.rsplit(".", 1)
        if head.startswith("body."):
            _, block, dense, conv = head.split(".")
            renamed[f"model.1.sub.{block}.{dense.upper()}.{conv}.0.{leaf}"] = tensor
        else:
            renamed[f"{numbers[head]}.{leaf}"] = tensor
    return renamed


@pytest.mark.parametrize(("doublings", "shrink"), [(1, 1), (2, 1), (3, 1), (2, 2), (2, 4)])
def test_rrdb_weights_are_recognised_in_both_layouts(tmp_path: Path, doublings: int, shrink: int) -> None:
    """Scale, blocks and features are read from the tensors; the result is the original network's."""
    torch.manual_seed(1)
    net = RRDBNet(8, 4, blocks=2, doublings=doublings, shrink=shrink, channels_out=3).eval()
    image = torch.rand(1, 3, 9, 13)
    expected = net(image)
    save_file(net.state_dict(), tmp_path / "new.safetensors")
    torch.save({"params_ema": net.state_dict()}, tmp_path / "wrapped.pth")
    save_file(old_layout(net.state_dict(), doublings), tmp_path / "old.safetensors")
    for name in ("new.safetensors", "wrapped.pth", "old.safetensors"):
        loaded = load_upscaler(tmp_path / name)
        assert (loaded.architecture, loaded.scale) == ("RRDBNet", 2**doublings // shrink)
        assert torch.allclose(loaded(image), expected, atol=1e-5)
        assert loaded(image).shape[-2:] == (9 * loaded.scale, 13 * loaded.scale)


def test_compact_weights_are_recognised_in_half_precision(tmp_path: Path) -> None:
    """Layers, features and scale come from the tensors; halves are computed in single precision."""
    net = SRVGGNetCompact(3, 3, features=8, convolutions=3, scale=4)
    save_file({key: tensor.half() for key, tensor in net.state_dict().items()}, tmp_path / "c.safetensors")
    loaded = load_upscaler(tmp_path / "c.safetensors")
    assert (loaded.architecture, loaded.scale) == ("SRVGGNetCompact", 4)
    assert loaded(torch.rand(1, 3, 5, 7)).dtype == torch.float32


def test_files_that_are_no_weights_are_refused(tmp_path: Path) -> None:
    """Text, code in a pickle, tensors of no known network, tensors that do not fit together."""
    (tmp_path / "text.pth").write_text("hello")
    torch.save({"x": Path("code")}, tmp_path / "code.pth")
    save_file({"x.weight": torch.zeros(2)}, tmp_path / "unknown.safetensors")
    state = RRDBNet(8, 4, blocks=1, doublings=2, shrink=1, channels_out=3).state_dict()
    del state["conv_hr.weight"]
    save_file(state, tmp_path / "partial.safetensors")
    for name in ("text.pth", "code.pth", "unknown.safetensors", "partial.safetensors"):
        with pytest.raises(ModelRefused, match=name):
            load_upscaler(tmp_path / name)


@pytest.mark.parametrize(("height", "width", "tiles"), [(10, 10, 1), (32, 32, 1), (33, 32, 2), (100, 70, 12)])
def test_tiles_cover_the_image_without_seams(height: int, width: int, tiles: int) -> None:
    """Enlarging by repetition in tiles equals doing it at once; the tiles are as many as foretold."""
    image, ticks = torch.rand(3, height, width), []
    done = enlarge_tiled(
        image,
        lambda part: part.repeat_interleave(2, 2).repeat_interleave(2, 3),
        scale=2,
        tile=32,
        overlap=8,
        tick=lambda: ticks.append(1),
    )
    assert torch.allclose(done, image.repeat_interleave(2, 1).repeat_interleave(2, 2), atol=1e-5)
    assert len(ticks) == tiles == count(height, width, 32, 8)


class Hungry:
    """A network that runs out of memory above a size."""

    def __init__(self, most: int) -> None:
        self.most, self.sizes = most, []

    def to(self, device: torch.device) -> None:
        pass

    def __call__(self, part: torch.Tensor) -> torch.Tensor:
        self.sizes.append(part.shape[-1])
        if part.shape[-1] > self.most:
            raise torch.OutOfMemoryError("no room")
        return part


def test_tiles_are_halved_when_memory_runs_out(tmp_path: Path) -> None:
    """512, 256, then 128 fits; a network that not even 128 suits fails."""
    services = Services(Folders(tmp_path, tmp_path, tmp_path, tmp_path), Memory(torch.device("cpu")))
    node = type("Bound", (ImageUpscaleWithModel,), {"services": services})()
    image = torch.rand(1, 200, 600, 3)
    hungry = Hungry(130)
    (result,) = node.upscale(UpscaleModel(hungry, 1, "test"), image)
    assert torch.allclose(result, image, atol=1e-5)
    assert hungry.sizes[:3] == [512, 256, 128]
    with pytest.raises(torch.OutOfMemoryError):
        node.upscale(UpscaleModel(Hungry(100), 1, "test"), image)


def test_memory_is_asked_for_before_it_is_taken() -> None:
    """A petabyte is refused with both figures."""
    with pytest.raises(OutOfMemory, match="GiB are free"):
        require(1 << 50, "this")


def test_a_file_that_changes_is_another_model(tmp_path: Path) -> None:
    """Loaded once per version; the old version goes."""
    memory = Memory(torch.device("cpu"))
    path, reads = tmp_path / "m", []

    def read(source: Path) -> UpscaleModel:
        reads.append(source.read_text())
        return UpscaleModel(None, 1, reads[-1])

    for content in ("a", "a", "bb"):
        if not path.exists() or path.read_text() != content:
            path.write_text(content)
        assert memory.load(path, read).architecture == content
    assert (reads, len(memory)) == (["a", "bb"], 1)
