"""The newer kind in one file, with an entry point that is no coroutine."""

from comfy_api.latest import ComfyExtension, io


class Half(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="PackHalf",
            inputs=[io.Int.Input("value", default=2)],
            outputs=[io.Int.Output()],
        )

    @classmethod
    def execute(cls, value):
        return io.NodeOutput(value // 2)


class Extension(ComfyExtension):
    async def get_node_list(self):
        return [Half]


def comfy_entrypoint():
    return Extension()
