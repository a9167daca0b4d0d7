"""The node."""


class PackEarly:
    SEEN = None

    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {}}

    RETURN_TYPES = ("STRING",)
    FUNCTION = "tell"
    CATEGORY = "pack/early"

    def tell(self):
        return (self.SEEN,)
