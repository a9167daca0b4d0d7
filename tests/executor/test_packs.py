"""Node packs of every shape, loaded and run by a real executor: what clients see of them, over HTTP and WebSocket.

The packs are in tests/packs. They also load on ComfyUI 0.3.64, where the facts compared here were seen.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from tests.executor.process import Client, Executor, n

pytestmark = pytest.mark.anyio
PACKS = Path(__file__).parents[1] / "packs"
LATER = "needs the diffusion models, which this version of comfy_core does not run yet"
BROKEN = {"import_error", "leaves", "hangs", "broken_syntax"}
SKIPPED = {"resting.disabled", "nothing_in_it", "no_package"}
NAMED = """
class PackNamed:
    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {}}
    RETURN_TYPES = ("STRING",)
    FUNCTION = "tell"
    def tell(self):
        import custom_nodes.alone
        return (custom_nodes.alone.PackAlone().run("imported by its name")[0],)
NODE_CLASS_MAPPINGS = {"PackNamed": PackNamed}
"""


@pytest.fixture(scope="module")
def executor(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Executor]:
    """An executor with all fixture packs, one that is no Python, and one named by itself."""
    base = tmp_path_factory.mktemp("packs")
    own = base / "custom_nodes"
    for folder in ("broken_syntax", "__pycache__", ".hidden"):
        (own / folder).mkdir(parents=True)
    (own / "broken_syntax/__init__.py").write_text("def half(:\n")
    (own / "notes.txt").write_text("not a pack")
    (own / "early_fails").mkdir()
    (own / "early_fails/prestart_script.py").write_text("import sys\nsys.exit('not today')\n")
    (own / "early_fails/__init__.py").write_text(NAMED.replace("PackNamed", "PackAfterwards"))
    (base / "named.py").write_text(NAMED)
    (base / "paths.yaml").write_text(json.dumps({"tests": {"custom_nodes": str(PACKS)}}))
    running = Executor(
        base,
        *("--extra-model-paths-config", str(base / "paths.yaml"), "--custom-nodes", str(base / "named.py")),
        *("--pack-import-timeout", "5"),
    )
    yield running
    if running.process.poll() is None:
        running.stop()


async def reports(client: Client) -> dict[str, dict[str, Any]]:
    """What became of each pack, by name."""
    return {report["name"]: report for report in await client.get("/fleet/packs")}


async def shown(client: Client, prompt: dict[str, Any], **more: Any) -> dict[str, Any]:
    """What the nodes of a prompt show, once it has run."""
    entry, _ = await client.run(prompt, **more)
    assert entry["status"]["status_str"] == "success", entry["status"]
    outputs: dict[str, Any] = entry["outputs"]
    return outputs


async def text_of(client: Client, prompt: dict[str, Any], node: str, slot: int = 0) -> list[str]:
    """The values of one output, as text."""
    outputs = await shown(client, {**prompt, "o": n("PackShow", value=[node, slot])})
    text: list[str] = outputs["o"]["text"]
    return text


async def test_every_pack_is_accounted_for(client: Client) -> None:
    """2.11.2: what loads is loaded, what cannot is reported by name with its reason, and nothing else is affected."""
    found = await reports(client)
    here = {path.stem if path.is_file() else path.name for path in PACKS.iterdir() if path.name != "__pycache__"}
    assert set(found) == here | {"broken_syntax", "early_fails", "named"}
    status = {name: report["status"] for name, report in found.items()}
    assert {name for name, word in status.items() if word in ("failed", "timed_out")} == BROKEN
    assert {name for name, word in status.items() if word == "skipped"} == SKIPPED
    assert status["hangs"] == "timed_out"
    assert found["plain"]["nodes"] == ["PackAdd", "PackSteps", "PackShow", "PackSave"]
    assert found["third_version"]["nodes"] == ["PackTriple", "PackSays"]
    assert found["plain"]["path"] == str(PACKS / "plain")
    assert await client.get("/api/fleet/packs") == list(found.values())


async def test_the_reason_of_a_failure_leads_to_its_place(client: Client) -> None:
    """The error comes first, then the pack's own lines that led to it, none of the loader's."""
    found = await reports(client)
    reason = found["import_error"]["reason"]
    assert reason.startswith("ModuleNotFoundError: No module named 'no_such_module_anywhere'")
    assert "import_error/first.py" in reason
    assert "comfy_core" not in reason
    assert found["leaves"]["reason"].startswith("SystemExit: 3")
    assert found["broken_syntax"]["reason"].startswith("SyntaxError")
    assert "took longer than 5 s" in found["hangs"]["reason"]
    assert 5 <= found["hangs"]["seconds"] < 30
    assert found["early_fails"]["reason"].startswith("its prestart script failed: SystemExit: not today")
    assert (found["early_fails"]["status"], found["early_fails"]["nodes"]) == ("loaded", ["PackAfterwards"])


async def test_missing_requirements_are_named_and_nothing_is_installed(client: Client) -> None:
    """What requirements.txt, its includes and pyproject.toml ask for and is not there, version and all."""
    found = (await reports(client))["wanting"]
    pillow = next(line for line in found["missing"] if line.startswith("pillow>=999"))
    assert "is installed" in pillow
    assert [line for line in found["missing"] if line != pillow] == [
        *("no-such-package-anywhere[extra]==1.2.3", "egg-that-is-missing"),
        *("missing-by-inclusion", "missing-by-pyproject>=2"),
    ]
    assert found["status"] == "loaded"


async def test_nodes_of_packs_describe_themselves_as_on_comfyui(client: Client) -> None:
    """1.2 /object_info: python_module, names and defaults of categories, as ComfyUI answers for the same packs."""
    described = await client.get("/object_info")
    facts = {
        "PackAlone": ("custom_nodes.alone", "PackAlone", "pack/alone"),
        "PackAdd": ("custom_nodes.plain", "Add (pack)", "pack/plain"),
        "PackDash": ("custom_nodes.with-a-dash", "Dash", "pack/dash"),
        "PackDeep": ("custom_nodes.relative", "PackDeep of relative", "sd"),
        "PackTriple": ("custom_nodes.third_version", "Triple", "pack/v3"),
        "PackHalf": ("custom_nodes.third_alone", None, "sd"),
        "PackSave": ("custom_nodes.plain", "PackSave", "pack/plain"),
        "SaveImage": ("nodes", "Save Image", "image"),
    }
    for name, (module, display, category) in facts.items():
        entry = described[name]
        assert (entry["python_module"], entry["display_name"], entry["category"]) == (module, display, category), name
    assert described["PackAdd"]["input"]["required"]["a"] == ["INT", {"default": 1, "min": 0, "max": 99}]
    assert described["PackTriple"]["output_name"] == ["three times"]
    assert described["PackSave"]["output_node"] is True


async def test_a_pack_cannot_take_a_built_in_nodes_place(client: Client) -> None:
    """2.11.2: SaveImage stays ours; a class that cannot be described is left out of the list, the others stay."""
    found = (await reports(client))["taking"]
    assert found["nodes"] == ["PackBroken"]
    assert "SaveImage is a built-in node" in found["reason"]
    described = await client.get("/object_info")
    assert "images" in described["SaveImage"]["input"]["required"]
    assert "PackBroken" not in described


async def test_simple_nodes_run(client: Client, executor: Executor) -> None:
    """3.2 V1 classes, an any-type, a progress bar, and a subclass of SaveImage."""
    prompt = {
        "sum": n("PackAdd", a=4, b=5),
        "walk": n("PackSteps", steps=["sum", 0]),
        "show": n("PackShow", value=["walk", 0]),
        "image": n("EmptyImage", width=8, height=8, batch_size=1, color=3),
        "save": n("PackSave", images=["image", 0], filename_prefix="x"),
    }
    entry, heard = await client.run(prompt)
    assert entry["outputs"]["show"] == {"text": ["walk took 9 steps on cpu"]}
    steps = [m["data"] for m in heard if m["type"] == "progress"]
    assert [(step["value"], step["max"]) for step in steps] == [(i, 9) for i in range(1, 10)]
    assert entry["outputs"]["save"]["files"] == ["x_00001_.png"]
    assert (executor.base / "output/pack/x_00001_.png").is_file()


@pytest.mark.parametrize(
    ("class_type", "said"),
    [
        ("PackDash", "dash"),
        ("PackInner", "relative"),
        ("PackWanting", "all the same"),
        ("PackNamed", "IMPORTED BY ITS NAME"),
        ("PackEarly", "False True"),
    ],
)
async def test_packs_of_several_files_run(client: Client, class_type: str, said: str) -> None:
    """2.11.1: dashes in names, relative imports, a file named by itself; prestart scripts run before torch is there."""
    assert await text_of(client, {"a": n(class_type)}, "a") == [said]


async def test_modules_are_named_by_their_path(client: Client) -> None:
    """2.11.1: dots of the path are no dots of the module name, and late relative imports work."""
    (said,) = await text_of(client, {"a": n("PackDeep")}, "a")
    assert said.split()[:2] == ["relative", "relative"]
    assert int(said.split()[2]) == str(PACKS).count(".")


async def test_newer_packs_run(client: Client) -> None:
    """2.10.1, 2.10.2: entry points, asynchronous and not; on_load was awaited; hidden values are there."""
    prompt = {
        "three": n("PackTriple", value=14),
        "half": n("PackHalf", value=["three", 0]),
        "say": n("PackSays", value=["half", 0]),
    }
    outputs = await shown(client, prompt)
    assert outputs["say"] == {"text": ["say: 21 ['on_load']"]}


async def test_a_node_becomes_a_graph(client: Client) -> None:
    """2.7.3: the graph a pack builds runs, with links into the outer graph."""
    prompt = {"base": n("PackAdd", a=1, b=2), "power": n("PackPower", base=["base", 0], times=4)}
    assert await text_of(client, prompt, "power") == ["81"]
    assert await text_of(client, prompt, "power", 1) == ["True"]


async def test_waiting_nodes_run_at_the_same_time(client: Client) -> None:
    """2.4.8: three nodes that each wait for the other two all end."""
    prompt = {who: n("PackMeet", name=client.client_id, expected=3, who=who) for who in "abc"}
    prompt |= {f"show {who}": n("PackShow", value=[who, 0]) for who in "abc"}
    outputs = await shown(client, prompt)
    assert {outputs[f"show {who}"]["text"][0] for who in "abc"} == {f"{who} met 3" for who in "abc"}


async def test_only_the_chosen_branch_runs(client: Client) -> None:
    """2.5.1: what is not asked for is not executed."""
    prompt = {
        "a": n("PackCounted", value=1),
        "b": n("PackCounted", value=2),
        "choose": n("PackChoose", first=False, a=["a", 0], b=["b", 0]),
        "show": n("PackShow", value=["choose", 1]),
    }
    entry, heard = await client.run(prompt)
    assert entry["outputs"]["show"] == {"text": ["None/2"]}
    assert {"b"} == {m["data"]["node"] for m in heard if m["type"] == "executing"} & {"a", "b"}


async def test_lists_are_given_and_taken(client: Client) -> None:
    """2.4.2, 2.4.3: a list output makes the next node run once per value; a list input takes them all in one call."""
    prompt = {
        "count": n("PackCountTo", last=4),
        "more": n("PackAdd", a=["count", 0], b=10),
        "join": n("PackJoin", values=["more", 0], between="+"),
    }
    assert await text_of(client, prompt, "join") == ["11+12+13+14"]
    assert await text_of(client, prompt, "more") == ["11", "12", "13", "14"]


async def test_routes_of_packs_answer(client: Client, executor: Executor) -> None:
    """3.2 PromptServer.instance.routes with twins under /api; what is added to the application itself has none."""
    assert await client.get("/own_routes/hello?name=you") == {"hello": "you"}
    assert await client.get("/api/own_routes/hello") == {"hello": "you"}
    status, _ = await client.post("/api/own_routes/keep/k", {"a": 1})
    assert status == 200
    about = await client.get("/own_routes/server")
    assert (about["same"], about["port"], about["loop"]) == (True, executor.port, True)
    assert client.client_id in about["sockets"]
    assert about["queue"] == [0, 0, 0]
    assert (about["address"], about["web root"]) == ("127.0.0.1", True)
    assert about["info"] == {"exec_info": {"queue_remaining": 0}}
    for path, status in {
        "/own_static/note.txt": 200,
        "/own_routes/direct": 200,
        "/api/own_routes/direct": 404,
        "/own_routes/fails": 500,
        "/own_routes/none": 404,
    }.items():
        async with client.session.get(executor.url + path) as answer:
            assert answer.status == status, path


async def test_events_of_packs_reach_their_clients(client: Client, executor: Executor) -> None:
    """1.5 own events, 1.5 binary 3: any name, numbers with bytes, progress text, from a thread of the pack's own."""
    async with aiohttp.ClientSession() as session:
        other = Client(executor.url, session, "other")
        await other.connect()
        prompt_id = await client.queue({"t": n("PackTells", text="héllo")})
        mine, theirs = await everything(client, prompt_id), await everything(other, prompt_id)
        await other.socket.close()
    texts = {m["type"]: m["data"] for m in mine if isinstance(m, dict)}
    assert texts["own_routes.said"] == {"text": "héllo", "node": "t"}
    assert texts["executed"]["output"] == {"client": [client.client_id]}
    binary = [m for m in mine if isinstance(m, bytes)]
    assert struct.pack(">I", 77) + "héllo".encode() in binary
    assert struct.pack(">II", 3, 1) + b"t" + "héllo".encode() in binary
    assert [m["data"] for m in theirs if isinstance(m, dict) and m["type"] == "own_routes.all"] == [{"text": "héllo"}]
    assert not [m for m in theirs if isinstance(m, bytes) or m["type"] == "own_routes.said"]


