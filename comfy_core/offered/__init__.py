"""What node packs are offered under ComfyUI's names and the executor itself has no use for. `compat` names it."""
