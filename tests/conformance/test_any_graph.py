"""Whatever a graph is made of: its results are those of a plain evaluation, whichever way results are kept."""

from __future__ import annotations

from collections import Counter

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.conformance.graphs import Calls, Expected, Graph, classes, followers, graphs, prompt_of, shown_by
from tests.conformance.stage import CACHES, Played, Stage

EXAMPLES = 50


def sources_ran_first(graph: Graph, played: Played) -> None:
    """No node was called before what it is linked to, and none that does not ask was staged twice."""
    at = {node_id: index for index, node_id in enumerate(played.ran)}
    times = Counter(played.ran)
    for node_id, (kind, inputs) in graph.items():
        assert times[node_id] <= (2 if kind in ("pick", "lazy raw") else 1)
        for name, value in inputs.items():
            lazy = kind == "lazy raw" or (kind == "pick" and name != "which")
            if not lazy and isinstance(value, tuple) and {node_id, value[0]} <= at.keys():
                assert at[value[0]] < at[node_id]


@settings(max_examples=EXAMPLES, deadline=None)
@given(graphs(), st.sampled_from(list(CACHES)))
def test_results_are_those_of_a_plain_evaluation(drawn: tuple[Graph, list[str]], cache: str) -> None:
    """2.3.1, 2.4.2, 2.5.1, 2.6.3, 2.7.3: what is needed runs, sources first; a second time nothing does."""
    graph, outputs = drawn
    calls, expected = Calls(), Expected(graph)
    stage = Stage(CACHES[cache], **classes(calls))
    shown = shown_by(expected, outputs)
    played = stage.play(prompt_of(graph, outputs))
    assert (played.result.status, played.shown) == ("success", shown)
    assert {node_id for node_id in played.ran if node_id in graph} <= expected.needed
    sources_ran_first(graph, played)
    before = list(calls.tags)
    again = stage.play(prompt_of(graph, outputs))
    assert (again.result.status, again.shown) == ("success", shown)
    if cache == "none":
        assert sorted(calls.tags) == sorted(before * 2)
    else:
        assert (calls.tags, again.ran) == (before, [])


@settings(max_examples=EXAMPLES, deadline=None)
@given(graphs(), st.data())
def test_results_never_depend_on_what_is_kept(drawn: tuple[Graph, list[str]], data: st.DataObject) -> None:
    """2.8.4, 2.8.5, 2.8.6, 2.8.7: prompts that differ a little, under each cache; only what changed runs."""
    graph, outputs = drawn
    changed = data.draw(st.sampled_from(list(graph)))
    kind, inputs = graph[changed]
    name = data.draw(st.sampled_from(list(inputs)))
    value = data.draw(st.integers(0, 20)) if "raw" not in kind else inputs[name]
    other: Graph = graph | {changed: (kind, inputs | {name: value})}
    more = [*outputs, data.draw(st.sampled_from(list(graph)))]
    for cache, keeping in CACHES.items():
        calls = Calls()
        stage = Stage(keeping, **classes(calls))
        stage.play(prompt_of(graph, outputs))
        before = set(calls.tags)
        for prompt, now, shows in ((graph, graph, more), (other, other, outputs), (graph, graph, more)):
            calls.tags.clear()
            played = stage.play(prompt_of(prompt, shows))
            assert (played.result.status, played.shown) == ("success", shown_by(Expected(now), shows)), cache
            if now is other and cache != "none":
                ran = {tag.split("/")[0] for tag in calls.tags}
                assert not (ran & before) - followers(other, changed), cache
            before |= set(calls.tags)


@settings(max_examples=EXAMPLES, deadline=None)
@given(graphs(), st.sampled_from(list(CACHES)))
def test_an_error_costs_only_itself_and_what_follows(drawn: tuple[Graph, list[str]], cache: str) -> None:
    """2.8.9, 2.9.1: what was done before the error is there when the prompt comes again, and the results are right."""
    graph, outputs = drawn
    calls = Calls(armed=True)
    stage = Stage(CACHES[cache], **classes(calls))
    failed = stage.play(prompt_of(graph, outputs))
    done = {node_id for node_id in failed.result.executed if node_id in graph}
    if failed.result.status == "error":
        assert graph[failed.error["node_id"]][0] == "trip"
        assert calls.tags.count(failed.error["node_id"]) == 1
    calls.armed = False
    calls.tags.clear()
    played = stage.play(prompt_of(graph, outputs))
    assert (played.result.status, played.shown) == ("success", shown_by(Expected(graph), outputs))
    if cache != "none":
        assert not done & set(calls.tags)