async def everything(client: Client, prompt_id: str) -> list[Any]:
    """All messages, binary ones too, until this prompt is done and nothing waits: the last is a status."""
    heard: list[Any] = []
    while True:
        message = await client.socket.receive(timeout=30)
        heard.append(json.loads(message.data) if message.type is aiohttp.WSMsgType.TEXT else message.data)
        last = heard[-1]
        if isinstance(last, dict) and last["type"] == "status":
            left = last["data"]["status"]["exec_info"]["queue_remaining"]
            if left == 0 and await client.get(f"/history/{prompt_id}"):
                return heard


async def test_prompts_pass_through_handlers_before_they_are_validated(client: Client) -> None:
    """1.1 POST /prompt, 2.1.1: a pack's on_prompt handler changes the prompt; one that raises is passed over."""
    entry, heard = await client.run({"a": n("PackAlone", text="<who>"), "o": n("PackShow", value=["a", 0])})
    assert entry["outputs"]["o"] == {"text": [client.client_id.upper()]}
    assert {"type": "events.replaced", "data": {"input": "text"}} in heard
    status, body = await client.post("/prompt", ["not an object"])
    assert (status, body["error"]["type"]) == (400, "no_prompt")


async def test_files_for_the_browser_are_served(client: Client, executor: Executor) -> None:
    """1.2 /extensions: by WEB_DIRECTORY and by pyproject.toml, scripts listed, other files served, nothing beyond."""
    listed = await client.get("/extensions")
    assert [path for path in listed if "browser" in path] == [
        *("/extensions/browser_files/main.js", "/extensions/browser_files/parts/part.js"),
        "/extensions/browser-by-toml/toml.js",
    ]
    for path, status in {
        "/extensions/browser_files/main.js": 200,
        "/extensions/browser_files/style.css": 200,
        "/extensions/browser_files/none.js": 404,
        "/extensions/browser_files": 403,
        "/extensions/browser_files/%2e%2e/__init__.py": 404,
        "/extensions/plain/__init__.py": 404,
        "/extensions/browser_files/%00": 404,
    }.items():
        async with client.session.get(executor.url + path) as answer:
            assert answer.status == status, path
    async with client.session.get(f"{executor.url}/extensions/browser_files/main.js") as answer:
        assert answer.headers["Cache-Control"] == "no-cache"
        assert "javascript" in answer.content_type


