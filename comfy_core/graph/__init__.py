"""Workflow JSON to results: validation, signatures, caching, order, calls. Pure Python: no torch, no server."""
