"""2.7: nodes that go on as a graph. No server."""

from __future__ import annotations

from typing import Any

import pytest

from comfy_core.graph.blocker import ExecutionBlocker
from comfy_core.graph.builder import GraphBuilder, Node, add_graph_prefix, is_link
from comfy_core.graph.dynamic import DynamicPrompt
from comfy_core.v3 import io
from tests.conformance.nodes import ANY, INT, grown, node
from tests.conformance.stage import CACHES, Stage, n, shown


def two_steps(v: int) -> Any:
    """An expansion of an addition, itself an expansion, and one that shows."""
    graph = GraphBuilder()
    first = graph.node("OddAdd", a=v, b=1)
    second = graph.node("OddExpandEven", v=first.out(0))
    graph.node("OddShow", "look", v=second.out(0))
    return {"result": (second.out(0),), "expand": graph.finalize()}


def steps() -> Stage:
    """A stage that knows the node above."""
    return Stage(Steps=node(two_steps, {"v": INT}, ("INT",)))


def states(stage_messages: list[tuple[str, Any]]) -> dict[str, Any]:
    """The last progress_state."""
    last = next(data for event, data in reversed(stage_messages) if event == "progress_state")
    nodes: dict[str, Any] = last["nodes"]
    return nodes


def test_ids_parents_and_displays_of_what_is_added() -> None:
    """2.7.1, 1.5 progress_state: every added node knows who added it, whom it shows for and whose it is in the end."""
    played = steps().play(shown(e=n("Steps", v=5)))
    assert played.shown["s"] == ["106"]
    seen = {
        node_id: (one["display_node_id"], one["parent_node_id"], one["real_node_id"], one["state"])
        for node_id, one in states(played.messages).items()
    }
    assert seen == {
        "e": ("e", None, "e", "finished"),
        "e.0.0.1": ("e", "e", "e", "finished"),
        "e.0.0.2": ("e", "e", "e", "finished"),
        "e.0.0.2.0.0.1": ("e", "e.0.0.2", "e", "finished"),
        "e.0.0.look": ("e", "e", "e", "finished"),
        "s": ("s", None, "s", "finished"),
    }
    assert [told["display_node"] for told in played.of("executing")][:4] == ["e"] * 4


def test_an_added_node_may_show_for_another() -> None:
    """2.7.1: override_display_id is the node that lights up and shows."""
    played = Stage().play(shown(e=n("OddExpand", kind="shown as")))
    (told,) = [one for one in played.of("executed") if one["node"] == "x2"]
    assert told["display_node"] == "s"
    assert states(played.messages)["x2"]["display_node_id"] == "s"
    assert Stage().play(shown(e=n("OddExpand", kind="shown as itself"))).result.status == "success"


def test_every_call_has_ids_of_its_own() -> None:
    """2.7.1: a node that is called per element expands per element; two graphs of one call differ, too."""
    stage = Stage()
    played = stage.play(shown(m=n("OddMany", n=5), e=n("OddExpandEven", v=["m", 0])))
    assert played.shown == {"s": ["100", "1", "102", "3", "104"]}
    assert [one for one in played.ran if "." in one] == ["e.0.0.1", "e.2.0.1", "e.4.0.1"]

    def twice(v: int) -> Any:
        one, two = GraphBuilder(), GraphBuilder()
        a, b = one.node("OddInt", value=v), two.node("OddInt", value=v + 1)
        return {"result": (a.out(0), b.out(0)), "expand": one.finalize() | two.finalize()}

    played = Stage(Twice=node(twice, {"v": INT}, ("INT", "INT"))).play(
        shown(e=n("Twice", v=1), a=n("OddAdd", a=["e", 0], b=["e", 1]))
    )
    assert played.shown == {"s": ["3"]}
    assert sorted(one for one in played.ran if "." in one) == ["e.0.0.1", "e.0.1.1"]


