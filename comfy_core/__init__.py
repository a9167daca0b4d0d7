"""The GPU executor: a ComfyUI-compatible server and engine. It knows nothing of fleets, agents or databases."""
