"""Another home of the compiling wrapper."""

from comfy_api.torch_helpers import set_torch_compile_wrapper
