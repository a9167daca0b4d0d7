"""The built-in nodes, by theme, and the list of them all."""

from __future__ import annotations

from comfy_core.nodes import (
    animated,
    audio,
    audio_file,
    batch,
    canny,
    compositing,
    compressed,
    conditioning,
    conditioning_family,
    deploy_output,
    external,
    flux_image,
    image,
    image_set,
    latent,
    latent_composite,
    latent_empty,
    latent_empty_more,
    latent_file,
    latent_math,
    latent_operation,
    latent_rebatch,
    live_image,
    mask,
    morphology,
    noise,
    post_processing,
    preview,
    primitive,
    quantize,
    rebatch,
    regex,
    sampling_noise,
    scale,
    sigmas,
    sigmas_tables,
    text,
    transform,
    upscale,
    video,
)
from comfy_core.registry import BuiltIn, Registry, Services

THEMES: tuple[tuple[type[BuiltIn], ...], ...] = (
    image.NODES,
    scale.NODES,
    rebatch.NODES,
    image_set.NODES,
    compressed.NODES,
    live_image.NODES,
    animated.NODES,
    flux_image.NODES,
    noise.NODES,
    canny.NODES,
    morphology.NODES,
    post_processing.NODES,
    quantize.NODES,
    compositing.NODES,
    transform.NODES,
    batch.NODES,
    mask.NODES,
    latent.NODES,
    latent_composite.NODES,
    latent_empty.NODES,
    latent_empty_more.NODES,
    latent_file.NODES,
    latent_math.NODES,
    latent_operation.NODES,
    latent_rebatch.NODES,
    audio.NODES,
    audio_file.NODES,
    regex.NODES,
    text.NODES,
    conditioning.NODES,
    conditioning_family.NODES,
    sigmas.NODES,
    sigmas_tables.NODES,
    sampling_noise.NODES,
    video.NODES,
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
