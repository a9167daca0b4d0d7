"""The Python SDK and the `comfyfleet` command. Knows the public wire (`orchestrator.wire`) and nothing behind it."""

from client.api import Fleet
from client.errors import FleetError

__all__ = ["Fleet", "FleetError"]
