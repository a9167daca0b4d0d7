"""A module two levels down."""

from ..shared import WHO


class PackDeep:
    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {}}

    RETURN_TYPES = ("STRING",)
    FUNCTION = "tell"

    def tell(self):
        import importlib

        late = importlib.import_module("..shared", __package__)
        return (f"{WHO} {late.WHO} {__name__.count('_x_')}",)
