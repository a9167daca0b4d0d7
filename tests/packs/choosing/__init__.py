"""A pack with lazy inputs: only the branch that is chosen runs."""

CALLED = []


class PackChoose:
    @classmethod
    def INPUT_TYPES(cls):
        lazy = {"lazy": True}
        return {"required": {"first": ("BOOLEAN", {}), "a": ("INT", lazy), "b": ("INT", lazy)}}

    RETURN_TYPES = ("INT", "STRING")
    FUNCTION = "choose"
    CATEGORY = "pack/choosing"

    def check_lazy_status(self, first, a, b):
        if first and a is None:
            return ["a"]
        if not first and b is None:
            return ["b"]
        return []

    def choose(self, first, a, b):
        return (a if first else b, f"{a}/{b}")


class PackCounted:
    """Remembers that it was called."""

    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {"value": ("INT", {})}}

    RETURN_TYPES = ("INT",)
    FUNCTION = "call"
    CATEGORY = "pack/choosing"

    @classmethod
    def IS_CHANGED(cls, value):
        return float("nan")

    def call(self, value):
        CALLED.append(value)
        return (value,)


NODE_CLASS_MAPPINGS = {"PackChoose": PackChoose, "PackCounted": PackCounted}