async def test_translations_and_example_workflows(client: Client, executor: Executor) -> None:
    """1.2 /i18n: all packs' texts merged by language; /workflow_templates lists examples and serves them."""
    texts = await client.get("/i18n")
    assert texts["de"] == {"greeting": "hallo", "commands": {"go": {"label": "Los"}}}
    assert texts["en"]["nested"] == {"a": "one", "b": "two"}
    assert texts["en"]["nodeDefs"] == {"PackAdd": {"display_name": "Add"}}
    assert await client.get("/workflow_templates") == {"browser_files": ["first"]}
    assert (await client.get("/api/workflow_templates/browser_files/first.json"))["version"] == 0.4
    for name in ("none.json", "..%2f__init__.py"):
        async with client.session.get(f"{executor.url}/api/workflow_templates/browser_files/{name}") as answer:
            assert answer.status == 404


async def test_packs_reach_the_modules_they_know(client: Client, executor: Executor) -> None:
    """3.2 nodes, execution and comfy_execution: live tables, facts, and clear words for what is not there."""
    facts = await client.get("/reaching/facts")
    assert facts == {
        "same class": True,
        "method": "load_image",
        "resolution": 16384,
        "web": ["browser-by-toml", "browser_files"],
        "input": ["INT", "required", {"default": 1, "min": 0, "max": 99}],
        "none": [None, None, None],
        "fits": [True, False, False, False, True],
        "names": "ValueError aiohttp.web_request.Request",
        "misspelt": False,
        "refusal": f"nodes.common_ksampler {LATER}",
        "loaded": None,
    }
    later = executor.base / "later.py"
    later.write_text(NAMED.replace("PackNamed", "PackLater").replace('("STRING",)', '("STRING", "INT")'))
    assert (await client.get(f"/reaching/facts?path={later}"))["loaded"] is True
    assert (await client.get("/object_info/PackLater"))["PackLater"]["output"] == ["STRING", "INT"]
    assert (await reports(client))["later"]["nodes"] == ["PackLater"]
    assert (await client.get(f"/reaching/facts?path={executor.base}/none.py"))["loaded"] is False


