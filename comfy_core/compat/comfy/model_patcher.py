"""`comfy.model_patcher`: options of models. The models that carry them come later."""

from collections.abc import Callable
from typing import Any

from comfy.patcher_extension import CallbacksMP, PatcherInjection, WrappersMP, copy_nested_dicts
from comfy_core.offered.later import rest

__getattr__ = rest(__name__)

Options = dict[str, Any]


def create_model_options_clone(orig_model_options: Options) -> Options:
    """Options that can be changed without changing these."""
    return copy_nested_dicts(orig_model_options)


def set_model_options_patch_replace(
    model_options: Options,
    patch: Any,
    name: str,
    block_name: str,
    number: int,
    transformer_index: int | None = None,
) -> Options:
    """Have a block's part done by a function: {name: {(block, number[, index]): function}} under patches_replace."""
    inner = model_options["transformer_options"] = dict(model_options.get("transformer_options", {}))
    replaced = inner["patches_replace"] = dict(inner.get("patches_replace", {}))
    place = (block_name, number) if transformer_index is None else (block_name, number, transformer_index)
    replaced[name] = {**replaced.get(name, {}), place: patch}
    return model_options


def set_model_options_post_cfg_function(
    model_options: Options, post_cfg_function: Callable[..., Any], disable_cfg1_optimization: bool = False
) -> Options:
    """One more function after guidance."""
    return _add_function(model_options, "sampler_post_cfg_function", post_cfg_function, disable_cfg1_optimization)


def set_model_options_pre_cfg_function(
    model_options: Options, pre_cfg_function: Callable[..., Any], disable_cfg1_optimization: bool = False
) -> Options:
    """One more function before guidance."""
    return _add_function(model_options, "sampler_pre_cfg_function", pre_cfg_function, disable_cfg1_optimization)


def _add_function(options: Options, name: str, function: Callable[..., Any], both: bool) -> Options:
    options[name] = [*options.get(name, []), function]
    if both:
        options["disable_cfg1_optimization"] = True
    return options
