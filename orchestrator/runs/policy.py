"""Which node classes an organisation lets run. Pure."""

from __future__ import annotations

from collections.abc import Iterable

from orchestrator.errors import FieldError
from orchestrator.wire import NodePolicy

LISTED = 20


def forbidden(policy: NodePolicy, classes: Iterable[str]) -> list[str]:
    """The classes that may not run, sorted. A name of the policy that ends in `*` stands for all that begin so."""
    if not policy.allow and not policy.deny:
        return []
    return sorted(
        name for name in set(classes) if _named(policy.deny, name) or (policy.allow and not _named(policy.allow, name))
    )


def _named(patterns: list[str], name: str) -> bool:
    return any(name.startswith(pattern[:-1]) if pattern.endswith("*") else name == pattern for pattern in patterns)


def errors_of(classes: list[str]) -> list[FieldError]:
    """One error for each forbidden class, up to a bound."""
    return [
        FieldError(f"nodes.{name}", f"the organisation's policy does not let {name} run", "node_forbidden")
        for name in classes[:LISTED]
    ]
