"""Its node."""


class PackDash:
    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {}}

    RETURN_TYPES = ("STRING",)
    FUNCTION = "tell"
    CATEGORY = "pack/dash"

    def tell(self):
        return ("dash",)


NODE_CLASS_MAPPINGS = {}
