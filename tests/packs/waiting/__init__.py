"""A pack whose nodes wait for each other: it ends only when they run at the same time."""

import asyncio

ARRIVED = {}


class PackMeet:
    """Waits until as many calls of this name have begun as are expected."""

    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {"name": ("STRING", {}), "expected": ("INT", {"default": 2}), "who": ("STRING", {})}}

    RETURN_TYPES = ("STRING",)
    FUNCTION = "meet"
    CATEGORY = "pack/waiting"

    async def meet(self, name, expected, who):
        ARRIVED.setdefault(name, []).append(who)
        async with asyncio.timeout(10):
            while len(ARRIVED[name]) < expected:
                await asyncio.sleep(0.005)
        return (f"{who} met {len(ARRIVED[name])}",)


NODE_CLASS_MAPPINGS = {"PackMeet": PackMeet}
