"""How a graph is executed: order, lists, caching, errors. No torch, nodes of two lines."""

from __future__ import annotations

import subprocess
import sys
import time

import pytest

from comfy_core.graph.cache import Keeping
from comfy_core.graph.execute import Engine
from comfy_core.graph.order import RunOrder
from tests.unit.comfy_core.two_line_nodes import INT, Bench, chain, n, node


def test_sources_run_before_what_needs_them_and_the_output_shows_the_sum() -> None:
    """A diamond runs each node once, sources first."""
    bench = Bench()
    prompt = {
        "out": n("Show", v=["sum", 0]),
        "sum": n("Add", a=["l", 0], b=["r", 0]),
        "l": n("Add", a=["one", 0], b=1),
        "r": n("Add", a=["one", 0], b=2),
        "one": n("One", value=10),
    }
    result, seen = bench.run(prompt)
    assert result.status == "success"
    assert bench.shown == [23]
    order = seen.started_nodes()
    assert order.index("one") < order.index("l") < order.index("sum") < order.index("out")
    assert len(order) == len(set(order)) == 5


def test_a_second_run_is_taken_from_the_cache_and_only_tells_the_output() -> None:
    """Nothing is called twice; the cached output is told with its old display."""
    bench = Bench()
    bench.run(chain(3))
    calls = bench.calls.copy()
    result, seen = bench.run(chain(3))
    assert result.status == "success"
    assert bench.calls == calls
    assert seen.told[0] == ("cached", ["0", "1", "2", "3", "out"])
    assert seen.told[1:] == [("executed", ("out", {"values": [1]})), ("finished", "out")]
    assert result.ui == {"out": {"values": [1]}}


def test_the_same_content_under_other_ids_is_found_in_the_cache() -> None:
    """Signatures do not hold node ids."""
    bench = Bench()
    bench.run({"a": n("One", value=3), "b": n("Show", v=["a", 0])})
    bench.run({"x": n("One", value=3), "y": n("Show", v=["x", 0])})
    assert bench.calls["One"] == 1


def test_a_node_that_asks_for_its_id_is_not_taken_for_another() -> None:
    """UNIQUE_ID makes the id part of the signature."""
    bench = Bench()
    result, _ = bench.run(
        {"p": n("Id", v=1), "q": n("Id", v=1), "a": n("Show", v=["p", 0]), "b": n("Show", v=["q", 0])}
    )
    assert result.status == "success"
    assert sorted(bench.shown) == ["p", "q"]


def test_only_what_changed_and_what_follows_it_runs_again() -> None:
    """Changing one constant leaves the other branch cached."""
    bench = Bench()
    prompt = {"a": n("One", value=1), "b": n("One", value=2), "s": n("Add", a=["a", 0], b=["b", 0])}
    prompt["out"] = n("Show", v=["s", 0])
    bench.run(prompt)
    _, seen = bench.run(prompt | {"b": n("One", value=5)})
    assert seen.started_nodes() == ["b", "s", "out"]
    assert bench.shown == [3, 6]


@pytest.mark.parametrize(
    ("keeping", "calls"),
    [(Keeping(), 3), (Keeping("lru", 100), 2), (Keeping("none"), 3), (Keeping("ram", headroom=1), 3)],
)
def test_results_are_kept_as_long_as_the_cache_is_told(keeping: Keeping, calls: int) -> None:
    """A, B, A again: the default keeps only what the present prompt names, an LRU keeps A."""
    bench = Bench(keeping)
    for value in (1, 2, 1):
        bench.run({"a": n("One", value=value), "out": n("Show", v=["a", 0])})
    assert bench.calls["One"] == calls


def test_is_changed_decides_and_nan_never_hits() -> None:
    """An equal fingerprint hits, another one or NaN does not, nor does anything after it."""
    bench = Bench()
    prompt = {"a": n("Changing", v=1), "out": n("Show", v=["a", 0])}
    for fingerprint, calls in ((1, 1), (1, 1), (2, 2), (float("nan"), 3), (float("nan"), 4)):
        bench.fingerprint = fingerprint
        bench.run(prompt)
        assert (bench.calls["Changing"], bench.calls["Show"]) == (calls, calls)


def test_lists_are_spread_and_gathered() -> None:
    """OUTPUT_IS_LIST spreads, a plain node is called per element, INPUT_IS_LIST takes all at once."""
    bench = Bench()
    prompt = {
        "many": n("Many", n=4),
        "add": n("Add", a=["many", 0], b=10),
        "sum": n("Sum", v=["add", 0]),
        "each": n("Show", v=["add", 0]),
        "all": n("Show", v=["sum", 0]),
    }
    result, _ = bench.run(prompt)
    assert bench.calls["Add"] == 4
    assert bench.calls["Sum"] == 1
    assert result.ui == {"each": {"values": [10, 11, 12, 13]}, "all": {"values": [46]}}


def test_an_empty_list_means_no_calls() -> None:
    """A list node that makes nothing leaves what follows uncalled, without an error."""
    bench = Bench()
    result, _ = bench.run({"many": n("Many", n=0), "out": n("Show", v=["many", 0])})
    assert result.status == "success"
    assert bench.shown == []


def test_an_error_ends_the_run_and_names_the_node_its_inputs_and_what_was_done() -> None:
    """The failure carries class, message, inputs; earlier nodes stay cached."""
    bench = Bench()
    prompt = {"a": n("One", value=7), "bad": n("Fail", v=["a", 0]), "out": n("Show", v=["bad", 0])}
    result, _ = bench.run(prompt)
    assert result.status == "error"
    assert result.executed == ["a"]
    assert result.failure is not None
    assert (result.failure.node_id, result.failure.node_type) == ("bad", "Fail")
    assert (result.failure.exception_type, str(result.failure.error)) == ("ValueError", "cannot 7")
    assert result.failure.current_inputs == {"v": [7]}
    assert any("cannot" in line for line in result.failure.traceback)
    bench.run(prompt)
    assert (bench.calls["One"], bench.calls["Fail"]) == (1, 2)


