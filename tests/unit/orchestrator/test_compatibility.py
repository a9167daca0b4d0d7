"""Whether a machine can run a version, and what is said about it."""

from __future__ import annotations

from typing import Any

from orchestrator.runs.compatibility import (
    Candidate,
    compare,
    eligible,
    hashes_of,
    holdings_of,
    judge,
    refusal,
)
from orchestrator.runs.requirements import Requirements, requirements_of
from orchestrator.wire import ModelNeed, PackNeed

GOOD, BAD = "a" * 64, "b" * 64
NEEDS = Requirements(
    ["Blur", "SaveImage"],
    [ModelNeed("x.safetensors", "loras", "1", GOOD)],
    packs=[PackNeed("blurs", "https://example.org/blurs.git", "c" * 40)],
    node_packs={"Blur": "blurs"},
)


def _machine(name: str, **inventory: Any) -> Candidate:
    whole = {
        "node_classes": ["Blur", "SaveImage"],
        "models": [{"folder": "loras", "name": "x.safetensors", "size": 1, "sha256": GOOD}],
        **inventory,
    }
    return Candidate(name, name, "ready", {}, holdings_of(whole))


def _model(sha256: str | None) -> dict[str, Any]:
    return {"folder": "loras", "name": "x.safetensors", "size": 1, "sha256": sha256}


def test_the_summary_says_who_can_and_what_the_others_lack():
    """As the specification words it, with the pack of the missing node and the model whose content differs."""
    machines = [
        _machine("A"),
        _machine("B", node_classes=["SaveImage"]),
        _machine("C", models=[_model(BAD)]),
        _machine("D"),
        _machine("E", models=[_model(None)]),
    ]
    found = compare("v", NEEDS, machines, NEEDS.node_packs)
    assert found.summary == (
        "3 of 5 machines can run it; B lacks node Blur (pack blurs); C has model x.safetensors with another hash"
    )
    assert [one.verdict for one in found.machines] == ["able", "unable", "unable", "able", "able"]
    assert (found.able, found.total) == (3, 5)
    assert found.machines[2].other_models[0].found == [BAD]


def test_a_summary_names_five_machines_and_counts_the_rest():
    """Forty machines that lack it do not make a page of text."""
    machines = [_machine(f"m{number}", node_classes=["SaveImage"], models=[]) for number in range(40)]
    words = compare("v", NEEDS, machines, {}).summary
    assert words.endswith("; m4 lacks node Blur, lacks model x.safetensors; and 35 more")
    assert words.startswith("0 of 40 machines can run it; m0 lacks")


def test_a_machine_that_has_said_nothing_is_unknown_and_no_reason_to_refuse():
    """A machine that was registered and has not connected yet may turn out able."""
    fresh = Candidate("F", "F", "pending", {}, holdings_of({}))
    judged = [judge(NEEDS, machine, {}) for machine in (fresh, _machine("B", node_classes=["SaveImage"]))]
    assert [one.verdict for one in judged] == ["unknown", "unable"]
    assert refusal(judged) == []
    assert [error.path for error in refusal(judged[1:])] == ["machines.B"]
    assert refusal([]) == []


def test_one_file_of_several_of_a_name_is_enough():
    """Two folders may hold a file of the same name; the wanted one among them will do."""
    assert judge(NEEDS, _machine("A", models=[_model(BAD), _model(GOOD)]), {}).verdict == "able"
    assert hashes_of([("a", GOOD), ("a", None), ("b", BAD)]) == {"b": frozenset({BAD})}


def test_another_commit_of_a_pack_is_told_and_hinders_nobody():
    """Only packs that a class of the version comes from count; a short commit is the same commit."""

    def told(commit: str, packs: dict[str, str]) -> list[str]:
        machine = _machine("A", packs=[{"name": "Blurs", "commit": commit}])
        found = judge(NEEDS, machine, packs)
        assert found.verdict == "able"
        return [pack.found for pack in found.other_packs]

    assert told("d" * 40, {"Blur": "blurs"}) == ["d" * 40]
    assert told("c" * 8, {"Blur": "blurs"}) == []
    assert told("d" * 40, {}) == []


def test_runs_are_placed_by_labels_and_pins():
    """A pool admits machines with all its labels, a pin one machine."""
    machines = [Candidate(name, name, "ready", {"gpu": name}, holdings_of({})) for name in ("a", "b")]
    assert [one.id for one in eligible(machines, {"gpu": "b"}, None)] == ["b"]
    assert [one.id for one in eligible(machines, {}, "a")] == ["a"]
    assert eligible(machines, {"gpu": "b"}, "a") == []


def test_a_version_knows_its_packs_hashes_and_outputs():
    """The snapshot gives packs with commits, the editor's graph hashes and packs of nodes, the graph its outputs."""
    graph = {
        "1": {"class_type": "LoraLoader", "inputs": {"lora_name": "sub/x.safetensors"}},
        "2": {"class_type": "Blur", "inputs": {}},
        "3": {"class_type": "ComfyDeployOutputImage", "inputs": {"output_id": "result"}},
        "4": {"class_type": "SaveImage", "inputs": {}},
    }
    described = {"name": "x.safetensors", "hash": GOOD.upper(), "hash_type": "SHA256", "url": "", "directory": "loras"}
    ui_graph = {
        "nodes": [
            {"id": 1, "type": "LoraLoader", "properties": {"models": [described], "cnr_id": "comfy-core"}},
            {"id": 2, "type": "Blur", "properties": {"aux_id": "someone/blurs"}},
            {"id": 9, "type": "Note", "properties": {"cnr_id": "elsewhere"}},
        ]
    }
    snapshot = {
        "comfyui": "e" * 40,
        "git_custom_nodes": {
            "https://github.com/someone/blurs.git": {"hash": "c" * 40, "disabled": False},
            "https://github.com/someone/off": {"hash": "d" * 40, "disabled": True},
        },
        "cnr_custom_nodes": {"impact": "8.1.0"},
    }
    found = requirements_of(graph, ui_graph, snapshot)
    assert found.models == [ModelNeed("sub/x.safetensors", "loras", "1", GOOD)]
    assert found.packs == [
        PackNeed("blurs", "https://github.com/someone/blurs.git", "c" * 40),
        PackNeed("impact", version="8.1.0"),
    ]
    assert found.node_packs == {"Blur": "blurs"}
    assert [(output.output_id, output.kind) for output in found.outputs] == [("result", "images"), ("4", "images")]


def test_nonsense_in_a_snapshot_or_an_editors_graph_is_passed_over():
    """They are kept as they come: whatever stands there, the version's needs are read."""
    graph = {"1": {"class_type": "A", "inputs": {}}}
    for nonsense in (None, 3, "x", [], {"nodes": 3}, {"nodes": [3, {"properties": []}], "models": {"a": 1}}):
        assert requirements_of(graph, nonsense, nonsense).node_classes == ["A"]
    odd = {"git_custom_nodes": {"u": None, "v": {"hash": 3}}, "cnr_custom_nodes": {"": "1", "w": 2}}
    assert [pack.name for pack in requirements_of(graph, None, odd).packs] == ["v", "w"]
