"""Section 1.2: settings, user files and what the front end asks for, on a server with one user."""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import quote

import pytest
from safetensors.torch import save_file
from torch import zeros

from tests.executor.process import Client, Executor, picture

pytestmark = pytest.mark.anyio
FACTS = {"path", "size", "modified", "created"}


async def ask(client: Client, method: str, path: str, body: Any = None, **headers: str) -> tuple[int, Any]:
    """Status and answer, JSON where it is; the path is sent as it stands."""
    from yarl import URL

    url = URL(client.url + path, encoded=True)
    data = body if isinstance(body, bytes) or body is None else json.dumps(body).encode()
    async with client.session.request(method, url, data=data, headers=headers) as answer:
        text = await answer.text()
        return answer.status, json.loads(text) if answer.content_type == "application/json" else text


def at(name: str, ending: str = "") -> str:
    """The route of a user's file, its name in one segment."""
    return f"/userdata/{quote(name, safe='')}{ending}"


async def test_settings_are_merged_and_kept(client: Client, executor: Executor) -> None:
    """1.2 /settings: POST merges, one value by its id, null for what is not set; all in comfy.settings.json."""
    assert await ask(client, "POST", "/settings", {"a.b": 1, "c": {"x": [1]}}) == (200, "")
    assert await ask(client, "POST", "/api/settings/d", "text") == (200, "")
    assert await ask(client, "POST", "/settings/e", b"null") == (200, "")
    status, said = await ask(client, "GET", "/settings")
    assert (status, said) == (200, said | {"a.b": 1, "c": {"x": [1]}, "d": "text", "e": None})
    assert await ask(client, "GET", "/settings/a.b") == (200, 1)
    assert await ask(client, "GET", "/settings/nope") == (200, None)
    stored = json.loads((executor.base / "user/default/comfy.settings.json").read_text())
    assert stored["a.b"] == 1


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"5", b"null", b'{"a": NaN}', b"[" * 100_000, b'{"a": "\xff"}'])
async def test_settings_that_are_no_object_are_refused(client: Client, body: bytes) -> None:
    """1.2 /settings: what is not a JSON object is refused and changes nothing."""
    before = await ask(client, "GET", "/settings")
    assert (await ask(client, "POST", "/settings", body))[0] == 400
    assert await ask(client, "GET", "/settings") == before


