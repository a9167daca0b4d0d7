"""The base class of V3 nodes: its schema, how the engine calls it and how its answer is read. It executes no graph.

A V3 node is never instantiated: its methods are class methods. For each call the engine takes a locked clone of the
class, whose `hidden` holds the values of that call, so that calls under way at the same time cannot meet.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any, ClassVar, cast

from comfy_core.errors import NodeFault
from comfy_core.graph.blocker import ExecutionBlocker
from comfy_core.graph.output import NodeOutput
from comfy_core.v3.hidden import HiddenHolder
from comfy_core.v3.schema import Schema


class OfSchema:
    """A class attribute of the V1 protocol, read from the schema."""

    def __init__(self, read: Callable[[Schema], Any]) -> None:
        self._read = read

    def __get__(self, instance: object, owner: Any) -> Any:
        if getattr(owner.define_schema, "__func__", None) is vars(ComfyNode)["define_schema"].__func__:
            raise AttributeError(f"{owner.__name__} has no schema")
        return self._read(owner.known_schema())


class _Function:
    """FUNCTION: which of the two wrappers fits `execute`."""

    def __get__(self, instance: object, owner: Any) -> str:
        return "EXECUTE_NORMALIZED_ASYNC" if inspect.iscoroutinefunction(owner.execute) else "EXECUTE_NORMALIZED"


class ComfyNode:
    """Base class of V3 nodes: override `define_schema` and `execute`, and what else is needed."""

    hidden: ClassVar[HiddenHolder] = HiddenHolder()
    SCHEMA: ClassVar[Schema | None] = None
    RELATIVE_PYTHON_MODULE: ClassVar[Any] = None

    FUNCTION = _Function()
    CATEGORY = OfSchema(lambda schema: schema.category)
    DESCRIPTION = OfSchema(lambda schema: schema.description)
    RETURN_TYPES = OfSchema(lambda schema: [output.get_io_type() for output in schema.outputs])
    RETURN_NAMES = OfSchema(lambda schema: [output.display_name or output.get_io_type() for output in schema.outputs])
    OUTPUT_IS_LIST = OfSchema(lambda schema: [output.is_output_list for output in schema.outputs])
    OUTPUT_TOOLTIPS = OfSchema(lambda schema: [output.tooltip for output in schema.outputs])
    OUTPUT_NODE = OfSchema(lambda schema: schema.is_output_node)
    INPUT_IS_LIST = OfSchema(lambda schema: schema.is_input_list)
    NOT_IDEMPOTENT = OfSchema(lambda schema: schema.not_idempotent)
    DEPRECATED = OfSchema(lambda schema: schema.is_deprecated)
    EXPERIMENTAL = OfSchema(lambda schema: schema.is_experimental)
    API_NODE = OfSchema(lambda schema: schema.is_api_node)

    @classmethod
    def define_schema(cls) -> Schema:
        """The declaration. May be called often: choices such as file lists are read anew each time."""
        raise NotImplementedError(f"{cls.__name__} has no define_schema")

    @classmethod
    def execute(cls, *args: Any, **kwargs: Any) -> Any:
        """The work, or a coroutine of it: NodeOutput, tuple, dict, ExecutionBlocker or None."""
        raise NotImplementedError(f"{cls.__name__} has no execute")

    @classmethod
    def validate_inputs(cls, *args: Any, **kwargs: Any) -> bool | str:
        """Whether the constants given will do; a string says why not. Called only where overridden."""
        raise NotImplementedError(f"{cls.__name__} has no validate_inputs")

    @classmethod
    def fingerprint_inputs(cls, *args: Any, **kwargs: Any) -> Any:
        """What the result depends on beside the inputs. Called only where overridden."""
        raise NotImplementedError(f"{cls.__name__} has no fingerprint_inputs")

    @classmethod
    def check_lazy_status(cls, *args: Any, **kwargs: Any) -> list[str]:
        """Names of the lazy inputs needed now: all of them, where a node does not say."""
        return [name for name, value in kwargs.items() if value is None]

    @classmethod
    def GET_SCHEMA(cls) -> Schema:  # noqa: N802 - the node protocol's name
        """The declaration read now, checked and completed. Raises NodeFault for a wrong one."""
        cls.VALIDATE_CLASS()
        schema = cls.define_schema()
        if not isinstance(schema, Schema):
            raise NodeFault(f"define_schema of {cls.__name__} returned {type(schema).__name__}, not a Schema")
        schema.validate()
        schema.finalize()
        return schema

    @classmethod
    def VALIDATE_CLASS(cls) -> None:  # noqa: N802
        """Raises NodeFault for a class without `execute` or `define_schema` of its own."""
        for name in ("define_schema", "execute"):
            if getattr(cls, name).__func__ is getattr(ComfyNode, name).__func__:
                raise NodeFault(f"node class {cls.__name__} does not define {name}")

    @classmethod
    def known_schema(cls) -> Schema:
        """The declaration as first read: what does not change between two readings is taken from it."""
        known = cls.__dict__.get("_known")
        if known is None:
            known = cls.GET_SCHEMA()
            type.__setattr__(cls, "_known", known)
        return cast("Schema", known)

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, dict[str, Any]]:  # noqa: N802
        """The inputs in the words of the V1 protocol, read now."""
        return cls.GET_SCHEMA().input_types()

    @classmethod
    def GET_NODE_INFO_V1(cls) -> dict[str, Any]:  # noqa: N802
        """The entry of /object_info, read now."""
        return cls.GET_SCHEMA().described(cls.RELATIVE_PYTHON_MODULE or "nodes")

    @classmethod
    def EXECUTE_NORMALIZED(cls, **kwargs: Any) -> NodeOutput:  # noqa: N802
        """Call `execute` and read its answer. Raises NodeFault for one of a wrong shape."""
        return cls.normalized(cls.execute(**kwargs))

    @classmethod
    async def EXECUTE_NORMALIZED_ASYNC(cls, **kwargs: Any) -> NodeOutput:  # noqa: N802
        """The same for an `execute` that is a coroutine function."""
        return cls.normalized(await cls.execute(**kwargs))

    @classmethod
    def normalized(cls, answer: Any) -> NodeOutput:
        """Any answer `execute` may give as NodeOutput, outputs left out being None.

        Raises NodeFault for a graph that was not announced.
        """
        output = read_answer(answer, cls.__name__)
        missing = len(cls.known_schema().outputs) - len(output.args)
        if output.args and missing > 0:
            output.args += (None,) * missing
        if output.expand is not None and not cls.known_schema().enable_expand:
            raise NodeFault(f"{cls.__name__} returned a graph, but its schema does not say enable_expand")
        return output

    @classmethod
    def with_hidden(cls, values: Mapping[str, Any] | None = None) -> type[ComfyNode]:
        """A clone of the class for one call, with `hidden` filled in, on which nothing can be set.

        Without values one clone serves all calls: making a class costs more than many a node's work.
        """
        if values:
            return clone(cls, HiddenHolder.from_dict(values))
        bare = cls.__dict__.get("_bare")
        if bare is None:
            bare = clone(cls, HiddenHolder())
            type.__setattr__(cls, "_bare", bare)
        return cast("type[ComfyNode]", bare)


def _refuse(cls: type, name: str, *value: Any) -> None:
    raise AttributeError(f"{cls.__name__}.{name} cannot be set while the node runs: use the schema's hidden values")


class Locked(type):
    """The metaclass of clones: they refuse to be changed."""

    __setattr__ = _refuse
    __delattr__ = _refuse


def clone(cls: type[ComfyNode], hidden: HiddenHolder) -> type[ComfyNode]:
    """A subclass of the same name that cannot be changed and holds these hidden values."""
    own = {"hidden": hidden, "__module__": cls.__module__, "__doc__": cls.__doc__, "_known": cls.known_schema()}
    kind = Locked if type(cls) is type else type("Locked", (Locked, type(cls)), {})
    return cast("type[ComfyNode]", kind(cls.__name__, (cls,), own))


def read_answer(answer: Any, name: str) -> NodeOutput:
    """NodeOutput of any of its older shapes. Raises NodeFault for anything else."""
    if isinstance(answer, NodeOutput):
        return answer
    if answer is None:
        return NodeOutput()
    if isinstance(answer, tuple):
        return NodeOutput(*answer)
    if isinstance(answer, dict):
        return NodeOutput(*(answer.get("result") or ()), ui=answer.get("ui"), expand=answer.get("expand"))
    if isinstance(answer, ExecutionBlocker):
        return NodeOutput(block_execution=answer.message)
    raise NodeFault(f"{name} returned {type(answer).__name__}, not a NodeOutput, tuple, dict or None")
