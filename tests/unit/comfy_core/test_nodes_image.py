"""Image nodes on values that can be worked out by hand. Real torch and files, no process."""

from __future__ import annotations

import io
import json
import struct
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
import torch
from PIL import Image

from comfy_core.errors import InputRefused, Interrupted
from comfy_core.folders import Folders, standard_models
from comfy_core.memory import Memory
from comfy_core.nodes import built_in
from comfy_core.nodes.pixels import write_png
from comfy_core.nodes.post_processing import mirrored
from comfy_core.nodes.quantize import bayer
from comfy_core.nodes.tiles import starts
from comfy_core.progress import Scope, scope
from comfy_core.registry import Registry, Services


@pytest.fixture
def nodes(tmp_path: Path) -> Registry:
    """Every built-in node, bound to folders of the test's own."""
    for name in ("input", "output", "temp"):
        (tmp_path / name).mkdir()
    folders = [tmp_path / name for name in ("input", "output", "temp")]
    models = standard_models([tmp_path / "models"], tmp_path)
    return built_in(Services(Folders(tmp_path, *folders, models), Memory(torch.device("cpu"))))


def call(nodes: Registry, class_type: str, **inputs: Any) -> Any:
    """What a node returns: its values, or what it shows."""
    cls: Any = nodes[class_type]
    answer = cls.execute(**inputs) if hasattr(cls, "define_schema") else getattr(cls(), cls.FUNCTION)(**inputs)
    values = getattr(answer, "args", answer)
    return values["ui"] if isinstance(values, dict) and "ui" in values else values


def rows(*lines: list[float]) -> torch.Tensor:
    """A grey image of three channels."""
    return torch.tensor(lines)[None, :, :, None].expand(-1, -1, -1, 3).clone()


def grey(image: torch.Tensor) -> list[list[float]]:
    """The first channel of the first frame."""
    return [[round(value, 4) for value in row] for row in image[0, :, :, 0].tolist()]


def test_a_crop_keeps_at_least_the_last_pixel(nodes: Registry) -> None:
    """Inside it is exact; past the end the nearest corner is left."""
    image = rows([0.1, 0.2, 0.3], [0.4, 0.5, 0.6])
    assert grey(call(nodes, "ImageCrop", image=image, width=2, height=1, x=1, y=0)[0]) == [[0.2, 0.3]]
    assert grey(call(nodes, "ImageCrop", image=image, width=9, height=9, x=50, y=50)[0]) == [[0.6]]


def test_images_turn_clockwise_and_mirror(nodes: Registry) -> None:
    """Quarter turns and both flips move every pixel where it belongs."""
    image = rows([0.1, 0.2], [0.3, 0.4])
    turned = {turn: grey(call(nodes, "ImageRotate", image=image, rotation=turn)[0]) for turn in ("none", "90 degrees")}
    assert turned == {"none": grey(image), "90 degrees": [[0.3, 0.1], [0.4, 0.2]]}
    assert grey(call(nodes, "ImageFlip", image=image, flip_method="x-axis: vertically")[0]) == [[0.3, 0.4], [0.1, 0.2]]
    assert grey(call(nodes, "ImageFlip", image=image, flip_method="y-axis: horizontally")[0])[0] == [0.2, 0.1]


@pytest.mark.parametrize(
    ("direction", "expected"),
    [
        ("right", [[0.5, 1, 1, 0.2]]),
        ("left", [[0.2, 1, 1, 0.5]]),
        ("down", [[0.5], [1], [1], [0.2]]),
        ("up", [[0.2], [1], [1], [0.5]]),
    ],
)
def test_images_are_stitched_in_four_directions(nodes: Registry, direction: str, expected: list[list[float]]) -> None:
    """An odd spacing is rounded up to an even one, red in the first channel."""
    given = {"image1": rows([0.5]), "image2": rows([0.2]), "match_image_size": True}
    joined = call(nodes, "ImageStitch", **given, direction=direction, spacing_width=1, spacing_color="red")[0]
    assert grey(joined) == expected
    assert joined[..., 1].max() < 1


