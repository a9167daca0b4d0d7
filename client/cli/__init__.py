"""The `comfyfleet` command: one file per resource over the SDK."""
