"""Which node may run next. It knows links and what is done, not what nodes do.

Nodes enter with their ancestors, leave when done, and are ready when nothing they wait for is left. Among the ready,
those nearest an output go first, so that results appear early and memory is freed; then the oldest.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterable

FARTHEST = 3


class RunOrder:
    """A topological order found while running. links(node) gives the sources it must wait for."""

    def __init__(self, links: Callable[[str], Iterable[str]], cached: Callable[[str], bool]) -> None:
        self._links = links
        """Sources a node must wait for from the start: not those of its lazy inputs."""
        self._cached = cached
        self._unmet: dict[str, int] = {}
        self._waits: dict[str, dict[str, None]] = {}
        self._consumers: dict[str, list[str]] = {}
        self._number: dict[str, int] = {}
        self._rank: dict[str, int] = {}
        self._ready: list[tuple[int, int, str]] = []

    def __bool__(self) -> bool:
        return bool(self._unmet)

    @property
    def pending(self) -> list[str]:
        """Nodes that are not done, oldest first."""
        return list(self._unmet)

    def add(self, roots: Iterable[str], eager: Iterable[str] = ()) -> None:
        """Take in these nodes and what they need. Cached nodes are not descended into. eager: nodes to run early."""
        added: list[str] = []
        todo = list(reversed(list(roots)))
        while todo:
            node_id = todo.pop()
            if node_id in self._unmet:
                continue
            self._unmet[node_id] = 0
            self._number[node_id] = len(self._number)
            added.append(node_id)
            if not self._cached(node_id):
                todo.extend(self._wait_for_sources(node_id))
        taken = set(added)
        self._rank_from(taken.intersection(eager), taken)
        for node_id in added:
            if self._unmet[node_id] == 0:
                self._push(node_id)

    def require(self, node_id: str, sources: Iterable[str], eager: Iterable[str] = ()) -> None:
        """A node that was taken must wait for these too; it is ready again when they are there."""
        missing = [source for source in sources if not self._cached(source)]
        self.add(missing, eager)
        for source in missing:
            self._edge(source, node_id)
        if self._unmet[node_id] == 0:
            self._push(node_id)

    def _wait_for_sources(self, node_id: str) -> list[str]:
        sources = [source for source in self._links(node_id) if not self._cached(source)]
        for source in sources:
            self._edge(source, node_id)
        return sources

    def _edge(self, source: str, node_id: str) -> None:
        waits = self._waits.setdefault(node_id, {})
        if source in waits:
            return
        waits[source] = None
        self._consumers.setdefault(source, []).append(node_id)
        self._unmet[node_id] += 1

    def _rank_from(self, starts: set[str], added: set[str]) -> None:
        for node_id in added:
            self._rank.setdefault(node_id, FARTHEST)
        frontier = starts
        for distance in range(FARTHEST):
            if not frontier:
                return
            for node_id in frontier:
                self._rank[node_id] = distance
            frontier = {
                source
                for node_id in frontier
                for source in self._links(node_id)
                if self._rank.get(source, 0) > distance + 1
            }

    def _push(self, node_id: str) -> None:
        heapq.heappush(self._ready, (self._rank[node_id], self._number[node_id], node_id))

    def next(self) -> str | None:
        """Take the next ready node, which stays pending until `done` or `put_back`; None when none is ready."""
        return heapq.heappop(self._ready)[2] if self._ready else None

    def put_back(self, node_id: str) -> None:
        """A node that was taken can run again."""
        self._push(node_id)

    def done(self, node_id: str) -> None:
        """The node's results are there: what waited for it may go on."""
        del self._unmet[node_id]
        self._waits.pop(node_id, None)
        for consumer in self._consumers.pop(node_id, ()):
            del self._waits[consumer][node_id]
            self._unmet[consumer] -= 1
            if self._unmet[consumer] == 0:
                self._push(consumer)

    def cycle(self) -> list[str]:
        """Nodes that wait for each other in a circle, when nothing is ready and nothing runs."""
        trail: dict[str, None] = {}
        node_id = next(iter(self._unmet))
        while node_id not in trail:
            trail[node_id] = None
            waiting = self._waits.get(node_id)
            if not waiting:
                return [node_id]
            node_id = next(iter(waiting))
        names = list(trail)
        return names[names.index(node_id) :]