def test_stitching_centres_the_smaller_and_repeats_the_last_frame(nodes: Registry) -> None:
    """Three rows beside one: white above and below; a batch of one beside two frames."""
    small, large = rows([0.5]).repeat(2, 1, 1, 1), rows([0.1], [0.2], [0.3])
    given = {"image1": large, "image2": small, "direction": "right", "match_image_size": False}
    joined = call(nodes, "ImageStitch", **given, spacing_width=0, spacing_color="white")[0]
    assert joined.shape == (2, 3, 2, 3)
    assert grey(joined) == [[0.1, 1], [0.2, 0.5], [0.3, 1]]


def test_padding_for_outpainting_fades_towards_padded_edges_only(nodes: Registry) -> None:
    """Borders are grey; inside, the mask falls with the square of the distance from the padded side."""
    image = torch.zeros(1, 8, 8, 3)
    padded, mask = call(nodes, "ImagePadForOutpaint", image=image, left=8, top=0, right=0, bottom=0, feathering=2)
    assert (padded[0, :, :8] == 0.5).all()
    assert mask[0, 4].tolist() == [*[1.0] * 8, 1.0, 0.25, *[0.0] * 6]


def test_fitting_into_a_frame_fills_the_rest(nodes: Registry) -> None:
    """A wide image in a square: bars of colour above and below."""
    given = {"target_width": 4, "target_height": 4, "interpolation": "nearest-exact"}
    framed = call(nodes, "ResizeAndPadImage", image=rows([0.5, 0.5]), padding_color="white", **given)[0]
    assert [line[0] for line in grey(framed)] == [1, 0.5, 0.5, 1]


def test_batches_are_repeated_cut_and_measured(nodes: Registry) -> None:
    """An index past the end means the last frame."""
    batch = torch.stack([torch.full((2, 5, 3), value) for value in (0.1, 0.2)])
    assert call(nodes, "RepeatImageBatch", image=batch, amount=3)[0].shape[0] == 6
    assert grey(call(nodes, "ImageFromBatch", image=batch, batch_index=9, length=4)[0])[0][0] == 0.2
    assert tuple(call(nodes, "GetImageSize", image=batch)) == (5, 2, 2)


def test_lists_of_batches_are_cut_anew(nodes: Registry) -> None:
    """3 + 1 + 1 frames by twos: 2, 2, 1; frames of other sizes cannot share a batch."""
    lists = [torch.zeros(count, 4, 4, 3) for count in (3, 1, 1)]
    cut = call(nodes, "RebatchImages", images=lists, batch_size=[2])[0]
    assert [len(batch) for batch in cut] == [2, 2, 1]
    with pytest.raises(InputRefused, match="different sizes"):
        call(nodes, "RebatchImages", images=[torch.zeros(1, 4, 4, 3), torch.zeros(1, 5, 4, 3)], batch_size=[2])


@pytest.mark.parametrize(
    ("mode", "expected"),
    [
        ("normal", 0.2),
        ("multiply", 0.12),
        ("screen", 0.68),
        ("overlay", 0.36),
        ("soft_light", 0.456),
        ("difference", 0.4),
    ],
)
def test_blend_modes_by_their_formulas(nodes: Registry, mode: str, expected: float) -> None:
    """0.6 under 0.2 at full strength; at half strength halfway there."""
    given = {"image1": rows([0.6]), "image2": rows([0.2]), "blend_mode": mode}
    assert grey(call(nodes, "ImageBlend", **given, blend_factor=1.0)[0]) == [[expected]]
    assert grey(call(nodes, "ImageBlend", **given, blend_factor=0.5)[0]) == [[round((0.6 + expected) / 2, 4)]]


def test_a_blur_keeps_flat_places_and_spreads_a_point(nodes: Registry) -> None:
    """The kernel sums to 1 and is symmetrical; sharpening a flat image changes nothing."""
    point = torch.zeros(1, 9, 9, 3)
    point[0, 4, 4] = 1
    blurred = call(nodes, "ImageBlur", image=point, blur_radius=2, sigma=1.0)[0]
    assert blurred[..., 0].sum().item() == pytest.approx(1, abs=1e-6)
    assert torch.allclose(blurred, blurred.flip(1).transpose(1, 2), atol=1e-7)
    flat = torch.full((1, 3, 3, 3), 0.3)
    for cls, given in (("ImageBlur", {"blur_radius": 9}), ("ImageSharpen", {"sharpen_radius": 9, "alpha": 1.0})):
        assert torch.allclose(call(nodes, cls, image=flat, sigma=1.0, **given)[0], flat, atol=1e-5)


