"""What packs import is there, patched and subclassed as they do, and says so when it needs the diffusion models."""

from __future__ import annotations

import pytest

from comfy_core.offered.later import known
from tests.unit.comfy_core.pack_side import PackSide, Raised

TIER_A = """
comfy.model_management: get_torch_device load_models_gpu unet_offload_device unet_dtype soft_empty_cache
comfy.model_management: intermediate_device unload_all_models cast_to_device get_free_memory load_model_gpu
comfy.model_management: should_use_fp16 unet_manual_cast InterruptProcessingException get_autocast_device
comfy.model_management: throw_exception_if_processing_interrupted xformers_enabled loaded_models is_device_mps
comfy.model_management: vae_device vae_dtype text_encoder_device text_encoder_offload_device OOM_EXCEPTION module_size
comfy.model_management: free_memory
comfy.utils: common_upscale load_torch_file ProgressBar get_attr PROGRESS_BAR_ENABLED save_torch_file set_attr
comfy.utils: UNET_MAP_BASIC state_dict_prefix_replace tiled_scale get_tiled_scale_steps repeat_to_batch_size bislerp
comfy.utils: lanczos
comfy.samplers: KSampler CFGGuider calculate_sigmas sampler_object KSAMPLER sample sampling_function calc_cond_batch
comfy.samplers: cfg_function SCHEDULER_NAMES SAMPLER_NAMES
comfy.sd: load_checkpoint_guess_config load_lora_for_models VAE CLIP CLIPType load_clip load_checkpoint
comfy.sd: load_diffusion_model load_diffusion_model_state_dict
comfy.model_patcher: ModelPatcher create_model_options_clone set_model_options_patch_replace
comfy.sample: prepare_noise fix_empty_latent_channels sample sample_custom
comfy.lora: load_lora model_lora_keys_unet calculate_weight
comfy.controlnet: ControlBase ControlNet load_controlnet T2IAdapter
comfy.ops: manual_cast disable_weight_init cast_bias_weight pick_operations
comfy.ldm.modules.attention: optimized_attention
comfy.model_base: ModelType BaseModel SDXL SDXLRefiner SVD_img2vid
comfy.sampler_helpers: convert_cond prepare_mask get_additional_models
comfy.patcher_extension: WrappersMP CallbacksMP add_wrapper_with_key WrapperExecutor PatcherInjection
comfy.latent_formats: SD15 SDXL SD3 Flux Wan21
comfy.clip_vision: load ClipVisionModel Output clip_preprocess
comfy.k_diffusion.sampling: sample_euler get_sigmas_karras to_d
comfy.ldm.modules.diffusionmodules.openaimodel: UNetModel timestep_embedding
comfy.cli_args: args LatentPreviewMethod
comfy_extras.nodes_upscale_model: ImageUpscaleWithModel
comfy_extras.chainner_models.model_loading: load_state_dict
node_helpers: conditioning_set_values pillow
latent_preview: get_previewer prepare_callback LatentPreviewer Latent2RGBPreviewer
comfyui_version: __version__
utils.json_util: merge_json_recursive
"""


@pytest.mark.parametrize("line", TIER_A.strip().splitlines())
def test_the_names_most_packs_import_are_there(side: PackSide, line: str) -> None:
    """`from module import name` works for each."""
    module, _, names = line.partition(":")
    side.run(f"from {module} import {', '.join(names.split())}")


def test_every_listed_module_imports(side: PackSide) -> None:
    """The list holds no module that clashes with a file, and every name on it can be had."""
    listed = {module: list(names) for module, names in known().items()}
    missing = side.run(
        f"""
        import importlib
        answer = []
        for module, names in {listed!r}.items():
            there = importlib.import_module(module)
            answer += [f"{{module}}.{{name}}" for name in names if not hasattr(there, name)]
        """
    )
    assert missing == []


def test_what_needs_models_says_so_when_it_is_called(side: PackSide) -> None:
    """Functions, constructors and methods raise one error that names them."""
    calls = {
        "comfy.sd.load_checkpoint('x')": "comfy.sd.load_checkpoint",
        "comfy.sd.VAE()": "comfy.sd.VAE.__init__",
        "comfy.model_patcher.ModelPatcher.clone(1)": "comfy.model_patcher.ModelPatcher.clone",
    }
    for call, name in calls.items():
        with pytest.raises(Raised, match=f"NotOffered: {name} needs the diffusion models") as caught:
            side.value(call, "comfy.sd", "comfy.model_patcher")
        assert "does not run yet" in str(caught.value)


def test_a_misspelt_name_is_an_error(side: PackSide) -> None:
    """Modules hold what ComfyUI's hold, and make up nothing."""
    for line in ("from comfy.sd import load_checkpont", "import comfy.sdd", "from comfy.samplers import KSamplr"):
        with pytest.raises(Raised, match=r"ImportError|ModuleNotFoundError"):
            side.run(line)
    with pytest.raises(Raised, match="AttributeError"):
        side.value("comfy.utills", "comfy")


def test_packs_subclass_and_patch_what_comes_later(side: PackSide) -> None:
    """A subclass with its own constructor works; a patched function stays patched for the next who imports it."""
    side.run(
        """
        import comfy.model_patcher, comfy.sample
        class Mine(comfy.model_patcher.ModelPatcher):
            def __init__(self): self.made = True
        original = comfy.sample.sample
        comfy.sample.sample = lambda: "patched"
        from comfy.sample import sample
        wrapped = comfy.model_patcher.ModelPatcher.clone
        comfy.model_patcher.ModelPatcher.clone = lambda self: "cloned"
        answer = [Mine().made, sample(), Mine().clone()]
        comfy.model_patcher.ModelPatcher.clone, comfy.sample.sample = wrapped, original
        """
    )
    assert side.value("issubclass(comfy.controlnet.ControlNet, comfy.controlnet.ControlBase)", "comfy.controlnet")
    assert side.value("issubclass(comfy.supported_models.SD15, object)", "comfy.supported_models")


def test_modules_are_reached_from_the_package(side: PackSide) -> None:
    """`import comfy` is enough to say comfy.ldm.modules.attention, as where the server has imported all of it."""
    assert side.value("comfy.ldm.modules.attention.optimized_attention.__name__", "comfy") == "attention_pytorch"
    assert side.value("comfy.ldm.flux.model.Flux.__name__", "comfy") == "Flux"


def test_built_in_nodes_are_found_in_their_modules(side: PackSide) -> None:
    """comfy_extras gives the class of the registry where this version has the node."""
    found = side.run(
        """
        from comfy_extras.nodes_upscale_model import ImageUpscaleWithModel
        answer = surface.registry["ImageUpscaleWithModel"] is ImageUpscaleWithModel
        """
    )
    assert found is True


def test_names_of_samplers_and_schedules_are_in_order(side: PackSide) -> None:
    """The lists that nodes show."""
    assert side.value("[len(comfy.samplers.SAMPLER_NAMES), comfy.samplers.SAMPLER_NAMES[-3:]]", "comfy.samplers") == [
        42,
        ["ddim", "uni_pc", "uni_pc_bh2"],
    ]
    assert side.value("comfy.samplers.KSampler.SCHEDULERS[:3]") == ["simple", "sgm_uniform", "karras"]