async def test_node_classes_can_be_added_at_any_time(client: Client) -> None:
    """3.2 What a pack puts into nodes.NODE_CLASS_MAPPINGS exists from then on, for /object_info and for prompts."""
    await shown(client, {"a": n("PackAddsNodes", name="PackFresh")})
    assert (await client.get("/object_info/PackFresh"))["PackFresh"]["display_name"] == "Added PackFresh"
    entry, heard = await client.run({"f": n("PackFresh", stop=False), "o": n("PackShow", value=["f", 0])})
    assert entry["outputs"]["o"] == {"text": ["f True"]}
    assert {"value": 1, "max": 3, "prompt_id": entry["prompt"][1], "node": "f"} in [
        m["data"] for m in heard if m["type"] == "progress"
    ]


async def test_packs_can_stop_the_run(client: Client) -> None:
    """3.2 interrupt_processing and before_node_execution: the run is interrupted, not failed, and the next one runs."""
    entry, heard = await client.run({"w": n("PackWhere", stop=True), "o": n("PackShow", value=["w", 0])})
    assert next(m["data"]["node_id"] for m in heard if m["type"] == "execution_interrupted") == "w"
    assert entry["status"]["completed"] is False
    assert await text_of(client, {"w": n("PackWhere", stop=False)}, "w") == ["w True"]