def test_mirroring_goes_back_and_forth_in_short_images() -> None:
    """Reach beyond the length turns round as often as needed."""
    assert mirrored(3, 5).tolist() == [1, 0, 1, 2, 1, 0, 1, 2, 1, 0, 1, 2, 1]
    assert mirrored(1, 2).tolist() == [0] * 5


def test_dithering_by_the_threshold_matrix(nodes: Registry) -> None:
    """Bayer's matrix of 4 as published; two colours stay two colours, and dithering mixes them."""
    assert bayer(4).tolist() == [[0, 8, 2, 10], [12, 4, 14, 6], [3, 11, 1, 9], [15, 7, 13, 5]]
    ramp = rows(*[[step / 15 for step in range(16)]] * 16)
    for dither in ("none", "floyd-steinberg", "bayer-2", "bayer-16"):
        made = call(nodes, "ImageQuantize", image=ramp, colors=2, dither=dither)[0]
        assert len(torch.unique(made)) == 2
    assert len({tuple(row) for row in grey(made)}) > 1


def test_morphology_on_one_bright_pixel(nodes: Registry) -> None:
    """Dilation makes a square of it, erosion removes it, the gradient is their difference."""
    point = torch.zeros(1, 7, 7, 3)
    point[0, 3, 3] = 1
    results = {
        operation: call(nodes, "Morphology", image=point, operation=operation, kernel_size=3)[0][..., 0].sum().item()
        for operation in ("erode", "dilate", "open", "close", "gradient", "bottom_hat", "top_hat")
    }
    assert results == {
        "erode": 0, "dilate": 9, "open": 0, "close": 1, "gradient": 9, "bottom_hat": 0, "top_hat": 1
    }  # fmt: skip


def test_luma_and_chroma_come_back_as_colours(nodes: Registry) -> None:
    """Grey has no chroma; any colour survives the round trip."""
    image = torch.rand(1, 4, 5, 3, generator=torch.Generator().manual_seed(3))
    y, u, v = call(nodes, "ImageRGBToYUV", image=image)
    assert torch.allclose(call(nodes, "ImageYUVToRGB", Y=y, U=u, V=v)[0], image, atol=1e-5)
    assert torch.allclose(call(nodes, "ImageRGBToYUV", image=rows([0.4]))[1], torch.tensor(0.5))


def test_edges_of_a_step_are_one_line(nodes: Registry) -> None:
    """Of the two equal columns at a step the left one; weak edges count only beside strong ones."""
    step = rows(*[[0.0] * 8 + [1.0] * 8] * 12)
    edges = call(nodes, "Canny", image=step, low_threshold=0.1, high_threshold=0.3)[0]
    assert [round(value) for value in edges[0, 6, :, 0].tolist()] == [0] * 7 + [1] + [0] * 8
    assert call(nodes, "Canny", image=step * 0.05, low_threshold=0.1, high_threshold=0.9)[0].max() == 0
    with pytest.raises(InputRefused, match="above the high one"):
        call(nodes, "Canny", image=step, low_threshold=0.5, high_threshold=0.3)


def test_porter_and_duff_by_hand(nodes: Registry) -> None:
    """Masks are 1 where transparent: a half transparent white over opaque black is mid grey."""
    white, black = rows([1.0]), rows([0.0])
    half, none = torch.full((1, 1, 1), 0.5), torch.zeros(1, 1, 1)
    given = {"source": white, "source_alpha": half, "destination": black, "destination_alpha": none}
    results = {
        mode: [out.flatten()[0].item() for out in call(nodes, "PorterDuffImageComposite", **given, mode=mode)]
        for mode in ("SRC", "DST", "CLEAR", "SRC_OVER", "SRC_IN", "DST_OUT", "XOR", "MULTIPLY")
    }
    assert results == {
        "SRC": [1, 0.5],
        "DST": [0, 0],
        "CLEAR": [0, 1],
        "SRC_OVER": [0.5, 0],
        "SRC_IN": [1, 0.5],
        "DST_OUT": [0, 0.5],
        "XOR": [0, 0.5],
        "MULTIPLY": [0, 0.5],
    }


