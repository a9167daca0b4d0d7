"""How node packs are found, checked and guarded, part by part; tests/executor/test_packs.py shows them all at work."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from comfy_core.config import PackSettings, read_settings
from comfy_core.errors import NodeFault
from comfy_core.packs import browser, requirements
from comfy_core.packs.additions import Additions, add_routes
from comfy_core.packs.find import Pack, find
from comfy_core.packs.guard import Failed, GivenUp, in_thread, on_main_thread, stop, within
from comfy_core.packs.third import entry_nodes

ROOT = Path(__file__).resolve().parents[3]
ANY = PackSettings(named=[], disabled=False, allowed=frozenset(), timeout=1.0)


def folder(path: Path, *names: str) -> Path:
    """A folder of packs: names ending in / are packages, .py are files."""
    for name in names:
        if name.endswith("/"):
            (path / name).mkdir(parents=True)
            (path / name / "__init__.py").touch()
        else:
            path.mkdir(exist_ok=True)
            (path / name).touch()
    return path


def wanted(packs: list[Pack]) -> list[str]:
    """The names of the packs that would be imported."""
    return [pack.report.name for pack in packs if pack.wanted]


def test_folders_and_files_are_packs_and_other_things_are_not(tmp_path: Path) -> None:
    """2.11.1: packages and .py files, by name; not what is hidden, cached, disabled or no Python."""
    here = folder(tmp_path / "here", "b/", "a.py", "c.d/", "off.disabled/", "__pycache__/", ".git/", "x.py.example")
    (here / "empty").mkdir()
    packs = find([str(here), str(tmp_path / "nowhere")], ANY)
    assert wanted(packs) == ["a", "b", "c.d"]
    assert {p.report.name: p.report.reason for p in packs if not p.wanted} == {
        "empty": "there is no __init__.py in it",
        "off.disabled": "its name says that it is disabled",
    }
    names = {pack.report.name: pack.module_name for pack in packs}
    assert names["a"] == str(here / "a")
    assert names["c.d"] == str(here / "c.d").replace(".", "_x_")
    assert packs[0].shown_module == "custom_nodes.a"


def test_all_packs_can_be_left_out_but_for_those_named(tmp_path: Path) -> None:
    """1.6: --disable-all-custom-nodes and --whitelist-custom-nodes, by name or file name."""
    here = folder(tmp_path, "a.py", "b/", "c/")
    argv = ["--base-directory", str(tmp_path), "--disable-all-custom-nodes"]
    assert wanted(find([str(here)], read_settings(argv).packs)) == []
    allowed = read_settings([*argv, "--whitelist-custom-nodes", "a.py", "c"]).packs
    assert wanted(find([str(here)], allowed)) == ["a", "c"]
    only_listed = read_settings(["--whitelist-custom-nodes", "a"]).packs
    assert wanted(find([str(here)], only_listed)) == ["a", "b", "c"]


def test_packs_named_one_by_one_come_last_and_none_twice(tmp_path: Path) -> None:
    """--custom-nodes names a folder or file, again and again; one that is not there is reported."""
    here, there = folder(tmp_path / "here", "a.py"), folder(tmp_path / "there", "z/")
    argv = ["--custom-nodes", str(there / "z"), str(here / "a.py"), "--custom-nodes", str(tmp_path / "gone")]
    packs = find([str(here)], read_settings(argv).packs)
    assert wanted(packs) == ["a", "z"]
    assert [pack.report.name for pack in packs] == ["a", "z", "gone"]


@pytest.mark.parametrize(
    ("line", "named"),
    [
        ("aiohttp", []),
        ("AioHTTP >= 3 # newer", []),
        ("aiohttp>=999", ["aiohttp>=999"]),
        ("surely_not_there", ["surely_not_there"]),
        ("surely-not-there; sys_platform == 'none'", []),
        ("surely-not-there @ https://example.invalid/x.whl", ["surely-not-there @ https://example.invalid/x.whl"]),
        ("git+https://example.invalid/x.git", []),
        ("git+https://example.invalid/x.git@main#egg=surely-not-there", ["surely-not-there"]),
        ("./local.whl", []),
        ("-e .", []),
        ("-r ../outside.txt", []),
        ("-r requirements.txt", []),
        ("aiohttp>=3 --hash=sha256:00", []),
        ("not a requirement at all !!", []),
    ],
)
def test_a_line_of_requirements(tmp_path: Path, line: str, named: list[str]) -> None:
    """What is missing is named as it was asked for; what cannot be read is passed over."""
    (tmp_path / "pack").mkdir()
    (tmp_path / "outside.txt").write_text("surely-not-there")
    (tmp_path / "pack/requirements.txt").write_text(f"\ufeff{line}\n", encoding="utf-8")
    found = [text.partition(" (")[0] for text in requirements.missing(tmp_path / "pack")]
    assert found == named


def test_one_opencv_is_as_good_as_another(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A pack that asks for opencv-python is served by the headless one, which has the same module."""
    real = requirements.version
    there = {"opencv-python-headless": "4.10"}
    monkeypatch.setattr(requirements, "version", lambda name: there[name] if name in there else real(name))
    (tmp_path / "requirements.txt").write_text("opencv_python>=4\nonnxruntime\n")
    assert requirements.missing(tmp_path) == ["onnxruntime"]


