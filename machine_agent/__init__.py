"""The machine agent: runs beside the GPU, dials out to the orchestrator, takes jobs and reports on them."""

from __future__ import annotations

VERSION = "0.1.0"
