"""Placement: only machines that fit, the best of them first, and a reason when none does."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from drivers.wire import MachineId, RunId
from orchestrator.runs.schedule import Demand, MachineView, Waiting, choose, explain, lane_of, why_unfit

DEMAND = Demand("org", "v", frozenset({"A", "B"}), frozenset({"m.safetensors"}), (("pool", "fast"),))


def machine(name: str = "m", **changes: object) -> MachineView:
    """A machine that fits DEMAND, but for the changes."""
    fields = {
        "free": 1,
        "slots": 1,
        "labels": {"pool": "fast"},
        "node_classes": frozenset({"A", "B", "C"}),
        "models": frozenset({"m.safetensors"}),
        **changes,
    }
    return MachineView(MachineId(name), str(fields.pop("organisation_id", "org")), name, **fields)


def waiting(count: int, **fields: object) -> list[Waiting]:
    """Runs of one lane."""
    return [Waiting(RunId(f"r{n}"), 1, **fields) for n in range(count)]


def test_each_lack_is_named() -> None:
    """A machine that does not fit says the first thing it lacks."""
    assert why_unfit(DEMAND, machine()) is None
    assert why_unfit(DEMAND, machine(organisation_id="other")) == "belongs to another organisation"
    assert why_unfit(DEMAND, machine(labels={})) == "lacks the label pool=fast"
    assert why_unfit(DEMAND, machine(node_classes=frozenset({"A"}))) == "has no node B"
    assert why_unfit(DEMAND, machine(models=frozenset())) == "has no model m.safetensors"
    assert "not taking runs" in str(why_unfit(DEMAND, machine(ready=False)))


def test_runs_are_spread_over_idle_machines() -> None:
    """Two machines with two slots each share four runs evenly."""
    machines = [machine("a", free=2, slots=2), machine("b", free=2, slots=2)]
    plan = choose(waiting(4), {1: DEMAND}, machines)
    assert sorted(placement.machine_id for placement in plan.placements) == ["a", "a", "b", "b"]
    assert [placement.machine_id for placement in plan.placements[:2]] != ["a", "a"]


def test_a_warm_machine_is_preferred_then_a_fast_one() -> None:
    """A loaded model beats speed; speed decides among the warm."""
    cold = machine("cold", free=4, slots=4, speeds={"v": 10.0})
    warm = machine("warm", warm=frozenset({"v"}), speeds={"v": 50.0})
    assert choose(waiting(1), {1: DEMAND}, [cold, warm]).placements[0].machine_id == "warm"
    slow, fast = machine("slow", speeds={"v": 100.0}), machine("fast", speeds={"v": 10.0})
    assert choose(waiting(1), {1: DEMAND}, [slow, fast]).placements[0].machine_id == "fast"


def test_a_machine_already_tried_is_the_last_resort() -> None:
    """A run goes elsewhere after a failure, and back only when nothing else has room."""
    machines = [machine("a"), machine("b")]
    tried = frozenset({MachineId("a")})
    assert choose(waiting(1, tried=tried), {1: DEMAND}, machines).placements[0].machine_id == "b"
    assert choose(waiting(1, tried=tried), {1: DEMAND}, [machine("a")]).placements[0].machine_id == "a"


def test_lanes_without_room_are_told_apart() -> None:
    """A lane no machine fits is unfit; one whose machines are busy is full."""
    other = Demand("org", "w", frozenset({"Missing"}))
    runs = [Waiting(RunId("x"), 2), *waiting(2)]
    plan = choose(runs, {1: DEMAND, 2: other}, [machine()])
    assert (plan.unfit, plan.full, len(plan.placements)) == ({2}, {1}, 1)


@given(
    st.lists(st.tuples(st.integers(0, 3), st.booleans(), st.booleans()), max_size=8),
    st.lists(st.integers(0, 2), max_size=30),
)
def test_no_slot_is_given_twice(fleet: list[tuple[int, bool, bool]], lanes: list[int]) -> None:
    """Whatever waits: fitting machines only, never more than their free slots, and no idle slot a run could use."""
    machines = [
        machine(str(n), free=free, slots=3, node_classes=frozenset({"A", "B"} if has else {"A"}), ready=ready)
        for n, (free, has, ready) in enumerate(fleet)
    ]
    room = {view.id: view.free for view in machines}
    demands = {0: DEMAND, 1: Demand("org", "w", frozenset({"A"})), 2: Demand("other", "x")}
    plan = choose([Waiting(RunId(str(n)), lane) for n, lane in enumerate(lanes)], demands, machines)
    used: dict[str, int] = {}
    by_id = {view.id: view for view in machines}
    for placement in plan.placements:
        demand = demands[lanes[int(placement.run_id)]]
        assert why_unfit(demand, by_id[placement.machine_id]) is None
        used[placement.machine_id] = used.get(placement.machine_id, 0) + 1
    assert all(count <= room[MachineId(name)] for name, count in used.items())
    for lane in plan.full:
        assert all(view.free == 0 for view in machines if why_unfit(demands[lane], view) is None)


def test_lanes_differ_by_what_places_a_run() -> None:
    """Version, pool, pin and organisation make another lane; node lists do not."""
    base = Demand("org", "v")
    others = [Demand("org2", "v"), Demand("org", "w"), Demand("org", "v", pool=(("a", "b"),))]
    others.append(Demand("org", "v", pinned=MachineId("m")))
    assert len({lane_of(demand) for demand in [base, *others]}) == 5
    assert lane_of(base) == lane_of(Demand("org", "v", frozenset({"A"})))


def test_the_reason_is_for_people() -> None:
    """No machines, one lack shared by all, several lacks, and everybody busy each read differently."""
    assert explain([], 0).startswith("no machine is registered")
    assert explain([("a", "has no node X"), ("b", "has no node X")], 2) == "no machine has node X"
    assert explain([("a", "lacks the label gpu=4090")], 1) == "no machine has the label gpu=4090"
    assert explain([("a", "is not connected")], 1) == "no machine is connected"
    assert explain([("a", "is draining")], 1) == "every machine is draining"
    mixed = explain([("a", "has no node X"), ("b", "is draining")], 2)
    assert mixed == "none of 2 machines can run it: a has no node X; b is draining"
    assert explain([], 3) == "every machine that can run it is busy"
    assert explain([], 3, "attempt 1 failed, another follows (boom)") == "attempt 1 failed, another follows (boom)"
    assert explain([("a", "has no node X")], 2) == "every machine that can run it is busy"


def test_an_organisation_gets_no_more_machines_than_its_quota_leaves() -> None:
    """With room for one of three runs the rest wait in a lane that is full for now; no room named is no bound."""
    machines = [machine("a", slots=4, free=4)]
    plan = choose(waiting(3), {1: DEMAND}, machines, {"org": 1})
    assert (len(plan.placements), plan.full, plan.unfit) == (1, {1}, set())
    assert machines[0].free == 3
    assert len(choose(waiting(3), {1: DEMAND}, machines, {"other": 0}).placements) == 3