async def test_damaged_settings_are_put_aside(client: Client, executor: Executor) -> None:
    """1.2 /settings: a file that is no JSON does not stop the server, nor is it lost."""
    path = executor.base / "user/default/comfy.settings.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("{damaged")
    assert await ask(client, "GET", "/settings") == (200, {})
    assert path.with_name(path.name + ".damaged").read_text() == "{damaged"


async def test_user_files_are_stored_read_and_removed(client: Client) -> None:
    """1.2 /userdata/{file}: POST stores and answers path or facts, ?overwrite=false guards, DELETE answers 204."""
    name = "workflows/sub/ü 1.json"
    assert await ask(client, "POST", at(name), b'{"w": 1}') == (200, name)
    assert await ask(client, "GET", at(name)) == (200, {"w": 1})
    assert await ask(client, "POST", at(name, "?overwrite=false"), b"2") == (409, "File already exists")
    status, facts = await ask(client, "POST", "/api" + at(name, "?full_info=true"), b'{"w": 33}')
    assert (status, set(facts), facts["path"], facts["size"]) == (200, FACTS, name, 9)
    assert await ask(client, "DELETE", at(name)) == (204, "")
    assert (await ask(client, "GET", at(name)))[0] == 404
    assert (await ask(client, "DELETE", at(name)))[0] == 404


async def test_user_files_are_moved(client: Client) -> None:
    """1.2 /userdata/{file}/move/{dest}: into folders that are made; 404, 409 and 403 as for storing."""
    for name in ("move/a.json", "move/b.json"):
        await ask(client, "POST", at(name), b"{}")
    assert await ask(client, "POST", at("move/a.json", f"/move/{quote('new/c.json', safe='')}")) == (200, "new/c.json")
    assert (await ask(client, "POST", at("move/a.json", "/move/x.json")))[0] == 404
    taken = f"/move/{quote('new/c.json', safe='')}"
    assert (await ask(client, "POST", at("move/b.json", taken + "?overwrite=false")))[0] == 409
    status, facts = await ask(client, "POST", at("move/b.json", taken + "?full_info=true"))
    assert (status, facts["path"]) == (200, "new/c.json")
    assert (await ask(client, "POST", at("new/c.json", "/move/..%2F..%2Fx.json")))[0] == 403
    assert (await ask(client, "POST", at("../x.json", "/move/x.json")))[0] == 403


@pytest.mark.parametrize(
    ("name", "status"),
    [("../../x", 403), ("/etc/x", 403), ("a\x00b", 400), ("a" * 7000, 400), (".", 400), ("deep", 400)],
)
async def test_user_files_stay_inside(client: Client, name: str, status: int) -> None:
    """1.2 /userdata/{file}: 403 outside the user's folder, 400 for what names no file."""
    await ask(client, "POST", at("deep/inside.txt"), b"1")
    assert (await ask(client, "POST", at(name), b"1"))[0] == status
    assert (await ask(client, "DELETE", at(name)))[0] in (400, 403, 404)


async def test_user_files_behind_links_are_outside(client: Client, executor: Executor) -> None:
    """1.2 /userdata: a link that leaves the user's folder is neither read, written nor listed."""
    home = executor.base / "user/default/linked"
    home.mkdir(parents=True)
    (executor.base / "secret.txt").write_text("secret")
    (home / "out.txt").symlink_to(executor.base / "secret.txt")
    for method in ("GET", "POST", "DELETE"):
        assert (await ask(client, method, at("linked/out.txt"), b"x" if method == "POST" else None))[0] == 403
    assert await ask(client, "GET", "/userdata?dir=linked") == (200, [])
    assert (executor.base / "secret.txt").read_text() == "secret"


async def test_user_files_are_listed(client: Client) -> None:
    """1.2 /userdata?dir=: paths, facts or parts, deeper ones with recurse; hidden ones are not shown."""
    for name in ("list/a.json", "list/sub/b.json", "list/.hidden"):
        await ask(client, "POST", at(name), b"{}")
    assert await ask(client, "GET", "/userdata?dir=list") == (200, ["a.json"])
    assert await ask(client, "GET", "/userdata?dir=list&recurse=true") == (200, ["a.json", "sub/b.json"])
    _, split = await ask(client, "GET", "/userdata?dir=list&recurse=true&split=true")
    assert split == [["a.json", "a.json"], ["sub/b.json", "sub", "b.json"]]
    _, facts = await ask(client, "GET", "/userdata?dir=list&full_info=true")
    assert [set(one) for one in facts] == [FACTS]
    for query, status in (("", 400), ("?dir=", 400), ("?dir=gone", 404), ("?dir=..", 403), ("?dir=%2Fetc", 403)):
        assert (await ask(client, "GET", "/userdata" + query))[0] == status


async def test_user_files_are_listed_as_a_tree(client: Client) -> None:
    """1.2 /v2/userdata?path=: folders first, all that is below; 404 absent, 400 outside or a file."""
    for name in ("tree/a.json", "tree/sub/b.json"):
        await ask(client, "POST", at(name), b"{}")
    _, said = await ask(client, "GET", "/v2/userdata?path=tree")
    assert [(one["name"], one["path"], one["type"]) for one in said] == [
        ("sub", "tree/sub", "directory"),
        ("a.json", "tree/a.json", "file"),
        ("b.json", "tree/sub/b.json", "file"),
    ]
    assert set(said[1]) == {"name", "path", "type", "size", "modified"}
    for path, status in (("gone", 404), ("..", 400), ("/etc", 400), ("tree/a.json", 400), ("a%00", 400)):
        assert (await ask(client, "GET", f"/v2/userdata?path={path}"))[0] == status


async def test_one_user_needs_no_name(client: Client) -> None:
    """1.2 /users: with one user there is only where things are stored; who asks does not matter."""
    await ask(client, "POST", "/settings", {"mine": 1})
    assert await ask(client, "GET", "/users") == (200, {"storage": "server", "migrated": True})
    headers = {"comfy-user": "somebody"}
    assert (await ask(client, "GET", "/settings/mine", **headers)) == (200, 1)


async def test_model_folders_are_described(client: Client, executor: Executor) -> None:
    """1.2 /experiment/models: kinds with folders, files with facts, the picture beside or inside a model as webp."""
    folder = executor.base / "models/loras"
    (folder / "deep").mkdir(parents=True)
    save_file({"a": zeros(1)}, folder / "deep/one.safetensors", metadata={"made": "by hand"})
    save_file({"a": zeros(1)}, folder / "bare.safetensors")
    picture(folder / "deep/one.preview.png", 30, 20)
    _, kinds = await ask(client, "GET", "/experiment/models")
    known = {kind["name"]: kind["folders"] for kind in kinds}
    assert str(folder) in known["loras"]
    assert not {"configs", "custom_nodes"} & set(known)
    _, files = await ask(client, "GET", "/experiment/models/loras")
    assert sorted(one["name"] for one in files) == ["bare.safetensors", "deep/one.safetensors"]
    assert set(files[0]) == {"name", "pathIndex", "modified", "created", "size"}
    route = f"{client.url}/experiment/models/preview/loras/0/deep/one.safetensors"
    async with client.session.get(route) as answer:
        assert (answer.status, answer.content_type) == (200, "image/webp")
    for path in ("loras/0/bare.safetensors", "loras/9/x", "loras/x/x", "none/0/x", "loras/0/..%2F..%2Fx"):
        assert (await ask(client, "GET", f"/experiment/models/preview/{path}"))[0] == 404
    assert (await ask(client, "GET", "/experiment/models/none"))[0] == 404


async def test_headers_of_models_are_shown(client: Client, executor: Executor) -> None:
    """1.2 /view_metadata: the words in a .safetensors header; 404 for everything else."""
    folder = executor.base / "models/vae"
    folder.mkdir(parents=True, exist_ok=True)
    save_file({"a": zeros(1)}, folder / "said.safetensors", metadata={"made": "by hand"})
    save_file({"a": zeros(1)}, folder / "silent.safetensors")
    (folder / "broken.safetensors").write_bytes(b"\xff" * 20)
    (folder / "short.safetensors").write_bytes(b"\xff")
    assert await ask(client, "GET", "/view_metadata/vae?filename=said.safetensors") == (200, {"made": "by hand"})
    for query in ("silent.safetensors", "broken.safetensors", "short.safetensors", "x.txt", "..%2Fx.safetensors", ""):
        assert (await ask(client, "GET", f"/view_metadata/vae?filename={query}"))[0] == 404
    assert (await ask(client, "GET", "/view_metadata/none?filename=said.safetensors"))[0] == 404


async def test_the_log_and_the_folders_are_shown(client: Client, executor: Executor) -> None:
    """1.2 /internal: the log as text and in lines, the model folders, the newest files first; not under /api."""
    _, text = await ask(client, "GET", "/internal/logs")
    assert "listening" in text
    _, raw = await ask(client, "GET", "/internal/logs/raw")
    assert set(raw) == {"entries", "size"}
    assert set(raw["entries"][0]) == {"t", "m"}
    _, folders = await ask(client, "GET", "/internal/folder_paths")
    assert folders["vae"] == [str(executor.base / "models/vae")]
    _, files = await ask(client, "GET", "/internal/files/input")
    assert "small.png" in files
    assert await ask(client, "GET", "/internal/files/none") == (400, {"error": "Invalid directory type"})
    assert (await ask(client, "GET", "/api/internal/logs"))[0] == 404


async def test_stats_have_every_field(client: Client) -> None:
    """1.2 /system_stats: the fields that clients know, sizes in bytes."""
    _, stats = await ask(client, "GET", "/system_stats")
    assert set(stats["system"]) == {
        *("os", "ram_total", "ram_free", "comfyui_version", "required_frontend_version", "python_version"),
        *("installed_templates_version", "required_templates_version", "pytorch_version", "embedded_python", "argv"),
    }
    assert stats["system"]["argv"][0] == "comfy_core"
    assert [set(device) for device in stats["devices"]] == [
        {"name", "type", "index", "vram_total", "vram_free", "torch_vram_total", "torch_vram_free"}
    ]


async def test_kinds_of_models_are_named_by_their_present_name(client: Client) -> None:
    """1.2 /models: the kinds in ComfyUI's order; 404 for names that are no longer used."""
    _, kinds = await ask(client, "GET", "/models")
    assert kinds[:6] == ["checkpoints", "configs", "loras", "vae", "text_encoders", "diffusion_models"]
    for name in ("unet", "clip", "none"):
        assert (await ask(client, "GET", f"/models/{name}"))[0] == 404
