"""The real agent process against an orchestrator on real sockets: how a job goes through it."""

from __future__ import annotations

import asyncio
import hashlib
import stat

import pytest

from drivers.wire import (
    AgentLog,
    AttemptId,
    Declined,
    Drain,
    Hello,
    Log,
    NodeDone,
    Preview,
    Progress,
    Stop,
)
from tests.wire.agent_process import AgentProcess, copying, job, until, waiting
from tests.wire.fake_orchestrator import CREDENTIAL, FakeOrchestrator, beats

pytestmark = pytest.mark.anyio
PHOTO = b"a photo" * 1000


async def test_happy_path(orchestrator: FakeOrchestrator, agent: AgentProcess) -> None:
    """A job's input is fetched, its output uploaded with its hash, and the five events come in sequence."""
    steps = {
        "3": {"class_type": "Steps", "inputs": {"steps": 4}},
        "4": {"class_type": "Text", "inputs": {"text": "hi"}},
    }
    await orchestrator.assign(job("a1", copying(steps), [orchestrator.file("photo", PHOTO)]))
    event = await orchestrator.ended("a1")
    assert orchestrator.statuses("a1") == ["started", "running", "uploading", "success"]
    assert [e.seq for e in orchestrator.events] == [1, 2, 3, 4]
    assert [(o.node_id, o.kind, o.file_id, o.data) for o in event.outputs] == [
        ("4", "text", None, ["hi"]),
        ("9", "images", "file-1", None),
    ]
    assert orchestrator.uploads == {"file-1": PHOTO}
    grant = orchestrator.grants[0]
    assert (grant.content_type, grant.size, grant.sha256) == ("image/png", 7000, hashlib.sha256(PHOTO).hexdigest())
    assert event.timings.execute_ms > 0
    assert event.timings.peak_bytes > 1_000_000


async def test_live_frames_and_beats(orchestrator: FakeOrchestrator, agent: AgentProcess) -> None:
    """Progress and previews come over the link, coalesced; beats name the held attempt, and nothing after its end."""
    steps = {"3": {"class_type": "Steps", "inputs": {"steps": 60, "pause": 0.02}}}
    await orchestrator.assign(job("a1", copying(steps), [orchestrator.file("photo", PHOTO)]))
    await orchestrator.ended("a1")
    progress = orchestrator.frames_of(Progress)
    assert 2 <= len(progress) <= 12
    values = [frame.value for frame in progress]
    assert values == sorted(values)
    assert any(frame.text.startswith("Executing Steps ") and frame.node_id == "3" for frame in progress)
    assert orchestrator.frames_of(Preview)[0].content_type == "image/jpeg"
    assert any(beat.used == 1 and beat.attempts == ["a1"] for beat in beats(orchestrator))
    count = len(beats(orchestrator))
    await until(lambda: not agent.spooled())
    await orchestrator.until(lambda: len(beats(orchestrator)) >= count + 3)
    assert beats(orchestrator)[-1].used == 0
    assert beats(orchestrator)[-1].attempts == []


async def test_what_nodes_make_is_told_as_they_end_where_it_is_asked_for(
    orchestrator: FakeOrchestrator, agent: AgentProcess
) -> None:
    """While the prompt goes on its first outputs are stored and told; at the end they are not sent again."""
    graph = copying({"3": {"class_type": "Text", "inputs": {"text": "hi"}}})
    graph |= {"a": {"class_type": "Wait", "inputs": {}}}
    await orchestrator.assign(job("a1", graph, [orchestrator.file("photo", PHOTO)], live_outputs=True))
    await orchestrator.until(lambda: len(orchestrator.frames_of(NodeDone)) == 2)
    assert "uploading" not in orchestrator.statuses("a1")
    frames = orchestrator.frames_of(NodeDone)
    told = {frame.node_id: [(o.kind, o.file_id, o.data) for o in frame.outputs] for frame in frames}
    assert told == {"3": [("text", None, ["hi"])], "9": [("images", "file-1", None)]}
    assert orchestrator.uploads == {"file-1": PHOTO}
    agent.go()
    event = await orchestrator.ended("a1")
    assert [(o.node_id, o.file_id) for o in event.outputs] == [("3", None), ("9", "file-1")]
    assert [grant.early for grant in orchestrator.grants] == [True]