def test_alpha_is_split_off_and_joined(nodes: Registry) -> None:
    """The mask is 1 - alpha both ways."""
    image = torch.rand(1, 3, 3, 4, generator=torch.Generator().manual_seed(1))
    colours, mask = call(nodes, "SplitImageWithAlpha", image=image)
    assert torch.equal(mask, 1 - image[..., 3])
    assert torch.allclose(call(nodes, "JoinImageWithAlpha", image=colours, alpha=mask)[0], image)


def test_an_image_is_laid_into_another_through_a_mask(nodes: Registry) -> None:
    """Half a mask mixes; what lies outside is cut; an image without alpha is opaque in one that has it."""
    below = rows(*[[0.0] * 3] * 3)
    given = {"destination": below, "source": rows([1.0, 1.0]), "x": 2, "y": 1, "resize_source": False}
    mixed = call(nodes, "ImageCompositeMasked", **given, mask=torch.full((1, 1, 2), 0.5))[0]
    assert grey(mixed) == [[0, 0, 0], [0, 0, 0.5], [0, 0, 0]]
    given["destination"] = torch.zeros(1, 3, 3, 4)
    assert call(nodes, "ImageCompositeMasked", **given)[0][0, 1, 2].tolist() == [1, 1, 1, 1]
    assert below.max() == 0


def test_tiles_begin_where_comfyui_cuts_them() -> None:
    """The last tile is what is left, larger than the overlap."""
    assert starts(600, 512, 32) == [0, 480]
    assert starts(512, 512, 32) == [0]
    assert starts(513, 512, 32) == [0, 480]


def test_animations_carry_their_workflow(nodes: Registry, tmp_path: Path) -> None:
    """WebP in EXIF, PNG in chunks behind the pictures; both with the right number of frames and pace."""
    images = torch.rand(3, 8, 9, 3, generator=torch.Generator().manual_seed(1))
    told = {"prompt": {"a": 1}, "extra_pnginfo": {"workflow": [2]}}
    webp = call(
        nodes, "SaveAnimatedWEBP",
        images=images, filename_prefix="x/w", fps=8.0, lossless=True, quality=80, method="fastest", **told,
    )  # fmt: skip
    assert webp == {
        "images": [{"filename": "w_00001_.webp", "subfolder": "x", "type": "output"}],
        "animated": (True,),
    }
    with Image.open(tmp_path / "output/x/w_00001_.webp") as opened:
        assert opened.n_frames == 3
        assert dict(opened.getexif()) == {0x110: 'prompt:{"a": 1}', 0x10F: "workflow:[2]"}
        opened.seek(2)
        opened.load()
        assert opened.info["duration"] == 125
        assert (np.asarray(opened) == (images[2].numpy() * 255).astype(np.uint8)).all()
    call(nodes, "SaveAnimatedPNG", images=images, filename_prefix="p", fps=8.0, compress_level=9, **told)
    assert chunks(tmp_path / "output/p_00001_.png") == [b'prompt\0{"a": 1}', b"workflow\0[2]"]


def chunks(path: Path) -> list[bytes]:
    """What the private chunks of a PNG file hold."""
    file, found = io.BytesIO(path.read_bytes()[8:]), []
    while head := file.read(8):
        length, kind = struct.unpack(">I4s", head)
        body = file.read(length + 4)[:-4]
        if kind == b"comf":
            found.append(body)
    return found


def test_drawings_carry_their_workflow(nodes: Registry, tmp_path: Path) -> None:
    """A metadata element behind the root's tag, closed even when the workflow holds the closing mark."""
    drawing = SimpleNamespace(data=[io.BytesIO(b'<?xml version="1.0"?><svg width="1"><g/></svg>')])
    call(nodes, "SaveSVGNode", svg=drawing, prompt={"a": "]]>"})
    root = ElementTree.parse(tmp_path / "output/svg/ComfyUI_00001_.svg").getroot()
    assert json.loads(root[0].text or "") == {"prompt": {"a": "]]>"}}
    assert root[1].tag == "g"
    with pytest.raises(InputRefused, match="streams"):
        call(nodes, "SaveSVGNode", svg="text")


