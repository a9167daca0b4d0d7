"""Nothing is promised here; what packs take from it all the same."""

from comfy_core.v3.node import ComfyNode as _ComfyNodeInternal