async def test_keys_of_other_services_go_to_the_prompt_and_into_nothing_that_is_told(
    orchestrator: FakeOrchestrator, agent: AgentProcess
) -> None:
    """A node that gives them away as an output gives away no more than their names."""
    extra = {"api_key_comfy_org": "comfyui-0123456789abcdef", "note": "a note for the nodes"}
    await orchestrator.assign(job("a1", {"1": {"class_type": "Extra", "inputs": {}}}, extra=extra))
    (output,) = (await orchestrator.ended("a1")).outputs
    assert output.data[0] | {"api_key_comfy_org": "***"} == output.data[0]
    assert output.data[0]["note"] == extra["note"]
    assert extra["api_key_comfy_org"] not in agent.log


async def test_what_the_executor_writes_comes_over_the_line(
    orchestrator: FakeOrchestrator, agent: AgentProcess
) -> None:
    """Whole lines, cleaned of what a terminal makes of them, and the last words of a run that fails."""
    said = "loading\rloaded \x1b[1mmodel\x1b[0m\x00\nunfinished"
    graph = {
        "1": {"class_type": "Say", "inputs": {"text": said}},
        "2": {"class_type": "Raise", "inputs": {"type": "ValueError", "message": "no"}},
    }
    await orchestrator.assign(job("a1", graph))
    await orchestrator.ended("a1")
    await orchestrator.until(lambda: orchestrator.frames_of(Log))
    assert [line for frame in orchestrator.frames_of(Log) for line in frame.lines] == ["loaded model", "unfinished"]
    assert {frame.attempt_id for frame in orchestrator.frames_of(Log)} == {"a1"}


async def test_the_agents_own_log_comes_over_the_line(orchestrator: FakeOrchestrator, agent: AgentProcess) -> None:
    """What happened to it and its executors, without debugging and without its credential."""

    def lines() -> list[str]:
        return [line for frame in orchestrator.frames_of(AgentLog) for line in frame.lines]

    await orchestrator.until(lambda: any("executor_up" in line for line in lines()))
    assert any(" info link_up " in line and "machine=test machine" in line for line in lines())
    assert not any(CREDENTIAL in line for line in lines())


async def test_an_orchestrator_that_knows_no_logs_is_sent_none(
    orchestrator: FakeOrchestrator, agent: AgentProcess
) -> None:
    """Without `logs` in its Welcome the line carries none, so that an older orchestrator does not stumble."""
    orchestrator.logs = False
    connections = orchestrator.connections
    await orchestrator.stop()
    await orchestrator.start()
    await orchestrator.until(lambda: orchestrator.connections > connections)
    await orchestrator.assign(job("a1", {"1": {"class_type": "Say", "inputs": {"text": "hello\n"}}}))
    await orchestrator.ended("a1")
    count = len(beats(orchestrator))
    await orchestrator.until(lambda: len(beats(orchestrator)) > count)
    assert orchestrator.frames_of(Log) == []
    since = max(at for at, frame in enumerate(orchestrator.frames) if isinstance(frame, Hello))
    assert not any(isinstance(frame, AgentLog) for frame in orchestrator.frames[since:])


async def test_inventory(orchestrator: FakeOrchestrator, agent: AgentProcess) -> None:
    """The agent says hello at once and sends node classes and model hashes when it knows them."""
    hello = orchestrator.frames_of(Hello)[0]
    assert hello.slots == 1
    assert hello.inventory.cpus >= 1
    folder = agent.data / "models" / "upscale_models"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "x4.safetensors").write_bytes(b"weights")
    await agent.kill()
    await agent.start()
    await orchestrator.until(
        lambda: any(
            f.inventory.node_classes and f.inventory.models and f.inventory.models[0].sha256
            for f in orchestrator.inventories
        )
    )
    inventory = orchestrator.inventories[-1].inventory
    assert "SaveFile" in inventory.node_classes
    assert inventory.models[0].folder == "upscale_models"
    assert inventory.models[0].sha256 == hashlib.sha256(b"weights").hexdigest()
    assert inventory.versions["comfyui"] == "fake"


