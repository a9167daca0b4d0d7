"""A pack as most are: two dictionaries and classes, and the names most packs import."""

import os

import comfy.model_management
import comfy.utils
import folder_paths
import nodes


class Anything(str):
    """A type that is no other type."""

    def __ne__(self, other):
        return False


class PackAdd:
    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {"a": ("INT", {"default": 1, "min": 0, "max": 99}), "b": ("INT", {"default": 2})}}

    RETURN_TYPES = ("INT",)
    RETURN_NAMES = ("sum",)
    FUNCTION = "add"
    CATEGORY = "pack/plain"
    DESCRIPTION = "Adds two numbers."

    def add(self, a, b):
        return (a + b,)


class PackSteps:
    """Moves a progress bar."""

    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {"steps": ("INT", {"default": 3})}, "hidden": {"node": "UNIQUE_ID"}}

    RETURN_TYPES = ("STRING",)
    FUNCTION = "walk"
    CATEGORY = "pack/plain"

    def walk(self, steps, node):
        bar = comfy.utils.ProgressBar(steps)
        for _ in range(steps):
            bar.update(1)
        return (f"{node} took {steps} steps on {comfy.model_management.get_torch_device()}",)


class PackShow:
    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {"value": (Anything("*"), {})}}

    RETURN_TYPES = ()
    OUTPUT_NODE = True
    FUNCTION = "show"
    CATEGORY = "pack/plain"

    def show(self, value):
        return {"ui": {"text": [str(value)]}}


class PackSave(nodes.SaveImage):
    """Saves as the built-in node does, under a prefix of its own."""

    CATEGORY = "pack/plain"

    def save_images(self, images, filename_prefix="ComfyUI", prompt=None, extra_pnginfo=None):
        saved = super().save_images(images, "pack/" + filename_prefix, prompt, extra_pnginfo)
        folder = os.path.join(folder_paths.get_output_directory(), "pack")
        return {"ui": {**saved["ui"], "files": sorted(os.listdir(folder))}}


NODE_CLASS_MAPPINGS = {"PackAdd": PackAdd, "PackSteps": PackSteps, "PackShow": PackShow, "PackSave": PackSave}
NODE_DISPLAY_NAME_MAPPINGS = {"PackAdd": "Add (pack)", "PackShow": "Show"}