@pytest.mark.parametrize("cache", CACHES)
def test_outputs_within_are_run_and_shown(cache: str) -> None:
    """2.7.2: though nothing is linked to them; what is neither output nor needed is not run."""
    played = Stage(CACHES[cache]).play(shown(e=n("OddExpand", kind="shows")))
    assert played.result.ui == {"x2": {"values": ["5"]}, "s": {"values": ["5"]}}
    unused = Stage(CACHES[cache]).play(shown(e=n("OddExpand", kind="unused")))
    assert (unused.result.status, unused.shown) == ("success", {"s": ["5"]})


@pytest.mark.parametrize(
    ("kind", "result"), [("plain", "5"), ("values", "7"), ("empty", "7"), ("none", "7"), ("shown as itself", "5")]
)
@pytest.mark.parametrize("cache", CACHES)
def test_results_are_what_comes_over_their_links_or_plain_values(cache: str, kind: str, result: str) -> None:
    """2.7.3: a graph that nothing of the result comes from is no reason to wait."""
    assert Stage(CACHES[cache]).play(shown(e=n("OddExpand", kind=kind))).shown == {"s": [result]}


def test_lists_and_blockers_come_through() -> None:
    """2.7.3: a list of an added node is spread into the result; a blocker blocks what follows."""

    def many(v: int) -> Any:
        graph = GraphBuilder()
        listed, shut = graph.node("OddMany", n=v), graph.node("OddBlock", v=1, message="", silent=True)
        return {"result": (listed.out(0), shut.out(0), 9), "expand": graph.finalize()}

    stage = Stage(Lists=node(many, {"v": INT}, (ANY, ANY, ANY)))
    prompt = {"m": n("OddMany", n=3), "e": n("Lists", v=["m", 0])}
    prompt |= {f"s{i}": n("OddShow", v=["e", i]) for i in range(3)}
    assert stage.play(prompt).shown == {"s0": ["0", "0", "1"], "s2": ["9", "9", "9"]}


def test_links_into_the_outer_graph() -> None:
    """2.7.3: an added node may take what the client's nodes make, by a raw link, even if nothing else has asked."""
    passes = node(lambda v: grown("OddAdd", a=v, b=1), {"v": ("INT", {"rawLink": True, "lazy": True})}, ("INT",))
    stage = Stage(Passes=passes)
    played = stage.play(shown(i=n("OddInt", value=4), e=n("Passes", v=["i", 0])))
    assert played.shown == {"s": ["5"]}
    assert played.ran == ["e", "i", "e.0.0.1", "s"]


@pytest.mark.parametrize("cache", CACHES)
def test_errors_within_are_the_clients_nodes(cache: str) -> None:
    """2.7.4: node and class are those of the graph that was sent, at any depth."""
    deep = node(lambda v: grown("Deep", v=v - 1) if v else grown("OddFail", v=1), {"v": INT}, ("INT",))
    played = Stage(CACHES[cache], Deep=deep).play(shown(e=n("Deep", v=3)))
    assert (played.result.status, played.error["node_id"], played.error["node_type"]) == ("error", "e", "Deep")
    assert played.error["exception_message"].startswith("cannot 1")
    assert states(played.messages)["e.0.0.1.0.0.1.0.0.1.0.0.1"]["state"] == "error"


def test_blockers_within_are_told_of_the_node_they_came_to() -> None:
    """2.7.4, 2.6.2: a message inside an expansion does not end the run."""
    shut = node(lambda v: (ExecutionBlocker("inside"),), {"v": INT}, ("INT",))

    def within(v: int) -> Any:
        graph = GraphBuilder()
        first = graph.node("Shut", v=v)
        return {"result": (graph.node("OddPass", v=first.out(0)).out(0),), "expand": graph.finalize()}

    played = Stage(Shut=shut, Within=node(within, {"v": INT}, ("INT",))).play(shown(e=n("Within", v=1)))
    assert (played.result.status, played.shown) == ("success", {})
    assert [told["exception_message"] for told in played.of("execution_error")] == ["Execution Blocked: inside"]