async def test_repeated_run_uploads_again(orchestrator: FakeOrchestrator, agent: AgentProcess) -> None:
    """The same workflow again succeeds, also when the executor answers from its cache with files that are gone."""
    file = orchestrator.file("photo", PHOTO)
    for attempt in ("a1", "a2"):
        await orchestrator.assign(job(attempt, copying(), [file]))
        assert (await orchestrator.ended(attempt)).status == "success"
    for path in (agent.data / "executors" / "0" / "output").iterdir():
        path.unlink()
    await orchestrator.assign(job("a3", copying(), [file]))
    assert (await orchestrator.ended("a3")).status == "success"
    assert len(orchestrator.uploads) == 1  # the content was known: the second grant had no address


async def test_upload_is_retried(orchestrator: FakeOrchestrator, agent: AgentProcess) -> None:
    """Storage that fails twice only delays the upload."""
    orchestrator.failing_puts = 2
    await orchestrator.assign(job("a1", copying(), [orchestrator.file("photo", PHOTO)]))
    assert (await orchestrator.ended("a1")).status == "success"


async def test_stale_grant_abandons(orchestrator: FakeOrchestrator, agent: AgentProcess) -> None:
    """When the attempt was superseded during the run, the agent says nothing more and takes the next job."""
    await orchestrator.assign(job("a1", waiting(), [orchestrator.file("photo", PHOTO)]))
    await orchestrator.until(lambda: "running" in orchestrator.statuses("a1"))
    orchestrator.stale.add("a1")
    agent.go()
    await until(lambda: not agent.spooled())
    assert orchestrator.statuses("a1") == ["started", "running"]
    await orchestrator.assign(job("a2", copying(), [orchestrator.file("photo", PHOTO)]))
    assert (await orchestrator.ended("a2")).status == "success"


async def test_refused_claim(orchestrator: FakeOrchestrator, agent: AgentProcess) -> None:
    """A claim that is refused ends the attempt before anything was fetched or run."""
    orchestrator.refuse_claims.add("a1")
    await orchestrator.assign(job("a1", copying(), [orchestrator.file("photo", PHOTO)]))
    await orchestrator.until(lambda: orchestrator.requests)
    await until(lambda: not agent.spooled())
    assert orchestrator.statuses("a1") == []


async def test_stop(orchestrator: FakeOrchestrator, agent: AgentProcess) -> None:
    """A stopped attempt is interrupted, is not reported on, and its slot takes the next job at once."""
    await orchestrator.assign(job("a1", waiting(), [orchestrator.file("photo", PHOTO)]))
    await orchestrator.until(lambda: "running" in orchestrator.statuses("a1"))
    await orchestrator.send(Stop(AttemptId("a1"), "cancelled by its owner"))
    await orchestrator.assign(job("a2", copying(), [orchestrator.file("photo", PHOTO)]))
    assert (await orchestrator.ended("a2")).status == "success"
    assert orchestrator.statuses("a1") == ["started", "running"]


async def test_stop_before_the_first_step(orchestrator: FakeOrchestrator, agent: AgentProcess) -> None:
    """Jobs that are stopped in the same breath as they are assigned do not cost a slot."""
    for number in range(5):
        await orchestrator.assign(job(f"a{number}", copying(), [orchestrator.file("photo", PHOTO)]))
        await orchestrator.send(Stop(AttemptId(f"a{number}"), "cancelled"))
    await orchestrator.assign(job("b1", copying(), [orchestrator.file("photo", PHOTO)]))
    assert (await orchestrator.ended("b1")).status == "success"


async def test_declined(orchestrator: FakeOrchestrator, agent: AgentProcess) -> None:
    """A job beyond the slots, or while draining, is declined; one that is held already is not taken twice."""
    held = job("a1", waiting(), [orchestrator.file("photo", PHOTO)])
    await orchestrator.assign(held)
    await orchestrator.assign(held)
    await orchestrator.assign(job("a2", copying()))
    await orchestrator.until(lambda: orchestrator.frames_of(Declined))
    assert orchestrator.frames_of(Declined) == [Declined(AttemptId("a2"), "no free slot")]
    await orchestrator.send(Drain(on=True))
    agent.go()
    await orchestrator.ended("a1")
    await orchestrator.assign(job("a3", copying()))
    await orchestrator.until(lambda: len(orchestrator.frames_of(Declined)) == 2)
    assert orchestrator.frames_of(Declined)[1].reason == "draining"
    await orchestrator.send(Drain(on=False))
    await orchestrator.assign(job("a4", copying(), [orchestrator.file("photo", PHOTO)]))
    assert (await orchestrator.ended("a4")).status == "success"


