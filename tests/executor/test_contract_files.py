"""Section 1.3: files in and out over a real server. Each test names its rule."""

from __future__ import annotations

import hashlib
import io
import json
from pathlib import Path
from typing import Any
from urllib.parse import quote

import aiohttp
import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from tests.executor.process import Client

pytestmark = pytest.mark.anyio


def png(colour: tuple[int, ...] = (10, 20, 30, 77), size: tuple[int, int] = (20, 10), note: str = "") -> bytes:
    """A picture of one colour, with a note among its texts."""
    out, text = io.BytesIO(), PngInfo()
    if note:
        text.add_text("note", note)
    Image.new("RGBA" if len(colour) == 4 else "RGB", size, colour).save(out, "PNG", pnginfo=text)
    return out.getvalue()


async def upload(client: Client, name: str, content: bytes, route: str = "image", **fields: str) -> tuple[int, Any]:
    """POST /upload/...: status and answer, JSON where it is."""
    form = aiohttp.FormData(quote_fields=False)
    for key, value in fields.items():
        form.add_field(key, value)
    form.add_field("image", io.BytesIO(content), filename=name, content_type="image/png")
    async with client.session.post(f"{client.url}/upload/{route}", data=form) as answer:
        text = await answer.text()
        return answer.status, json.loads(text) if text.startswith("{") else text


async def view(client: Client, query: str, **headers: str) -> tuple[int, aiohttp.ClientResponse, bytes]:
    """GET /view?query."""
    async with client.session.get(f"{client.url}/view?{query}", headers=headers) as answer:
        return answer.status, answer, await answer.read()


async def test_uploads_keep_apart_what_differs(client: Client, inputs: Path) -> None:
    """1.3 /upload/image: same content, same name; other content, name (1), (2); overwrite replaces."""
    names = []
    for colour in ((1, 1, 1, 1), (1, 1, 1, 1), (2, 2, 2, 2), (3, 3, 3, 3), (3, 3, 3, 3)):
        status, said = await upload(client, "up.png", png(colour))
        names.append(said["name"])
        assert (status, said["subfolder"], said["type"]) == (200, "", "input")
    assert names == ["up.png", "up.png", "up (1).png", "up (2).png", "up (2).png"]
    for flag in ("true", "1"):
        assert (await upload(client, "up.png", png((9, 9, 9, 9)), overwrite=flag))[1]["name"] == "up.png"
    assert (inputs / "up.png").read_bytes() == png((9, 9, 9, 9))
    assert [path.name for path in inputs.iterdir() if path.name.startswith(".")] == []


async def test_uploads_go_to_their_folder(client: Client) -> None:
    """1.3 /upload/image: type input, temp or output, and a subfolder, which is made; /api is the same."""
    for kind in ("input", "temp", "output"):
        assert await upload(client, "there.png", png(), type=kind, subfolder="a/b") == (
            200,
            {"name": "there.png", "subfolder": "a/b", "type": kind},
        )
        assert (await view(client, f"filename=there.png&type={kind}&subfolder=a/b"))[2] == png()


@pytest.mark.parametrize(
    ("name", "fields"),
    [
        ("../../x.png", {}),
        ("a" * 5000 + ".png", {}),
        ("x.png", {"subfolder": "../.."}),
        ("x.png", {"subfolder": "/etc"}),
        ("x.png", {"subfolder": "a\x00b"}),
        ("x.png", {"subfolder": "s" * 5000}),
        ("x.png", {"type": "wrong"}),
    ],
    ids=["dots", "long", "sub-dots", "sub-absolute", "sub-nul", "sub-long", "type"],
)
async def test_uploads_that_cannot_be_stored_are_refused(client: Client, name: str, fields: dict[str, str]) -> None:
    """1.3 /upload/image: 400 for a name, subfolder or type that leads nowhere or out."""
    assert (await upload(client, name, png(), **fields))[0] == 400


async def test_forms_that_are_no_uploads_are_refused(client: Client) -> None:
    """1.3 /upload/image: 400 without a file, without a name, or without a form."""
    form = {"Content-Type": "multipart/form-data; boundary=X"}
    plain = b'--X\r\nContent-Disposition: form-data; name="type"\r\n\r\ninput\r\n--X--\r\n'
    for body, headers in (
        (plain, form),
        (b"garbage", form),
        (b"{}", {}),
        (b"", {"Content-Type": "multipart/form-data"}),
    ):
        for path in ("/upload/image", "/api/upload/mask"):
            async with client.session.post(client.url + path, data=body, headers=headers) as answer:
                assert answer.status == 400, (path, body)


