"""Schemathesis over the whole OpenAPI document, against a real server: all its checks, every operation.

SPECIFICATION_S says for how many seconds (45 unless told).
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.wire.conftest import Orchestrator, start_orchestrator

pytestmark = pytest.mark.chaos
ROOT = Path(__file__).resolve().parents[2]
SECONDS = int(os.environ.get("SPECIFICATION_S", "45"))
CONFIG = """
[checks.positive_data_acceptance]
# What a schema cannot say: a URL that is not reached, an id that is not there, a token that is used up.
expected-statuses = ["2xx", 304, 401, 403, 404, 409, 410, 412, 413, 415, 422, 429]

[[operations]]
# In a form all values are texts: a number where a file should be is a file with digits in it.
include-name = "POST /api/v1/files"
checks.negative_data_rejection.enabled = false
"""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, module_database_url: str) -> Iterator[Orchestrator]:
    """One that counts no requests, with something of each kind in it."""
    running = start_orchestrator(
        tmp_path_factory.mktemp("specification"), module_database_url, rate_limit="0", webhook_private="true"
    )
    try:
        yield running
    finally:
        running.stop()


def furnished(server: Orchestrator) -> dict[str, str]:
    """Make one of each thing; path parameter -> id."""
    with httpx.Client(base_url=f"{server.url}/api/v1", headers=server.headers, timeout=20) as api:

        def made(path: str, **body: object) -> dict:
            answer = api.post(path, json=body)
            assert answer.is_success, answer.text
            return answer.json()

        graph = {"1": {"class_type": "PrimitiveInt", "inputs": {"value": 1}}}
        workflow = made("/workflows", name="one", api_graph=graph)
        deployment = made("/deployments", version_id=workflow["version"]["id"])
        stored = api.post("/files", files={"file": ("a.txt", b"one", "text/plain")})
        assert stored.is_success, stored.text
        return {
            "workflow_id": workflow["id"],
            "version_id": workflow["version"]["id"],
            "deployment_id": deployment["id"],
            "machine_id": made("/machines", name="one")["id"],
            "webhook_id": made("/webhooks", url=f"{server.url}/health/live")["id"],
            "file_id": stored.json()["id"],
            "run_id": made("/runs", deployment_id=deployment["id"])["id"],
        }


def test_every_operation_does_what_the_document_says(server: Orchestrator, tmp_path: Path) -> None:
    """No answer that is not in the document, no wrong body taken, no right one refused, nothing that breaks."""
    ids = furnished(server)
    parameters = "".join(f'"path.{name}" = "{value}"\n' for name, value in ids.items())
    config = tmp_path / "schemathesis.toml"
    config.write_text(f"{CONFIG}\n[parameters]\n{parameters}")
    document = tmp_path / "openapi.json"
    document.write_bytes(httpx.get(f"{server.url}/openapi.json", timeout=20).content)
    environment = {
        **os.environ,
        "SCHEMATHESIS_HOOKS": "tests.wire.specification_hooks",
        "FLEET_ADDRESS": server.url,
        "FLEET_EMAIL": server.email,
        "FLEET_PASSWORD": server.password,
        "PYTHONPATH": str(ROOT),
    }
    command = [sys.executable, "-m", "schemathesis.cli", "--config-file", str(config), "run", str(document)]
    # All checks are on by default; to ask for them here would overrule what the configuration says of an operation.
    command += ["--url", server.url, "--phases", "examples,coverage,fuzzing"]
    command += ["--continue-on-failure", "--max-time", str(SECONDS), "--request-timeout", "20"]
    done = subprocess.run(
        command, capture_output=True, text=True, cwd=tmp_path, env=environment, timeout=SECONDS * 6 + 120, check=False
    )
    print(done.stdout[-2000:])
    assert done.returncode == 0, done.stdout[-20000:]
    counted = re.search(r"Tested: (\d+)", done.stdout)
    assert counted is not None
    assert int(counted[1]) > 90
