"""The io types that travel over links only. They know their names; what they hold is any Python value.

`Type` stays `Any` for what torch or a model library defines, so that declaring a node imports neither.
"""

from __future__ import annotations

from typing import Any, ClassVar

from comfy_core.v3.slot import ComfyTypeIO, comfytype


@comfytype(io_type="IMAGE")
class Image(ComfyTypeIO):
    """float32 tensor [B, H, W, C] in 0..1."""


@comfytype(io_type="WAN_CAMERA_EMBEDDING")
class WanCameraEmbedding(ComfyTypeIO):
    """A camera path, embedded."""


@comfytype(io_type="MASK")
class Mask(ComfyTypeIO):
    """float32 tensor [B, H, W], 1 where masked."""


@comfytype(io_type="LATENT")
class Latent(ComfyTypeIO):
    """A dict with `samples` [B, C, H/8, W/8] and, at times, noise_mask and batch_index."""

    LatentDict: ClassVar[Any] = dict[str, Any]
    Type = dict[str, Any]


@comfytype(io_type="CONDITIONING")
class Conditioning(ComfyTypeIO):
    """A list of [embedding, options]."""

    PooledDict: ClassVar[Any] = dict[str, Any]
    CondList: ClassVar[Any] = list[tuple[Any, dict[str, Any]]]
    Type = list[tuple[Any, dict[str, Any]]]


@comfytype(io_type="SAMPLER")
class Sampler(ComfyTypeIO):
    """A solver, ready to be called."""


@comfytype(io_type="SIGMAS")
class Sigmas(ComfyTypeIO):
    """Noise levels, falling, as a tensor."""


@comfytype(io_type="NOISE")
class Noise(ComfyTypeIO):
    """An object that makes noise for a latent."""


@comfytype(io_type="GUIDER")
class Guider(ComfyTypeIO):
    """An object that steers a sampler."""


@comfytype(io_type="CLIP")
class Clip(ComfyTypeIO):
    """A text encoder with its tokenizer."""


@comfytype(io_type="CONTROL_NET")
class ControlNet(ComfyTypeIO):
    """A control network."""


@comfytype(io_type="VAE")
class Vae(ComfyTypeIO):
    """An autoencoder."""


@comfytype(io_type="MODEL")
class Model(ComfyTypeIO):
    """A diffusion model with its patches."""


@comfytype(io_type="CLIP_VISION")
class ClipVision(ComfyTypeIO):
    """An image encoder."""


@comfytype(io_type="CLIP_VISION_OUTPUT")
class ClipVisionOutput(ComfyTypeIO):
    """What an image encoder saw."""


@comfytype(io_type="STYLE_MODEL")
class StyleModel(ComfyTypeIO):
    """A style model."""


@comfytype(io_type="GLIGEN")
class Gligen(ComfyTypeIO):
    """A grounding model."""


@comfytype(io_type="UPSCALE_MODEL")
class UpscaleModel(ComfyTypeIO):
    """A network that enlarges images."""


@comfytype(io_type="AUDIO")
class Audio(ComfyTypeIO):
    """A dict with `waveform` [B, channels, samples] and `sample_rate`."""

    AudioDict: ClassVar[Any] = dict[str, Any]
    Type = dict[str, Any]


@comfytype(io_type="VIDEO")
class Video(ComfyTypeIO):
    """A VideoInput."""


@comfytype(io_type="SVG")
class SVG(ComfyTypeIO):
    """Vector drawings."""


@comfytype(io_type="LORA_MODEL")
class LoraModel(ComfyTypeIO):
    """Weights of a LoRA by name."""


@comfytype(io_type="LOSS_MAP")
class LossMap(ComfyTypeIO):
    """A dict with `loss`: values of a training."""

    LossMapDict: ClassVar[Any] = dict[str, Any]
    Type = dict[str, Any]


@comfytype(io_type="VOXEL")
class Voxel(ComfyTypeIO):
    """Voxels."""


@comfytype(io_type="MESH")
class Mesh(ComfyTypeIO):
    """A mesh of triangles."""


@comfytype(io_type="HOOKS")
class Hooks(ComfyTypeIO):
    """A group of hooks."""


@comfytype(io_type="HOOK_KEYFRAMES")
class HookKeyframes(ComfyTypeIO):
    """When hooks act, and how strongly."""


@comfytype(io_type="TIMESTEPS_RANGE")
class TimestepsRange(ComfyTypeIO):
    """A part of the sampling, from and to in 0..1."""


@comfytype(io_type="LATENT_OPERATION")
class LatentOperation(ComfyTypeIO):
    """A function of a latent."""


@comfytype(io_type="FLOW_CONTROL")
class FlowControl(ComfyTypeIO):
    """Where a loop begins, for its end."""


@comfytype(io_type="ACCUMULATION")
class Accumulation(ComfyTypeIO):
    """Values gathered by a loop."""

    AccumulationDict: ClassVar[Any] = dict[str, Any]
    Type = dict[str, Any]


@comfytype(io_type="LOAD_3D")
class Load3D(ComfyTypeIO):
    """Files of a rendered scene."""

    Model3DDict: ClassVar[Any] = dict[str, Any]
    Type = dict[str, Any]


@comfytype(io_type="LOAD3D_CAMERA")
class Load3DCamera(ComfyTypeIO):
    """Where a scene's camera stands."""

    CameraInfo: ClassVar[Any] = dict[str, Any]
    Type = dict[str, Any]


@comfytype(io_type="LOAD_3D_ANIMATION")
class Load3DAnimation(ComfyTypeIO):
    """Files of a rendered animation."""

    Model3DDict: ClassVar[Any] = dict[str, Any]
    Type = dict[str, Any]


@comfytype(io_type="PHOTOMAKER")
class Photomaker(ComfyTypeIO):
    """A PhotoMaker model."""


@comfytype(io_type="POINT")
class Point(ComfyTypeIO):
    """A point."""


@comfytype(io_type="FACE_ANALYSIS")
class FaceAnalysis(ComfyTypeIO):
    """Faces found."""


@comfytype(io_type="BBOX")
class BBOX(ComfyTypeIO):
    """A box around something."""


@comfytype(io_type="SEGS")
class SEGS(ComfyTypeIO):
    """Segments of an image."""


@comfytype(io_type="*")
class AnyType(ComfyTypeIO):
    """Anything."""


@comfytype(io_type="MODEL_PATCH")
class MODEL_PATCH(ComfyTypeIO):  # noqa: N801 - the node protocol's name
    """A patch for a diffusion model."""


@comfytype(io_type="AUDIO_ENCODER")
class AudioEncoder(ComfyTypeIO):
    """A sound encoder."""


@comfytype(io_type="AUDIO_ENCODER_OUTPUT")
class AudioEncoderOutput(ComfyTypeIO):
    """What a sound encoder heard."""


ModelPatch = MODEL_PATCH
