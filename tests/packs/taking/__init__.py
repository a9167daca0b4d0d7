"""A pack that would take the place of a built-in node, and has a class that cannot be described."""


class SaveImage:
    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {}}

    RETURN_TYPES = ()
    FUNCTION = "take"

    def take(self):
        return ()


class PackBroken:
    @classmethod
    def INPUT_TYPES(cls):
        raise ValueError("this class cannot say what it takes")

    RETURN_TYPES = ()
    FUNCTION = "run"


NODE_CLASS_MAPPINGS = {"SaveImage": SaveImage, "PackBroken": PackBroken}