async def test_what_needs_models_says_so_when_it_is_called(client: Client) -> None:
    """A subclass of a node that is not there yet describes itself and fails with one clear error."""
    prompt = {"e": n("PackEncode", text="x"), "o": n("PackShow", value=["e", 0])}
    _, heard = await client.run(prompt)
    error = next(m["data"] for m in heard if m["type"] == "execution_error")
    assert error["exception_message"].startswith("nodes.VAEEncode needs the diffusion models")
    assert error["node_id"] == "e"


async def test_packs_can_queue_prompts(client: Client) -> None:
    """3.2 validate_prompt and prompt_queue.put: refused as POST /prompt refuses, run as it runs."""
    status, body = await client.post(f"/reaching/queue?client={client.client_id}", {"a": n("PackAdd", a=1, b=2)})
    assert (status, body["error"]["type"]) == (400, "prompt_no_outputs")
    prompt = {"a": n("PackAdd", a=20, b=2), "o": n("PackShow", value=["a", 0])}
    status, body = await client.post(f"/reaching/queue?client={client.client_id}", prompt)
    assert status == 200
    await client.until_end("reached")
    entry = (await client.get("/history/reached"))["reached"]
    assert entry["prompt"][0] == body["number"]
    assert entry["outputs"]["o"] == {"text": ["22"]}


async def test_what_only_the_main_thread_may_do_is_done_there(client: Client) -> None:
    """A pack that sets a signal handler and starts a task at import is there, once."""
    assert await client.get("/on_main/done") == ["begun", True]
    report = (await reports(client))["on_main"]
    assert (report["status"], report["reason"]) == ("loaded", None)
