"""The recorded callbacks of the comfyui-deploy plugin, case by case, to be sent again in any order.

A case's messages keep their order of arrival. Ids, tokens and addresses are put in by whoever replays them.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from msgspec import Struct

FILE = Path(__file__).parent / "fixtures" / "comfydeploy" / "callbacks.jsonl"
ANSWER = "reply of /comfyui-deploy/run"


class Recorded(Struct):
    """One case: the callbacks in order, the names of the files put, and what the machine answered at first."""

    name: str
    bodies: list[dict[str, Any]]
    put: list[str]
    answer: dict[str, Any]


def cases() -> dict[str, Recorded]:
    """Every recorded case by its name."""
    found: dict[str, Recorded] = {}
    for line in FILE.read_text(encoding="utf-8").splitlines():
        message = json.loads(line)
        if "case" in message:
            case = found[message["case"]] = Recorded(message["case"], [], [], {})
        elif message["call"] == "POST status_endpoint":
            case.bodies.append(message["body"])
        elif message["call"] == "PUT upload":
            case.put.append(message["path"])
        elif message["call"] == ANSWER:
            case.answer = json.loads(message["body"])
    return found


def history(case: Recorded) -> dict[str, Any]:
    """What ComfyUI's own history would say of the case."""
    events = [body["ws_event"] for body in case.bodies if "ws_event" in body]
    made = {event["data"]["node"]: event["data"]["output"] for event in events if event["event"] == "executed"}
    errors = [["execution_error", event["data"]] for event in events if event["event"] == "execution_error"]
    return {"outputs": made, "status": {"status_str": "error" if errors else "success", "messages": errors}}


def readdressed(body: dict[str, Any], run_id: str, urls: dict[str, str]) -> dict[str, Any]:
    """The body as the plugin would send it for another run and with other addresses of files, by their names."""
    changed = {**body, "run_id": run_id}
    data = body.get("output_data")
    if isinstance(data, dict):
        changed["output_data"] = {
            kind: [{**item, "url": urls.get(item["filename"])} if isinstance(item, dict) else item for item in items]
            if isinstance(items, list)
            else items
            for kind, items in data.items()
        }
    return changed
