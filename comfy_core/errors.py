"""What can go wrong in the executor. It knows neither HTTP nor the graph's JSON.

ExecutorError
├── Interrupted        someone asked the run to stop
├── InputRefused       a file, name or value a node will not take
├── ModelRefused       a weights file that cannot be read or whose architecture is unknown
├── OutOfMemory        an image or model that does not fit into what is free (also a MemoryError)
├── QueueFull          so many prompts wait that no other is taken
├── GraphFault         the graph cannot be executed (a link to nothing, a cycle)
├── NodeFault          a node class broke its side of the protocol
└── NotOffered         a name of ComfyUI's whose work this version does not do
"""

from __future__ import annotations


class ExecutorError(Exception):
    """Something the executor refuses or cannot do."""


class Interrupted(ExecutorError):
    """Someone asked the run to stop; raised between two steps of a node."""


class InputRefused(ExecutorError):
    """A file, name or value that a node will not take; the message says which and why."""


class ModelRefused(ExecutorError):
    """A weights file that cannot be read, or whose architecture is unknown."""


class OutOfMemory(ExecutorError, MemoryError):
    """More memory is needed than is free."""


class QueueFull(ExecutorError):
    """So many prompts wait that no other is taken now."""


class GraphFault(ExecutorError):
    """The graph cannot be executed as it stands."""


class NodeFault(ExecutorError):
    """A node class broke its side of the node protocol."""


class NotOffered(ExecutorError):
    """A name of ComfyUI's was called whose work this version does not do."""