def test_an_interrupted_run_says_so() -> None:
    """Interrupted inside a node is no error of the node."""
    bench = Bench()
    result, _ = bench.run({"h": n("Halt", v=1), "out": n("Show", v=["h", 0])})
    assert result.status == "interrupted"
    assert result.failure is not None
    assert result.failure.node_id == "h"


def test_async_nodes_overlap() -> None:
    """Ten waits of 20 ms take far less than 200 ms, and each keeps its own scope."""
    bench = Bench()
    prompt = {f"w{i}": n("Wait", v=i) for i in range(10)}
    prompt |= {f"o{i}": n("Show", v=[f"w{i}", 0]) for i in range(10)}
    started = time.perf_counter()
    result, _ = bench.run(prompt)
    assert result.status == "success"
    assert sorted(bench.shown) == list(range(10))
    assert time.perf_counter() - started < 0.15


def test_a_cycle_met_at_run_time_is_named() -> None:
    """Links that validation does not see (undeclared inputs) cannot hang the worker."""
    bench = Bench()
    prompt = {
        "a": n("Add", a=1, b=2, extra=["b", 0]),
        "b": n("Add", a=["a", 0], b=1),
        "out": n("Show", v=["b", 0]),
    }
    result, _ = bench.run(prompt)
    assert result.status == "error"
    assert result.failure is not None
    assert "Dependency cycle detected" in str(result.failure.error)


@pytest.mark.parametrize(
    ("broken", "message"),
    [
        (n("Add", a=["ghost", 0], b=1), "node ghost, which has no results"),
        (n("Add", a=["one", -1], b=1), "output -1 of node one"),
    ],
)
def test_a_link_to_nothing_is_an_error_of_the_node(broken: dict[str, object], message: str) -> None:
    """Should such a link get past validation, the node fails with its reason."""
    bench = Bench()
    result, _ = bench.run({"one": n("One", value=1), "add": broken, "out": n("Show", v=["add", 0])})
    assert result.failure is not None
    assert message in str(result.failure.error)


def test_a_chain_of_20000_nodes_costs_time_in_proportion() -> None:
    """No recursion, and ten times the nodes take far less than a hundred times as long."""
    times = []
    for length in (2_000, 20_000):
        bench = Bench()
        started = time.perf_counter()
        result, _ = bench.run(chain(length))
        times.append(time.perf_counter() - started)
        assert result.status == "success"
        assert bench.shown == [1]
    assert times[1] < 40 * times[0]


def test_ready_nodes_near_an_output_go_first() -> None:
    """Of two ready nodes the one that feeds an output runs before an older one that feeds a long chain."""
    links = {"far3": [], "far2": ["far3"], "far1": ["far2"], "far0": ["far1"], "deep": ["far0"], "near": []}
    links |= {"quick": ["near"]}
    order = RunOrder(lambda node_id: links[node_id], lambda _: False)
    order.add(["deep", "quick"], {"deep", "quick"})
    taken = []
    while order:
        node_id = order.next()
        assert node_id is not None
        taken.append(node_id)
        order.done(node_id)
    assert taken[:2] == ["near", "quick"]
    assert taken[2:] == ["far3", "far2", "far1", "far0", "deep"]


def test_the_graph_imports_no_torch() -> None:
    """The graph package can be used, and tested, where torch is not installed."""
    script = "import sys, comfy_core.graph.execute, comfy_core.graph.validate; print('torch' in sys.modules)"
    answer = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert answer.stdout.strip() == "False"


@pytest.mark.parametrize("raised", [SystemExit(3), RecursionError("deep"), MemoryError()])
def test_whatever_a_node_raises_is_its_error(raised: BaseException) -> None:
    """Even a node that calls sys.exit ends only its run."""

    def give_up(_: object, v: int) -> None:
        raise raised

    bench = Bench()
    bench.library["Raise"] = node(give_up, {"required": {"v": ("INT", INT)}}, ("INT",))
    result, _ = bench.run({"r": n("Raise", v=1), "out": n("Show", v=["r", 0])})
    assert result.failure is not None
    assert result.failure.exception_type == type(raised).__name__
    assert bench.run({"out": n("Show", v=1)})[0].status == "success"


@pytest.mark.parametrize("later", [False, True], ids=["called", "awaited"])
def test_a_node_that_runs_out_of_memory_is_called_once_more(later: bool) -> None:
    """What could be freed is freed once; a second failure stands, and other errors are never tried again."""
    fails, freed = [2], []
    bench = Bench()

    def call(_: object, v: int) -> tuple[int]:
        if fails[0]:
            fails[0] -= 1
            raise MemoryError("full") if v else ValueError("wrong")
        return (v,)

    async def call_later(_: object, v: int) -> tuple[int]:
        return call(_, v)

    bench.library["Greedy"] = node(call_later if later else call, {"required": {"v": ("INT", INT)}}, ("INT",))
    bench.engine = Engine(bench.library, relieve=lambda error: isinstance(error, MemoryError) and not freed.append(1))
    for left, v, status in ((1, 5, "success"), (2, 6, "error"), (1, 0, "error")):
        fails[0] = left
        result, _ = bench.run({"g": n("Greedy", v=v), "o": n("Show", v=["g", 0])})
        assert result.status == status
    assert len(freed) == 2
