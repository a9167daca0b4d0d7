"""A pack of one file."""


class PackAlone:
    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {"text": ("STRING", {"default": "alone"})}}

    RETURN_TYPES = ("STRING",)
    FUNCTION = "run"
    CATEGORY = "pack/alone"

    def run(self, text):
        return (text.upper(),)


NODE_CLASS_MAPPINGS = {"PackAlone": PackAlone}
