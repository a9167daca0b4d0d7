"""ComfyDeploy's API in both generations, under /api: its clients and its ComfyUI plugin change one address."""

from orchestrator.dialects.comfydeploy import reporting

MODULES = (reporting,)
