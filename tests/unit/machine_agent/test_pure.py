"""The agent's pure parts: progress, failures, outputs, the command line, GPU lines, delays."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from drivers.wire import AttemptId, Gpu, Job, LeaseToken, RunId
from machine_agent import verdicts
from machine_agent.backoff import Backoff
from machine_agent.comfy import preview_of
from machine_agent.config import parse
from machine_agent.identity import Identity, load, save
from machine_agent.inventory import parse_gpus, visible
from machine_agent.launch import COMFY_CORE, Program
from machine_agent.progress import Tracker
from machine_agent.uploads import made_by

WORKFLOW = {str(n): {"class_type": name, "inputs": {}} for n, name in enumerate(["Load", "Scale", "Upscale", "Save"])}
JOB = Job(RunId("r"), AttemptId("a"), 1, LeaseToken("t"), WORKFLOW, 60)


def test_progress_over_a_run() -> None:
    """The value is the share of nodes done, counts a running node in part, and ends at one."""
    tracker = Tracker(JOB)
    messages = [
        ("execution_cached", {"nodes": ["0"]}),
        ("executing", {"node": "1"}),
        ("executing", {"node": "2"}),
        ("progress", {"node": "2", "value": 1, "max": 2}),
        ("execution_success", {}),
    ]
    frames = [tracker.take(name, data) for name, data in messages]
    assert [frame and frame.value for frame in frames] == [0.25, 0.25, 0.5, 0.625, 1.0]
    assert frames[3].text == "Executing Upscale 1/2"
    assert (frames[3].node_id, frames[3].node_type) == ("2", "Upscale")


def test_progress_of_unknown_nodes() -> None:
    """Nodes that an executor made up on the way neither break nor move the value; news about nothing is no frame."""
    tracker = Tracker(JOB)
    frame = tracker.take("executing", {"node": "2.0.0.1"})
    assert frame is not None
    assert (frame.value, frame.text) == (0.0, "Executing")
    assert tracker.take("progress_state", {"nodes": {}}) is None
    assert tracker.take("progress", {"value": "x", "max": 0}) is None


def test_refused_graph_names_the_node() -> None:
    """A refused workflow's failure holds every error, and points at the first node."""
    error = {"message": "Required input is missing", "details": "image"}
    body = {
        "error": {"message": "Prompt outputs failed validation", "details": ""},
        "node_errors": {"7": {"errors": [error], "class_type": "SaveImage"}},
    }
    failure = verdicts.refused(body)
    assert (failure.kind, failure.node_id, failure.node_type) == ("bad_graph", "7", "SaveImage")
    assert "node 7 (SaveImage): Required input is missing: image" in failure.message
    assert verdicts.refused({}).message == "the executor refused the workflow"
    missing = {"error": {"message": "No node", "extra_info": {"node_id": "3"}}}
    assert verdicts.refused(missing).node_id == "3"


@pytest.mark.parametrize(
    ("exception", "text", "kind"),
    [
        ("torch.OutOfMemoryError", "x", "out_of_memory"),
        ("MemoryError", "", "out_of_memory"),
        ("comfy_core.errors.OutOfMemory", "the image needs 9 GiB and 1 is free", "out_of_memory"),
        ("RuntimeError", "CUDA error: out of memory", "out_of_memory"),
        ("RuntimeError", "DefaultCPUAllocator: not enough memory: you tried to allocate 9 bytes", "out_of_memory"),
        ("ValueError", "bad", "node_error"),
    ],
)
def test_raised(exception: str, text: str, kind: str) -> None:
    """Running out of memory is told from other errors, by type or by the words of the allocator."""
    data = {"exception_type": exception, "exception_message": text, "node_id": 4, "traceback": ["x\n"] * 100}
    failure = verdicts.raised(data)
    assert (failure.kind, failure.node_id) == (kind, "4")
    assert len(failure.traceback) == 40