async def test_a_mask_becomes_the_alpha_of_its_original(client: Client) -> None:
    """1.3 /upload/mask: alpha of the upload on the original, its PNG text kept, under the uploaded name."""
    await upload(client, "orig.png", png((10, 20, 30), note="kept"))
    reference = json.dumps({"filename": "orig.png", "subfolder": "", "type": "input"})
    mask = png((0, 0, 0, 99))
    status, said = await upload(client, "m.png", mask, "mask", original_ref=reference, subfolder="clipspace")
    assert (status, said) == (200, {"name": "m.png", "subfolder": "clipspace", "type": "input"})
    _, _, body = await view(client, "filename=m.png&type=input&subfolder=clipspace")
    with Image.open(io.BytesIO(body)) as made:
        assert (made.mode, made.getpixel((3, 3)), made.info["note"]) == ("RGBA", (10, 20, 30, 99), "kept")
    annotated = json.dumps({"filename": "orig.png [input]"})
    assert (await upload(client, "m2.png", mask, "mask", original_ref=annotated))[0] == 200


@pytest.mark.parametrize(
    ("reference", "status"),
    [
        ('{"filename": "gone.png", "type": "input"}', 400),
        ('{"filename": "../orig.png", "type": "input"}', 400),
        ('{"filename": "/orig.png", "type": "input"}', 400),
        ('{"filename": "orig.png", "type": "none"}', 400),
        ('{"filename": "orig.png", "subfolder": "../..", "type": "input"}', 403),
        ('{"filename": "", "type": "input"}', 400),
        ('{"filename": 5}', 400),
        ('{"filename": "\\ud800", "type": "input"}', 403),
        ('{"type": "input"}', 400),
        ("[]", 400),
        ("{", 400),
        ("[" * 100_000, 400),
    ],
)
async def test_references_to_no_original_are_refused(client: Client, reference: str, status: int) -> None:
    """1.3 /upload/mask: 400 for a reference that names no picture, 403 for one that leads out."""
    await upload(client, "orig.png", png((10, 20, 30), note="kept"))
    assert (await upload(client, "m3.png", png(), "mask", original_ref=reference))[0] == status


async def test_masks_that_do_not_fit_are_refused(client: Client) -> None:
    """1.3 /upload/mask: another size, no picture, or a format without alpha: 400, and nothing is stored."""
    await upload(client, "orig.png", png((10, 20, 30), note="kept"))
    reference = json.dumps({"filename": "orig.png", "type": "input"})
    for name, content in (("a.png", png(size=(5, 5))), ("b.png", b"hello"), ("c.jpg", png())):
        assert (await upload(client, name, content, "mask", original_ref=reference))[0] == 400
        assert (await view(client, f"filename={name}&type=input"))[0] == 404


async def test_views_choose_the_file(client: Client) -> None:
    """1.3 /view: type and subfolder, or ` [input]` after the name; a name's last part counts; also under /api."""
    await upload(client, "seen.png", png((5, 6, 7, 8)))
    for query in ("filename=seen.png&type=input", "filename=seen.png+%5Binput%5D", "filename=zz/seen.png&type=input"):
        status, answer, body = await view(client, query)
        assert (status, body) == (200, png((5, 6, 7, 8)))
        assert answer.headers["Content-Disposition"] == 'filename="seen.png"'
        assert answer.content_type == "image/png"
    async with client.session.get(f"{client.url}/api/view?filename=seen.png&type=input") as answer:
        assert answer.status == 200


@pytest.mark.parametrize(
    ("query", "status"),
    [
        ("filename=", 400),
        ("filename=/small.png&type=input", 400),
        ("filename=../small.png&type=input", 400),
        ("filename=a..b&type=input", 400),
        ("filename=small.png&type=zz", 400),
        ("filename=small.png&type=", 400),
        ("filename=small.png&type=input&subfolder=..", 403),
        ("filename=small.png&type=input&subfolder=/etc", 403),
        ("", 404),
        ("filename=gone.png", 404),
        ("filename=small.png", 404),
        ("filename=a%00b&type=input", 403),
        (f"filename={'a' * 5000}&type=input", 404),
        ("filename=%ED%A0%80&type=input", 404),
    ],
)
async def test_views_of_nothing_are_refused(client: Client, query: str, status: int) -> None:
    """1.3 /view: 400 for an unusable name or type, 403 outside, 404 absent."""
    assert (await view(client, query))[0] == status


