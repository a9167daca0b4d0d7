"""A package inside."""

from .. import shared


class PackInner:
    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {}}

    RETURN_TYPES = ("STRING",)
    FUNCTION = "tell"

    def tell(self):
        return (shared.WHO,)


NODES = {"PackInner": PackInner}