def test_outputs_in_node_order() -> None:
    """Files and values come in the workflow's order; previews are left out."""
    image = {"filename": "x.png", "subfolder": "sub", "type": "output"}
    outputs = {
        "3": {"images": [image, {**image, "type": "temp"}], "animated": [True]},
        "1": {"text": ["hello"]},
        "2": {"images": [{**image, "type": "temp"}]},
    }
    made = made_by(outputs, JOB)
    assert [(m.node_id, m.kind, m.item, m.data) for m in made] == [
        ("1", "text", None, ["hello"]),
        ("3", "images", image, None),
    ]


def test_previews() -> None:
    """Both kinds of preview message are read; text messages are not previews."""
    assert preview_of(b"\0\0\0\1\0\0\0\2png") == ("image/png", b"png")
    about = b'{"image_type":"image/jpeg"}'
    assert preview_of(b"\0\0\0\4" + len(about).to_bytes(4, "big") + about + b"jpg") == ("image/jpeg", b"jpg")
    assert preview_of(b"\0\0\0\3\0\0\0\1atext") is None


def test_command_line_and_environment() -> None:
    """An option beats its twin in the environment, a twin beats the default, and secrets are not inherited."""
    env = {"FLEET_URL": "http://h:1/", "FLEET_SLOTS": "3", "FLEET_ENROL_TOKEN": "secret", "FLEET_DRAIN_S": "7"}
    config = parse(["run", "--data", "/d", "--slots", "2"], env)
    assert (config.url, config.slots, config.drain_s, config.enrol_token) == ("http://h:1", 2, 7.0, "secret")
    assert config.executor == Program(COMFY_CORE)
    assert config.models_directory == Path("/d/models")
    assert "FLEET_ENROL_TOKEN" not in config.environment
    assert parse(["enrol", "--token", "t"], {"FLEET_DATA": "/e"}).enrol_token == "t"


@pytest.mark.parametrize("argv", [["--help"], ["run", "--help"], ["enrol", "--help"]])
def test_help(argv: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """Every command explains itself."""
    with pytest.raises(SystemExit) as ended:
        parse(argv, {})
    assert ended.value.code == 0
    assert "machine_agent" in capsys.readouterr().out


def test_gpu_lines() -> None:
    """nvidia-smi's lines become devices with bytes; a size it does not know counts as 0."""
    assert parse_gpus("NVIDIA H100 80GB HBM3, 81559\nNVIDIA GB10, [N/A]\n") == [
        Gpu("NVIDIA H100 80GB HBM3", "cuda", 81559 * 1024 * 1024),
        Gpu("NVIDIA GB10", "cuda", 0),
    ]


def test_devices_that_may_be_used() -> None:
    """All, those that CUDA_VISIBLE_DEVICES numbers in its order, as many as it names, or none."""
    gpus = [Gpu(name) for name in "abc"]
    assert visible(gpus, None) == gpus
    assert [gpu.name for gpu in visible(gpus, ["2", "0", "9"])] == ["c", "a"]
    assert len(visible(gpus, ["GPU-1f", "GPU-2e"])) == 2
    assert visible(gpus, []) == []


def test_backoff() -> None:
    """Delays double from the first to the cap, each between half and all of it, and start again after a reset."""
    backoff = Backoff(first=0.2, cap=5.0)
    delays = [backoff.next() for _ in range(50)]
    assert 0.1 <= delays[0] <= 0.2
    assert max(delays) <= 5.0
    assert min(delays[5:]) >= 2.5
    backoff.reset()
    assert backoff.next() <= 0.2


def test_credential_file(tmp_path: Path) -> None:
    """The credential is stored whole, for its owner only, and replaces an older one."""
    assert load(tmp_path) is None
    for credential in ("one", "two"):
        identity = Identity("http://h", "m", "name", credential)
        save(tmp_path, identity)
        assert load(tmp_path) == identity
    assert stat.S_IMODE((tmp_path / "agent.json").stat().st_mode) == 0o600
