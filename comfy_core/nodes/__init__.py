"""The built-in nodes, by theme, and the list of them all."""

from __future__ import annotations

from comfy_core.nodes import deploy_output, external, image, preview, primitive, rebatch, scale, upscale
from comfy_core.registry import BuiltIn, Registry, Services

THEMES: tuple[tuple[type[BuiltIn], ...], ...] = (
    image.NODES,
    scale.NODES,
    rebatch.NODES,
    upscale.NODES,
    primitive.NODES,
    preview.NODES,
    external.NODES,
    deploy_output.NODES,
)


def built_in(services: Services) -> Registry:
    """A registry with every built-in node."""
    registry = Registry()
    for theme in THEMES:
        for cls in theme:
            registry.add_built_in(cls, services)
    return registry
