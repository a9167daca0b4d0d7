"""A pack whose node becomes a graph."""

from comfy_execution.graph_utils import GraphBuilder, is_link


class PackPower:
    """base to the power of times, as a chain of multiplications."""

    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {"base": ("INT", {"default": 2, "rawLink": True}), "times": ("INT", {"default": 3})}}

    RETURN_TYPES = ("INT", "BOOLEAN")
    FUNCTION = "expand"
    CATEGORY = "pack/expanding"

    def expand(self, base, times):
        graph = GraphBuilder()
        value = graph.node("PackTimes", a=base, b=1)
        for _ in range(times - 1):
            value = graph.node("PackTimes", a=value.out(0), b=base)
        return {"result": (value.out(0), is_link(base)), "expand": graph.finalize()}


class PackTimes:
    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {"a": ("INT", {}), "b": ("INT", {})}}

    RETURN_TYPES = ("INT",)
    FUNCTION = "times"
    CATEGORY = "pack/expanding"

    def times(self, a, b):
        return (a * b,)


NODE_CLASS_MAPPINGS = {"PackPower": PackPower, "PackTimes": PackTimes}