@pytest.mark.parametrize("text", ["[project", "[project]\ndependencies = 3", "project = 1", "[project]\nname = 'x'"])
def test_a_damaged_pyproject_is_no_obstacle(tmp_path: Path, text: str) -> None:
    """Nothing can be said about its needs then."""
    (tmp_path / "pyproject.toml").write_text(text)
    assert requirements.missing(tmp_path) == []
    assert browser.web_folders(tmp_path, "x", None) == {}


def test_what_a_pack_raises_is_told_in_a_line_and_its_place() -> None:
    """Whatever is raised, SystemExit included, comes back as text; a KeyboardInterrupt comes back as it is."""
    with pytest.raises(Failed, match=r"^ZeroDivisionError: .*zero\n .*test_packs.py"):
        within(5, lambda: 1 // 0, "divide")
    with pytest.raises(Failed, match=r"^SystemExit"):
        within(5, sys.exit, "leave")
    with pytest.raises(KeyboardInterrupt):
        within(5, interrupted, "interrupt")
    assert within(5, lambda: 7, "seven") == 7


def interrupted() -> None:
    raise KeyboardInterrupt


def test_code_that_takes_too_long_is_stopped_at_its_next_step() -> None:
    """A loop without end ends, even one that swallows every error."""
    going = threading.Event()

    def stubborn() -> None:
        while True:
            try:
                going.set()
                time.sleep(0.001)
            except Exception:  # noqa: BLE001 - the point of this test
                continue

    with pytest.raises(TimeoutError):
        within(0.05, stubborn, "stubborn")
    thread, done = in_thread(stubborn, "stubborn")
    assert going.wait(5)
    stop(thread)
    thread.join(5)
    assert not thread.is_alive()
    with pytest.raises(Failed, match=GivenUp.__name__):
        done.result(0)


def test_the_main_thread_has_an_alarm() -> None:
    """Code that has to run there is stopped as well, and what it raises comes back as text."""
    before = signal.getsignal(signal.SIGALRM)
    with pytest.raises(TimeoutError):
        on_main_thread(0.05, threading.Event().wait)
    with pytest.raises(Failed, match=r"^SystemExit"):
        on_main_thread(5, sys.exit)
    assert on_main_thread(5, lambda: 7) == 7
    assert signal.getsignal(signal.SIGALRM) is before
    assert signal.getitimer(signal.ITIMER_REAL)[0] == 0
    with pytest.raises(Failed) as caught:
        within(5, lambda: signal.signal(signal.SIGUSR2, signal.SIG_IGN), "signals")
    assert caught.value.wants_main_thread


def test_routes_and_handlers_of_a_failed_pack_are_taken_back() -> None:
    """What was registered before stays."""
    additions = Additions()
    additions.routes.get("/one")(answer)
    additions.on_prompt.append(dict)
    mark = additions.mark()
    additions.routes.post("/two")(answer)
    additions.on_prompt.append(dict)
    additions.back_to(mark)
    assert [route.path for route in additions.routes if isinstance(route, web.RouteDef)] == ["/one"]
    assert len(additions.on_prompt) == 1


async def answer(_request: web.Request) -> web.Response:
    return web.Response()


def test_a_route_that_is_taken_does_not_keep_the_others_out() -> None:
    """It is passed over; the next one is there, with its twin."""
    app, table = web.Application(), web.RouteTableDef()
    for path in ("/one", "/one", "no slash", "/two"):
        table.get(path, name=f"n{len(table)}")(answer)
    add_routes(app, table)
    paths = {resource.canonical for resource in app.router.resources()}
    assert {"/one", "/api/one", "/two", "/api/two"} <= paths


def test_a_handler_that_gives_no_object_is_passed_over() -> None:
    """The body goes on as it was; what is no object does not reach handlers at all."""
    additions = Additions()
    additions.on_prompt += [lambda body: None, lambda body: {**body, "seen": True}]
    assert additions.changed_by_handlers({"prompt": {}}) == {"prompt": {}, "seen": True}
    assert additions.changed_by_handlers([1]) == [1]


def test_texts_are_laid_over_each_other_without_recursion() -> None:
    """Objects merge, other values replace; a deep file is no trouble."""
    under: dict[str, Any] = {"a": {"b": 1, "c": 2}, "d": {"e": 1}}
    browser.lay_over(under, {"a": {"c": 3}, "d": "text", "f": {"g": 1}})
    assert under == {"a": {"b": 1, "c": 3}, "d": "text", "f": {"g": 1}}
    deep: dict[str, Any] = {}
    for _ in range(5_000):
        deep = {"x": deep}
    browser.lay_over(deep, deep)
    assert list(deep) == ["x"]


@pytest.mark.parametrize(
    ("listed", "said"),
    [(None, "not a list"), ([3], "no ComfyNode"), ([dict], "no ComfyNode")],
)
def test_an_entry_point_must_give_node_classes(listed: Any, said: str) -> None:
    """What it gives instead is named."""

    class Extension:
        async def get_node_list(self) -> Any:
            return listed

    with pytest.raises(NodeFault, match=said):
        entry_nodes(Extension)
    with pytest.raises(NodeFault, match="not an extension"):
        entry_nodes(lambda: 5)


@pytest.mark.parametrize("flag", ["--help", "--version"])
def test_questions_are_answered_without_torch(flag: str) -> None:
    """The command line is read before torch is imported."""
    code = (
        "import sys, runpy\n"
        f"sys.argv = ['comfy_core', '{flag}']\n"
        "try: runpy.run_module('comfy_core', run_name='__main__')\n"
        "except SystemExit as end: assert not end.code\n"
        "print('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert done.stdout.endswith("False\n"), done.stderr


def test_a_server_without_packs_does_not_open_the_import_surface(tmp_path: Path) -> None:
    """With no pack the path stays as it was; with one, packs find their modules first, and `custom_nodes`."""
    code = (
        "import sys\n"
        "from comfy_core.config import read_settings\n"
        "from comfy_core.packs.prestart import prepare\n"
        "from comfy_core.surface import Surface\n"
        "before = list(sys.path)\n"
        "prepare(Surface(read_settings(['--base-directory', sys.argv[1]])))\n"
        "print(sys.path == before, sys.path[0].endswith('comfy_core/compat'), 'custom_nodes' in sys.modules,"
        " 'torch' in sys.modules)"
    )
    (tmp_path / "with/custom_nodes").mkdir(parents=True)
    (tmp_path / "with/custom_nodes/a.py").touch()
    said = [
        subprocess.run(
            [sys.executable, "-c", code, str(base)], cwd=ROOT, capture_output=True, text=True, timeout=60
        ).stdout.split()
        for base in (tmp_path, tmp_path / "with")
    ]
    assert said == [["True", "False", "False", "False"], ["False", "True", "True", "False"]]
