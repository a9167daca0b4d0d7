"""A pack that gives and takes lists."""


class PackCountTo:
    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {"last": ("INT", {"default": 3})}}

    RETURN_TYPES = ("INT",)
    OUTPUT_IS_LIST = (True,)
    FUNCTION = "count"
    CATEGORY = "pack/listing"

    def count(self, last):
        return (list(range(1, last + 1)),)


class PackJoin:
    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {"values": ("INT", {"forceInput": True}), "between": ("STRING", {"default": ","})}}

    INPUT_IS_LIST = True
    RETURN_TYPES = ("STRING",)
    FUNCTION = "join"
    CATEGORY = "pack/listing"

    def join(self, values, between):
        return (between[0].join(map(str, values)),)


NODE_CLASS_MAPPINGS = {"PackCountTo": PackCountTo, "PackJoin": PackJoin}
