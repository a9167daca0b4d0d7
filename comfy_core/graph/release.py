"""Which results nothing will ask for any more, for a cache that keeps nothing. It knows links, not nodes.

A result may go once every node that is linked to it is done. While a node is pending that may add links of its own
(it sees the graph, or has expanded), everything stays.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable


class Releases:
    """Counts the consumers left of every result. sources(node): every node it is linked to, lazily or not."""

    def __init__(self, sources: Callable[[str], Iterable[str]], adds_links: Callable[[str], bool]) -> None:
        self._sources = sources
        self._adds_links = adds_links
        self._left: dict[str, set[str]] = {}
        self._holding: set[str] = set()
        self._free: list[str] = []

    def expect(self, node_ids: Iterable[str]) -> None:
        """These nodes are going to run."""
        for node_id in node_ids:
            if self._adds_links(node_id):
                self._holding.add(node_id)
            self._left.setdefault(node_id, set())
            for source in self._sources(node_id):
                self._left.setdefault(source, set()).add(node_id)

    def wait(self, node_id: str, sources: Iterable[str]) -> None:
        """A node that has expanded waits for these results."""
        for source in sources:
            self._left.setdefault(source, set()).add(node_id)

    def done(self, node_id: str) -> list[str]:
        """The node is done. Returns the nodes whose results may go."""
        self._holding.discard(node_id)
        for source in [*self._sources(node_id), node_id]:
            left = self._left.get(source, set())
            left.discard(node_id)
            if not left:
                self._free.append(source)
        if self._holding:
            return []
        free, self._free = self._free, []
        return [source for source in free if not self._left.get(source)]