def test_images_for_the_socket_are_previews_of_their_own_size(nodes: Registry) -> None:
    """Each frame is one step of progress, as PNG, unscaled; nothing is shown or written."""
    heard: list[Any] = []
    token = scope.set(Scope("p", "n", lambda *said: heard.append(said), lambda: False))
    try:
        assert call(nodes, "SaveImageWebsocket", images=torch.zeros(2, 4, 6, 3)) == {}
    finally:
        scope.reset(token)
    assert [(said[1], said[2], said[3][0], said[3][1].size, said[3][2]) for said in heard] == [
        (0, 2, "PNG", (6, 4), None),
        (1, 2, "PNG", (6, 4), None),
    ]


def test_long_work_can_be_interrupted(nodes: Registry) -> None:
    """Growing a mask, blurring and dilation all ask between steps."""
    token = scope.set(Scope("p", "n", lambda *said: None, lambda: True))
    image = torch.zeros(1, 8, 8, 3)
    try:
        with pytest.raises(Interrupted):
            call(nodes, "GrowMask", mask=torch.zeros(1, 8, 8), expand=5, tapered_corners=True)
        with pytest.raises(Interrupted):
            call(nodes, "ImageBlur", image=image, blur_radius=1, sigma=1.0)
        with pytest.raises(Interrupted):
            call(nodes, "Morphology", image=image, operation="dilate", kernel_size=3)
    finally:
        scope.reset(token)


def test_kontext_sizes_follow_the_proportions(nodes: Registry) -> None:
    """A square becomes 1024 x 1024, a wide image the widest size."""
    assert call(nodes, "FluxKontextImageScale", image=rows([0.5]))[0].shape == (1, 1024, 1024, 3)
    assert call(nodes, "FluxKontextImageScale", image=rows([0.5] * 9))[0].shape == (1, 672, 1568, 3)


def test_compression_leaves_marks_but_keeps_the_picture(nodes: Registry) -> None:
    """Odd sides lose a pixel; 0 changes nothing; a single pixel is refused."""
    image = torch.linspace(0, 1, 33 * 21).reshape(1, 21, 33, 1).expand(-1, -1, -1, 3)
    made = call(nodes, "LTXVPreprocess", image=image, img_compression=30)[0]
    assert made.shape == (1, 20, 32, 3)
    assert 0 < (made - image[:, :20, :32]).abs().mean() < 0.05
    assert call(nodes, "LTXVPreprocess", image=image, img_compression=0)[0] is image
    with pytest.raises(InputRefused, match="2 x 2"):
        call(nodes, "LTXVPreprocess", image=rows([0.5]), img_compression=30)


def test_noise_means_the_same_for_a_seed(nodes: Registry) -> None:
    """The same seed gives the same noise; strength 0 none; values stay in 0..1."""
    image = rows([0.5] * 9)
    first, again, other = (
        call(nodes, "ImageAddNoise", image=image, seed=seed, strength=0.9)[0] for seed in (2**64 - 1, 2**64 - 1, 1)
    )
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert 0 <= first.min() <= first.max() <= 1
    assert torch.equal(call(nodes, "ImageAddNoise", image=image, seed=0, strength=0.0)[0], image)


def test_a_folder_of_images_is_a_batch(nodes: Registry, tmp_path: Path) -> None:
    """By name; the first decides the size, the others are cut or stretched to it, or refused."""
    folder = tmp_path / "input/set/part"
    folder.mkdir(parents=True)
    Image.new("RGB", (4, 2), (255, 0, 0)).save(folder / "a.png")
    Image.new("RGB", (2, 4), (0, 0, 255)).save(folder / "b.png")
    (folder / "a.txt").write_text("a caption")
    cls: Any = nodes["LoadImageSetFromFolderNode"]
    assert cls.INPUT_TYPES()["required"]["folder"][0] == ["set", "set/part"]
    cut, stretched = (
        call(nodes, "LoadImageSetFromFolderNode", folder="set/part", resize_method=method)[0]
        for method in ("Crop", "Stretch")
    )
    assert cut[1, 0, :, 2].tolist() == [1, 1, 0, 0]
    assert stretched[1, 0, :, 2].tolist() == [1, 1, 1, 1]
    for name, method, reason in (
        ("set/part", "None", "resize method"),
        ("set", "Crop", "no image"),
        ("..", "Crop", "outside"),
    ):
        with pytest.raises(InputRefused, match=reason):
            call(nodes, "LoadImageSetFromFolderNode", folder=name, resize_method=method)


