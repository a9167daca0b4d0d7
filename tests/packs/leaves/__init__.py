"""A pack that wants to end the process."""

raise SystemExit(3)
