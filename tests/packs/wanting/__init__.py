"""A pack that loads, although what it says it needs is not installed."""


class PackWanting:
    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {}}

    RETURN_TYPES = ("STRING",)
    FUNCTION = "tell"

    def tell(self):
        return ("all the same",)


NODE_CLASS_MAPPINGS = {"PackWanting": PackWanting}
