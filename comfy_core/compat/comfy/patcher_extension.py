"""`comfy.patcher_extension`: functions that packs put around the steps of sampling, kept by step and by key.

They are nested mappings in `transformer_options`: kind of entry -> step -> key -> list of functions.
"""

import copy
from collections.abc import Callable, Iterable
from typing import Any

Nested = dict[str, Any]
Function = Callable[..., Any]


class CallbacksMP:
    """When a callback is called."""

    ON_CLONE = "on_clone"
    ON_LOAD = "on_load_after"
    ON_DETACH = "on_detach_after"
    ON_CLEANUP = "on_cleanup"
    ON_PRE_RUN = "on_pre_run"
    ON_PREPARE_STATE = "on_prepare_state"
    ON_APPLY_HOOKS = "on_apply_hooks"
    ON_REGISTER_ALL_HOOK_PATCHES = "on_register_all_hook_patches"
    ON_INJECT_MODEL = "on_inject_model"
    ON_EJECT_MODEL = "on_eject_model"

    @classmethod
    def init_callbacks(cls) -> dict[str, dict[str, list[Function]]]:
        """No callback for any of them."""
        return {}


class WrappersMP:
    """What a wrapper goes around."""

    OUTER_SAMPLE = "outer_sample"
    PREPARE_SAMPLING = "prepare_sampling"
    SAMPLER_SAMPLE = "sampler_sample"
    PREDICT_NOISE = "predict_noise"
    CALC_COND_BATCH = "calc_cond_batch"
    APPLY_MODEL = "apply_model"
    DIFFUSION_MODEL = "diffusion_model"

    @classmethod
    def init_wrappers(cls) -> dict[str, dict[str, list[Function]]]:
        """No wrapper around any of them."""
        return {}


def _add(kind: str, step: str, key: str | None, function: Function, options: Nested, in_model: bool) -> None:
    if in_model:
        options = options.setdefault("transformer_options", {})
    options.setdefault(kind, {}).setdefault(step, {}).setdefault(key, []).append(function)


def _of_key(kind: str, step: str, key: str | None, options: Nested, in_model: bool) -> list[Function]:
    if in_model:
        options = options.get("transformer_options", {})
    return list(options.get(kind, {}).get(step, {}).get(key, []))


def _all(kind: str, step: str, options: Nested, in_model: bool) -> list[Function]:
    if in_model:
        options = options.get("transformer_options", {})
    return [function for several in options.get(kind, {}).get(step, {}).values() for function in several]


def add_callback(
    call_type: str, callback: Function, transformer_options: Nested, is_model_options: bool = False
) -> None:
    """Have a function called at a step."""
    add_callback_with_key(call_type, None, callback, transformer_options, is_model_options)


def add_callback_with_key(
    call_type: str, key: str | None, callback: Function, transformer_options: Nested, is_model_options: bool = False
) -> None:
    """Have a function called at a step, under a key."""
    _add("callbacks", call_type, key, callback, transformer_options, is_model_options)


def get_callbacks_with_key(
    call_type: str, key: str | None, transformer_options: Nested, is_model_options: bool = False
) -> list[Function]:
    """The functions under a key."""
    return _of_key("callbacks", call_type, key, transformer_options, is_model_options)


def get_all_callbacks(call_type: str, transformer_options: Nested, is_model_options: bool = False) -> list[Function]:
    """The functions under every key."""
    return _all("callbacks", call_type, transformer_options, is_model_options)


def add_wrapper(
    wrapper_type: str, wrapper: Function, transformer_options: Nested, is_model_options: bool = False
) -> None:
    """Put a function around a step."""
    add_wrapper_with_key(wrapper_type, None, wrapper, transformer_options, is_model_options)


def add_wrapper_with_key(
    wrapper_type: str, key: str | None, wrapper: Function, transformer_options: Nested, is_model_options: bool = False
) -> None:
    """Put a function around a step, under a key."""
    _add("wrappers", wrapper_type, key, wrapper, transformer_options, is_model_options)


def get_wrappers_with_key(
    wrapper_type: str, key: str | None, transformer_options: Nested, is_model_options: bool = False
) -> list[Function]:
    """The functions under a key."""
    return _of_key("wrappers", wrapper_type, key, transformer_options, is_model_options)


def get_all_wrappers(wrapper_type: str, transformer_options: Nested, is_model_options: bool = False) -> list[Function]:
    """The functions under every key."""
    return _all("wrappers", wrapper_type, transformer_options, is_model_options)


class WrapperExecutor:
    """Calls a function through its wrappers, the first one outermost.

    A wrapper is called with the executor and the arguments; calling the executor goes one step further in.
    """

    def __init__(
        self, original: Function, class_obj: object | None, wrappers: Iterable[Function], idx: int = 0
    ) -> None:
        self.original = original
        self.class_obj = class_obj
        self.wrappers = list(wrappers)
        self.idx = idx
        self.is_last = idx == len(self.wrappers)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """One step further in."""
        return self._next().execute(*args, **kwargs)

    def execute(self, *args: Any, **kwargs: Any) -> Any:
        """Call the wrapper of this step, or the function itself when there is none left."""
        if self.is_last:
            return self.original(*args, **kwargs)
        return self.wrappers[self.idx](self, *args, **kwargs)

    def _next(self) -> "WrapperExecutor":
        return WrapperExecutor(self.original, self.class_obj, self.wrappers, self.idx + 1)

    @classmethod
    def new_executor(cls, original: Function, wrappers: Iterable[Function], idx: int = 0) -> "WrapperExecutor":
        """For a function."""
        return cls(original, None, wrappers, idx)

    @classmethod
    def new_class_executor(
        cls, original: Function, class_obj: object, wrappers: Iterable[Function], idx: int = 0
    ) -> "WrapperExecutor":
        """For an object's method; wrappers find the object as class_obj."""
        return cls(original, class_obj, wrappers, idx)


class PatcherInjection:
    """How a pack puts something into a model and takes it out again."""

    def __init__(self, inject: Function, eject: Function) -> None:
        self.inject = inject
        self.eject = eject


def copy_nested_dicts(input_dict: Nested) -> Nested:
    """Mappings and lists copied, what is in them not."""
    return {
        key: copy_nested_dicts(value)
        if isinstance(value, dict)
        else copy.copy(value)
        if isinstance(value, list)
        else value
        for key, value in input_dict.items()
    }


def merge_nested_dicts(dict1: Nested, dict2: Nested, copy_dict1: bool = True) -> Nested:
    """The second one laid over the first: mappings merged, its lists before ours, other values replaced."""
    merged = copy_nested_dicts(dict1) if copy_dict1 else dict1
    for key, value in dict2.items():
        there = merged.get(key)
        if isinstance(value, dict):
            merged[key] = merge_nested_dicts(there if isinstance(there, dict) else {}, value, copy_dict1=False)
        elif isinstance(value, list) and isinstance(there, list):
            merged[key] = value + there
        else:
            merged[key] = value
    return merged