async def test_bad_graph(orchestrator: FakeOrchestrator, agent: AgentProcess) -> None:
    """A workflow that the executor refuses fails as bad_graph and names the node."""
    await orchestrator.assign(job("a1", {"5": {"class_type": "Nonsense", "inputs": {}}}))
    failure = (await orchestrator.ended("a1")).failure
    assert (failure.kind, failure.node_id, failure.node_type) == ("bad_graph", "5", "Nonsense")
    assert "No such node: Nonsense" in failure.message


@pytest.mark.parametrize(
    ("exception", "kind"), [("ValueError", "node_error"), ("torch.OutOfMemoryError", "out_of_memory")]
)
async def test_node_raises(orchestrator: FakeOrchestrator, agent: AgentProcess, exception: str, kind: str) -> None:
    """A node that raises fails the run with its own words; running out of memory has a class of its own."""
    await orchestrator.assign(job("a1", {"5": {"class_type": "Raise", "inputs": {"type": exception, "message": "no"}}}))
    failure = (await orchestrator.ended("a1")).failure
    assert (failure.kind, failure.node_id, failure.node_type) == (kind, "5", "Raise")
    assert failure.message == f"{exception}: no"
    assert failure.traceback == ["line"]


async def test_timeout(orchestrator: FakeOrchestrator, agent: AgentProcess) -> None:
    """A run past its time is interrupted and reported as a timeout, and the slot works again."""
    await orchestrator.assign(job("a1", waiting(), [orchestrator.file("photo", PHOTO)], timeout_s=1))
    event = await orchestrator.ended("a1")
    assert (event.status, event.failure.kind) == ("timeout", "timed_out")
    await orchestrator.assign(job("a2", copying(), [orchestrator.file("photo", PHOTO)]))
    assert (await orchestrator.ended("a2")).status == "success"


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"sha256": "0" * 64}, "hash does not match"),
        ({"url": "/files/absent"}, "status 404"),
        ({"trusted": False, "url": "http://127.0.0.1:1/x", "sha256": None}, "not a public address"),
        ({"trusted": False, "url": "http://localhost:1/x", "sha256": None}, "does not lead to a public address"),
        ({"trusted": False, "url": "file:///etc/passwd", "sha256": None}, "only http and https"),
    ],
)
async def test_input_unavailable(
    orchestrator: FakeOrchestrator, agent: AgentProcess, changes: dict, words: str
) -> None:
    """An input that is wrong, absent or inside the private network fails the run and says why."""
    await orchestrator.assign(job("a1", copying(), [orchestrator.file("photo", PHOTO, **changes)]))
    failure = (await orchestrator.ended("a1")).failure
    assert failure.kind == "input_unavailable"
    assert words in failure.message
    assert not list((agent.data / "cache" / "incoming").iterdir())


async def test_credential_is_private(orchestrator: FakeOrchestrator, agent: AgentProcess) -> None:
    """The credential file is readable by its owner only, and enrolling is not repeated on the next start."""
    path = agent.data / "agent.json"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    before = path.read_bytes()
    await agent.kill()
    await agent.start()
    assert path.read_bytes() == before


async def test_second_agent_on_one_folder(orchestrator: FakeOrchestrator, agent: AgentProcess) -> None:
    """A second agent on the same data folder is refused with exit code 2."""
    twin = AgentProcess(agent.data, orchestrator)
    starting = asyncio.create_task(twin.start())
    async with asyncio.timeout(20):
        while twin.process is None:
            await asyncio.sleep(0.01)
        assert await twin.process.wait() == 2
    starting.cancel()
    await asyncio.gather(starting, return_exceptions=True)
    assert "another agent runs in" in agent.log
