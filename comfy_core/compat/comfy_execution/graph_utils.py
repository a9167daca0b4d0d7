"""Building graphs inside a node, for those that expand. Pure Python: it needs neither torch nor a running executor."""

from comfy_core.graph.blocker import ExecutionBlocker
from comfy_core.graph.builder import GraphBuilder, Node, add_graph_prefix, is_link

__all__ = ["ExecutionBlocker", "GraphBuilder", "Node", "add_graph_prefix", "is_link"]
