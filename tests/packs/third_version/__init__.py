"""A pack of the newer kind: classes with a schema, handed out by an entry point."""

from comfy_api.latest import ComfyExtension, io

LOADED = []


class Triple(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="PackTriple",
            display_name="Triple",
            category="pack/v3",
            inputs=[io.Int.Input("value", default=1, min=0, max=100)],
            outputs=[io.Int.Output(display_name="three times")],
        )

    @classmethod
    def execute(cls, value):
        return io.NodeOutput(value * 3)


class Says(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="PackSays",
            category="pack/v3",
            inputs=[io.Int.Input("value")],
            outputs=[],
            hidden=[io.Hidden.unique_id],
            is_output_node=True,
        )

    @classmethod
    async def execute(cls, value):
        return io.NodeOutput(ui={"text": [f"{cls.hidden.unique_id}: {value} {LOADED}"]})


class Extension(ComfyExtension):
    async def on_load(self):
        LOADED.append("on_load")

    async def get_node_list(self):
        return [Triple, Says]


async def comfy_entrypoint():
    return Extension()