def test_added_nodes_are_cached_by_content() -> None:
    """2.7.5: when the node expands again only what changed within runs; unchanged, the node itself is cached."""

    def grows(v: int, w: int) -> Any:
        graph = GraphBuilder()
        slow = graph.node("OddAdd", a=v, b=1)
        return {"result": (graph.node("OddAdd", a=slow.out(0), b=w).out(0),), "expand": graph.finalize()}

    stage = Stage(Grows=node(grows, {"v": INT, "w": INT}, ("INT",)))
    assert stage.play(shown(e=n("Grows", v=1, w=1))).ran == ["e", "e.0.0.1", "e.0.0.2", "s"]
    assert stage.play(shown(e=n("Grows", v=1, w=1))).ran == []
    assert stage.play(shown(e=n("Grows", v=1, w=5))).ran == ["e", "e.0.0.2", "s"]


def test_a_v3_class_must_say_that_it_expands() -> None:
    """2.7.6: without enable_expand the graph is an error of the node."""

    def define(expands: bool) -> type:
        class Grows(io.ComfyNode):
            @classmethod
            def define_schema(cls) -> io.Schema:
                return io.Schema(node_id="Grows", outputs=[io.Int.Output()], enable_expand=expands)

            @classmethod
            def execute(cls) -> io.NodeOutput:
                graph = GraphBuilder()
                return io.NodeOutput(graph.node("OddInt", value=5).out(0), expand=graph.finalize())

        return Grows

    assert Stage(Grows=define(True)).play(shown(e=n("Grows"))).shown == {"s": ["5"]}
    refused = Stage(Grows=define(False)).play(shown(e=n("Grows")))
    assert (refused.result.status, refused.error["node_id"]) == ("error", "e")


def test_the_builder() -> None:
    """2.7.7: nodes by id under a prefix, links as values; None takes an input away."""
    graph = GraphBuilder(prefix="p.")
    one = graph.node("A", x=1)
    two = graph.node("B", "named", y=one.out(1), z=None)
    assert (one.id, two.id, graph.lookup_node("named"), graph.lookup_node("x")) == ("p.1", "p.named", two, None)
    assert graph.node("B", "named") is two
    two.set_input("w", 3)
    two.set_override_display_id("7")
    assert (two.get_input("w"), two.get_input("none"), one.out(1)) == (3, None, ["p.1", 1])
    graph.replace_node_output("1", 1, ["other", 0])
    assert two.inputs["y"] == ["other", 0]
    two.set_input("y", None)
    graph.remove_node("1")
    assert graph.finalize() == {
        "p.named": {"class_type": "B", "inputs": {"z": None, "w": 3}, "override_display_id": "7"},
    }
    assert isinstance(two, Node)


def test_a_graph_under_another_prefix() -> None:
    """2.7.7: ids and the links between them move; whatever is no link stays."""
    graph = {"a": {"class_type": "A", "inputs": {"x": ["b", 0], "y": [1, 2], "z": "b"}}}
    moved, outputs = add_graph_prefix(graph, [["a", 1], 5], "q.")
    assert moved == {"q.a": {"class_type": "A", "inputs": {"x": ["q.b", 0], "y": [1, 2], "z": "b"}}}
    assert outputs == (["q.a", 1], 5)
    assert [is_link(one) for one in (["a", 0], ["a", 0.0], ["a"], [0, 0], ("a", 0), "a")] == [True, True, *[False] * 4]


def test_a_node_can_ask_for_the_growing_graph() -> None:
    """2.7.1, 2.4.5: DYNPROMPT answers by id for what the client sent and what was added."""
    seen: list[Any] = []

    def look(v: int, graph: DynamicPrompt, me: str) -> tuple[int]:
        seen.append((graph.get_parent_node_id(me), graph.get_display_node_id(me), graph.get_real_node_id(me)))
        seen.append((graph.has_node("e"), graph.has_node("nobody"), graph.get_node(me)["class_type"]))
        seen.append((sorted(graph.all_node_ids()), sorted(graph.get_original_prompt())))
        return (v,)

    looks = node(look, {"v": INT}, ("INT",), hidden={"graph": "DYNPROMPT", "me": "UNIQUE_ID"})
    grows = node(lambda v: grown("Looks", v=v), {"v": INT}, ("INT",))
    Stage(Looks=looks, Grows=grows).play(shown(e=n("Grows", v=1)))
    assert seen == [
        ("e", "e", "e"),
        (True, False, "Looks"),
        (["e", "e.0.0.1", "s"], ["e", "s"]),
    ]