async def test_links_that_leave_the_folder_are_not_followed(client: Client, inputs: Path, tmp_path: Path) -> None:
    """1.3 /view: a link to elsewhere is outside, and an upload cannot go through one."""
    (tmp_path / "secret.txt").write_text("secret")
    for name, target in (("out.txt", tmp_path / "secret.txt"), ("outside", tmp_path)):
        if not (inputs / name).is_symlink():
            (inputs / name).symlink_to(target)
    assert (await view(client, "filename=out.txt&type=input"))[0] == 403
    assert (await view(client, "filename=secret.txt&type=input&subfolder=outside"))[0] == 403
    assert (await upload(client, "new.txt", b"x", subfolder="outside"))[0] == 400
    (inputs / "out.txt").unlink()
    (inputs / "outside").unlink()


async def test_views_make_previews(client: Client) -> None:
    """1.3 /view?preview=: webp or jpeg of a quality; other words mean webp; a file that is no picture is refused."""
    await upload(client, "p.png", png())
    await upload(client, "p.txt", b"hello")
    for asked, form, mode in (("webp;90", "WEBP", "RGBA"), ("jpeg;80", "JPEG", "RGB"), ("x;y", "WEBP", "RGBA")):
        status, answer, body = await view(client, f"filename=p.png&type=input&preview={quote(asked)}")
        with Image.open(io.BytesIO(body)) as shown:
            assert (status, answer.content_type) == (200, f"image/{form.lower()}")
            assert (shown.format, shown.mode, shown.size) == (form, mode, (20, 10))
    assert (await view(client, "filename=p.png&type=input&preview=webp;" + "9" * 5000))[0] == 200
    for query in ("preview=webp;90", "channel=rgb"):
        assert (await view(client, f"filename=p.txt&type=input&{query}"))[0] == 400


async def test_views_show_channels(client: Client) -> None:
    """1.3 /view?channel=: rgb without alpha, a the alpha alone, rgba the file itself."""
    await upload(client, "c.png", png())
    for channel, mode, pixel in (("rgb", "RGB", (10, 20, 30)), ("a", "RGBA", (0, 0, 0, 77))):
        _, answer, body = await view(client, f"filename=c.png&type=input&channel={channel}")
        with Image.open(io.BytesIO(body)) as shown:
            assert (answer.content_type, shown.mode, shown.getpixel((0, 0))) == ("image/png", mode, pixel)
    assert (await view(client, "filename=c.png&type=input&channel=rgba"))[2] == png()


async def test_scripts_are_never_served_as_such(client: Client) -> None:
    """1.3 /view: html, js and css come as octet-stream; an svg stays a picture in which nothing runs."""
    for name, shown in (
        *((f"t.{ending}", "application/octet-stream") for ending in ("html", "js", "css", "xhtml", "noending")),
        ("t.svg", "image/svg+xml"),
        ("t.txt", "text/plain"),
        ("t.mp4", "video/mp4"),
    ):
        await upload(client, name, b"<b>")
        _, answer, _ = await view(client, f"filename={name}&type=input")
        assert answer.content_type == shown
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
        assert ("Content-Security-Policy" in answer.headers) == name.endswith("svg")


async def test_views_answer_ranges(client: Client) -> None:
    """1.3 /view: part of a file, and 416 for a part it does not have."""
    await upload(client, "r.png", png())
    status, answer, body = await view(client, "filename=r.png&type=input", Range="bytes=0-3")
    assert (status, body, answer.headers["Content-Range"]) == (206, png()[:4], f"bytes 0-3/{len(png())}")
    assert (await view(client, "filename=r.png&type=input", Range="bytes=99999-"))[0] == 416


async def test_large_files_come_back_as_they_went(client: Client) -> None:
    """1.3: 20 MiB through /upload/image and /view, byte for byte."""
    content = hashlib.shake_128(b"seed").digest(20 << 20)
    assert (await upload(client, "large.bin", content))[0] == 200
    back = (await view(client, "filename=large.bin&type=input"))[2]
    assert hashlib.sha256(back).digest() == hashlib.sha256(content).digest()