def test_what_was_drawn_of_a_model_is_read(nodes: Registry, tmp_path: Path) -> None:
    """Files by name, the camera as given, models found below 3d; a drawing that was not uploaded is said."""
    (tmp_path / "input/3d/deep").mkdir(parents=True)
    (tmp_path / "input/3d/deep/box.GLB").write_bytes(b"")
    (tmp_path / "input/3d/readme.txt").write_bytes(b"")
    Image.new("RGBA", (3, 2), (255, 0, 0, 0)).save(tmp_path / "temp/seen.png")
    cls: Any = nodes["Load3D"]
    assert cls.INPUT_TYPES()["required"]["model_file"][0] == ["3d/deep/box.GLB"]
    drawn = dict.fromkeys(("image", "mask", "normal", "lineart"), "seen.png [temp]") | {"camera_info": {"x": 1}}
    image, mask, path, normal, lineart, camera, video = call(nodes, "Load3D", model_file="m", image=drawn)
    assert (image.shape, mask.min().item(), path, camera, video) == ((1, 2, 3, 3), 1, "m", {"x": 1}, None)
    assert torch.equal(normal, lineart)
    assert len(call(nodes, "Load3DAnimation", model_file="m", image=drawn)) == 6
    with pytest.raises(InputRefused, match="normal is missing"):
        call(nodes, "Load3D", model_file="m", image={**drawn, "normal": ""})
    assert call(nodes, "Preview3D", model_file="m", camera_info={"x": 1}) == {"result": ["m", {"x": 1}]}


def test_packs_inherit_from_the_saving_nodes(nodes: Registry, tmp_path: Path) -> None:
    """The way packs do it: their own type, prefix and compression, set in their constructor without ours."""
    base: Any = nodes["SaveImage"]

    class Own(base):
        def __init__(self) -> None:
            self.output_dir = "/elsewhere"
            self.type = "temp"
            self.prefix_append = "_own"
            self.compress_level = 0

    image = torch.zeros(1, 20, 30, 3)
    shown = Own().save_images(image, "a/b")["ui"]["images"]
    assert shown == [{"filename": "b_own_00001_.png", "subfolder": "a", "type": "temp"}]
    assert (tmp_path / "temp/a/b_own_00001_.png").stat().st_size > 30 * 20 * 3
    assert Own().output_dir == str(tmp_path / "temp")
    preview = nodes["PreviewImage"]().save_images(image, filename_prefix="pack/")["ui"]["images"][0]
    assert (preview["subfolder"], preview["filename"][:6], preview["type"]) == ("pack", "_temp_", "temp")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no device that is always full")
def test_a_picture_that_does_not_fit_leaves_no_part_of_a_file(tmp_path: Path) -> None:
    """Who finds a file finds a whole one."""
    path = tmp_path / "part.png"
    path.symlink_to("/dev/full")
    with pytest.raises(OSError, match="No space left"):
        write_png(Image.new("RGB", (64, 64)), path, None, 1)
    assert list(tmp_path.iterdir()) == []
    write_png(Image.new("RGB", (64, 64), "red"), path, None, 1)
    with Image.open(path) as read:
        assert (read.size, read.getpixel((5, 5))) == ((64, 64), (255, 0, 0))


def test_a_picture_that_cannot_be_written_leaves_what_stood_there(tmp_path: Path) -> None:
    """Nothing is removed that was not begun."""
    path = tmp_path / "there.png"
    path.symlink_to(tmp_path / "gone" / "elsewhere.png")
    with pytest.raises(FileNotFoundError):
        write_png(Image.new("RGB", (8, 8)), path, None, 1)
    assert path.is_symlink()
