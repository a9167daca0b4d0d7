"""A pack whose node can be watched while it works: it counts, shows pictures on the way and says something.

Each step takes a moment, so that a browser has time to draw it.
"""

import time

import torch
from PIL import Image

from comfy.utils import ProgressBar
from server import PromptServer

SIDE = 64


class WatchedSteps:
    """Takes so many steps, each with a preview of its own colour, and gives a picture of the last one's."""

    @classmethod
    def INPUT_TYPES(cls):  # noqa: N802 - the name node classes are given
        return {
            "required": {
                "steps": ("INT", {"default": 3, "min": 1, "max": 20}),
                "seconds": ("FLOAT", {"default": 0.0, "min": 0.0, "max": 2.0, "step": 0.01}),
                "form": (["JPEG", "PNG"],),
                "largest": ("INT", {"default": 128, "min": 0, "max": 4096}),
            },
            "hidden": {"node_id": "UNIQUE_ID"},
        }

    RETURN_TYPES = ("IMAGE",)
    FUNCTION = "work"
    CATEGORY = "tests"

    def work(self, steps, seconds, form, largest, node_id):
        bar = ProgressBar(steps)
        for step in range(steps):
            colour = (250 * (step + 1) // steps, 30, 200)
            picture = Image.new("RGB", (SIDE, SIDE // 2), colour)
            bar.update_absolute(step + 1, steps, (form, picture, largest or None))
            time.sleep(seconds)
        PromptServer.instance.send_progress_text("höchstens", node_id)
        print("watched", steps, "steps")
        last = torch.tensor([250, 30, 200]) / 255
        return (last.expand(1, SIDE // 2, SIDE, 3).clone(),)


NODE_CLASS_MAPPINGS = {"WatchedSteps": WatchedSteps}
NODE_DISPLAY_NAME_MAPPINGS = {"WatchedSteps": "Watched steps"}
