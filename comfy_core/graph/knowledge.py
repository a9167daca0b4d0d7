"""What is known of the nodes of a run: their classes, links and signatures. It grows as expansions add nodes.

Everything is read once per node, so that the rest of a run is a matter of looking up.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import msgspec

from comfy_core.graph.call import fingerprint
from comfy_core.graph.dynamic import DynamicPrompt
from comfy_core.graph.node import NodeSpec, Specs
from comfy_core.graph.prompt import ancestors_first, inputs_of, links_of
from comfy_core.graph.signature import Signature, Unsigned, sign


class Facts(msgspec.Struct):
    """One node. found: its class's declaration, None when the class cannot give it.

    sources: every node it is linked to; needs: those it waits for before it is asked anything.
    """

    class_type: str
    found: NodeSpec | None
    sources: list[str]
    needs: list[str]
    signature: Signature | None = None


class Knowledge:
    """Facts by node id."""

    def __init__(self, prompt: DynamicPrompt, specs: Specs) -> None:
        self.prompt = prompt
        self._specs = specs
        self._facts: dict[str, Facts] = {}

    def of(self, node_id: str) -> Facts:
        """What is known of the node; read now, if this is the first time."""
        known = self._facts.get(node_id)
        if known is None:
            known = self._facts[node_id] = self._read(node_id)
        return known

    def _read(self, node_id: str) -> Facts:
        class_type = self.prompt[node_id]["class_type"]
        spec = self._specs.find(class_type)
        links = list(links_of(self.prompt, node_id))
        needs = sources = [source for _, source, _ in links]
        if spec is not None and spec.lazy_inputs:
            needs = [source for name, source, _ in links if name not in spec.lazy_inputs]
        return Facts(class_type, spec, sources, needs)

    def spec(self, node_id: str) -> NodeSpec:
        """The declaration of the node's class. Raises whatever the class raises when it is asked for it."""
        known = self.of(node_id)
        return known.found if known.found is not None else self._specs.of(known.class_type)

    def sources(self, node_id: str) -> list[str]:
        """Every node it is linked to."""
        return self.of(node_id).sources

    def needs(self, node_id: str) -> list[str]:
        """The nodes it waits for before it is asked anything."""
        return self.of(node_id).needs

    def signature(self, node_id: str) -> Signature | None:
        """Equal for nodes whose results are equal; None when nothing is ever equal to this node's."""
        return self.of(node_id).signature

    def with_ancestors(self, roots: Iterable[str]) -> list[str]:
        """The roots and all they depend on, each after its sources."""
        return ancestors_first(self.sources, roots)

    async def learn(self, node_ids: Iterable[str]) -> None:
        """Sign these nodes, sources first; classes that tell what their result depends on are asked."""
        for node_id in node_ids:
            known = self.of(node_id)
            if known.found is not None:
                changed = await self._changed(node_id, known.found)
                known.signature = self._sign(node_id, known.found, changed)

    def _sign(self, node_id: str, spec: NodeSpec, changed: Any) -> Signature | None:
        try:
            return sign(spec, node_id, inputs_of(self.prompt, node_id), changed, self._signed)
        except Unsigned:
            return None

    def _signed(self, node_id: str) -> Signature | None:
        known = self._facts.get(node_id)
        return None if known is None else known.signature

    async def _changed(self, node_id: str, spec: NodeSpec) -> Any:
        if spec.is_changed is None:
            return None
        told = self.prompt[node_id].get("is_changed")
        return told or await fingerprint(spec, inputs_of(self.prompt, node_id))
