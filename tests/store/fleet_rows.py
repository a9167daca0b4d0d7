"""Rows a run needs around it: an organisation, machines, a workflow version. Plain SQL, for the tests of the store."""

from __future__ import annotations

from msgspec import Struct

from drivers.wire import AttemptId, LeaseToken, MachineId, RunId
from orchestrator.runs.state import Placed
from orchestrator.store import ids, runs
from orchestrator.store.db import Database
from orchestrator.store.ledger import Change, Ledger

GRAPH = {"1": {"class_type": "EmptyImage", "inputs": {"width": 8, "height": 8, "batch_size": 1, "color": 0}}}


class Team(Struct):
    """An organisation with two machines and a workflow version."""

    organisation_id: str
    machine_ids: list[MachineId]
    workflow_id: str
    version_id: str


async def make_team(db: Database, name: str = "team") -> Team:
    """A team of its own."""
    organisation, workflow, version = ids.new_id(), ids.new_id(), ids.new_id()
    machines = [MachineId(ids.new_id()) for _ in range(2)]
    slug = name + organisation[-6:]
    await db.execute("insert into organisations (id, name, slug) values ($1, $2, $3)", organisation, name, slug)
    for place, machine in enumerate(machines):
        await db.execute(
            """insert into machines (id, organisation_id, name, kind, state, slots)
               values ($1, $2, $3, 'classic', 'ready', 2)""",
            machine,
            organisation,
            f"machine-{place}",
        )
    await db.execute(
        "insert into workflows (id, organisation_id, name, latest_version) values ($1, $2, 'w', 1)",
        workflow,
        organisation,
    )
    await db.execute(
        """insert into workflow_versions (id, organisation_id, workflow_id, version, api_graph, requirements)
           values ($1, $2, $3, 1, $4, $5)""",
        version,
        organisation,
        workflow,
        GRAPH,
        {"node_classes": ["EmptyImage"], "models": []},
    )
    return Team(organisation, machines, workflow, version)


async def queue_run(db: Database, team: Team, **fields: object) -> RunId:
    """A waiting run of the team."""
    run = runs.NewRun(
        id=RunId(ids.new_id()),
        organisation_id=team.organisation_id,
        workflow_id=team.workflow_id,
        version_id=team.version_id,
        deployment_id=None,
        **fields,
    )
    await runs.insert(db, [run])
    return run.id


async def place(ledger: Ledger, team: Team, run_id: RunId, machine: int = 0) -> tuple[AttemptId, LeaseToken]:
    """Give the run to one of the team's machines; returns the attempt and its token."""
    attempt, token = AttemptId(ids.new_id()), LeaseToken(ids.token("cft"))
    event = Placed(attempt, team.machine_ids[machine])
    change = Change(run_id, event, team.organisation_id, token_hash=ids.digest(token), claim_s=20)
    await ledger.apply([change])
    return attempt, token
