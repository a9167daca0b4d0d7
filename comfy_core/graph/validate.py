"""Whether a prompt may be queued, and what is wrong with it in ComfyUI's own words. It executes nothing.

Only outputs whose whole ancestry is sound are run; a prompt with at least one such output is accepted, the errors of
the others travel along. Nodes are checked once each, sources first, without recursion.
"""

from __future__ import annotations

import asyncio
import inspect
import traceback
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from comfy_core.graph.node import NodeLibrary, NodeSpec, Specs, Validator
from comfy_core.graph.problem import (
    LONG_LIST,
    Problem,
    bad_link,
    cycle_found,
    exception_details,
    from_exception,
    from_inner_exception,
    missing_input,
    refused_by_node,
    type_mismatch,
)
from comfy_core.graph.prompt import inputs_of, is_link
from comfy_core.graph.value import check_range, convert

NOTHING = "prompt_no_outputs"
TOLD_AT_MOST = 2_000
"""Nodes whose errors a refusal holds."""
STEPS_AT_MOST = 250_000
"""From outputs to what spoils them, in all; beyond them an output is told of its own errors only."""
BREATH = 500
ANYTHING = "*"


@dataclass(slots=True)
class Verdict:
    """good: the output nodes to execute. error: why the prompt is refused, when none is good."""

    good: list[str] = field(default_factory=list)
    error: dict[str, Any] | None = None
    node_errors: dict[str, Any] = field(default_factory=dict)


@dataclass(slots=True)
class _Checked:
    """What is known about one node. wrong: itself. spoilt_by: wrong nodes before it, or nodes that several spoil."""

    problems: list[Problem]
    wrong: bool
    spoilt_by: list[str]

    @property
    def spoilt(self) -> bool:
        """Whether the node cannot run."""
        return self.wrong or bool(self.spoilt_by)


@dataclass(slots=True)
class _Visit:
    """A node on the way down, with the input it was reached by."""

    node_id: str
    reached_by: tuple[str, str] | None
    sources: list[tuple[str, str]]
    rest: Iterator[tuple[str, str]]


async def validate(prompt: dict[str, Any], library: NodeLibrary, targets: list[str] | None = None) -> Verdict:
    """Check a prompt. Constants are converted in place to their declared types. targets: only these outputs."""
    refusal = _refuse_shape(prompt, library)
    if refusal is not None:
        return Verdict(error=refusal)
    check = _Validation(prompt, Specs(library))
    outputs = [
        node_id
        for node_id, node in prompt.items()
        if getattr(library[node["class_type"]], "OUTPUT_NODE", False) and (targets is None or node_id in targets)
    ]
    if not outputs:
        return Verdict(error=_error(NOTHING, "Prompt has no outputs", ""))
    for output in outputs:
        await check.descend(output)
    return check.verdict(outputs)


def _refuse_shape(prompt: dict[str, Any], library: NodeLibrary) -> dict[str, Any] | None:
    for node_id, node in prompt.items():
        if not isinstance(node, dict):
            return _error("invalid_prompt", "Cannot execute because a node is not an object.", f"Node ID '#{node_id}'")
        class_type = node.get("class_type")
        if class_type is None:
            message = "Cannot execute because a node is missing the class_type property."
            return _error("invalid_prompt", message, f"Node ID '#{node_id}'")
        if not isinstance(class_type, str) or class_type not in library:
            message = f"Cannot execute because node {class_type} does not exist."
            return _error("invalid_prompt", message, f"Node ID '#{node_id}'")
    return None


def _error(kind: str, message: str, details: str) -> dict[str, Any]:
    return {"type": kind, "message": message, "details": details, "extra_info": {}}


class _Validation:
    def __init__(self, prompt: dict[str, Any], specs: Specs) -> None:
        self._prompt = prompt
        self._specs = specs
        self._checked: dict[str, _Checked] = {}
        self._told = 0

    async def descend(self, output: str) -> None:
        """Check the output and its ancestors, sources first."""
        if output in self._checked:
            return
        stack = [self._visit(output, None)]
        path = {output: 0}
        while stack:
            visit = stack[-1]
            for name, source in visit.rest:
                if source in path:
                    self._blame_cycle([seen.node_id for seen in stack[path[source] : path[source] + LONG_LIST + 1]])
                elif source not in self._checked:
                    path[source] = len(stack)
                    stack.append(self._visit(source, (visit.node_id, name)))
                    break
            else:
                stack.pop()
                del path[visit.node_id]
                if len(self._checked) % BREATH == BREATH - 1:
                    await asyncio.sleep(0)
                await self._finish(visit)

    def _visit(self, node_id: str, reached_by: tuple[str, str] | None) -> _Visit:
        sources = self._sources(node_id)
        return _Visit(node_id, reached_by, sources, iter(sources))

    def _sources(self, node_id: str) -> list[tuple[str, str]]:
        """(input name, source) of the declared links to nodes that exist."""
        try:
            declared = self._specs.of(self._prompt[node_id]["class_type"]).inputs
        except Exception:  # noqa: BLE001 - a node class's own code; the check of the node reports it
            return []
        given = inputs_of(self._prompt, node_id)
        return [
            (name, given[name][0]) for name in declared if is_link(given.get(name)) and given[name][0] in self._prompt
        ]

    def _blame_cycle(self, circle: list[str]) -> None:
        first = circle[0]
        known = self._checked.setdefault(first, _Checked([], True, []))
        if len(known.problems) < LONG_LIST:
            known.problems.append(cycle_found(circle))

    async def _finish(self, visit: _Visit) -> None:
        node_id = visit.node_id
        wrong, tells = False, self._told < TOLD_AT_MOST
        try:
            spec, problems, linked = self._check(node_id)
            if not problems and spec.validator is not None:
                problems = await self._ask_node(node_id, spec, spec.validator, linked)
        except (Exception, SystemExit) as error:  # noqa: BLE001 - node classes are foreign code; it becomes their error
            wrong, problems = True, [self._exception(visit, error)] if tells else []
        known = self._checked.get(node_id)
        if known is not None:
            problems = known.problems + problems
        wrong = wrong or bool(problems)
        self._told += wrong
        self._checked[node_id] = _Checked(problems if tells else [], wrong, self._spoilt_by(visit))

    def _exception(self, visit: _Visit, error: BaseException) -> Problem:
        lines = traceback.format_tb(error.__traceback__)
        if visit.reached_by is None:
            return from_exception(exception_details(error, lines))
        consumer, name = visit.reached_by
        spec = self._specs.of(self._prompt[consumer]["class_type"]).inputs[name]
        link = inputs_of(self._prompt, consumer)[name]
        return from_inner_exception(spec, link, exception_details(error, lines))

    def _spoilt_by(self, visit: _Visit) -> list[str]:
        """What spoils the node, other than itself. A sound node that one other spoils is passed over for that one."""
        found: dict[str, None] = {}
        for _, source in visit.sources:
            upstream = self._checked.get(source)
            if upstream is not None and upstream.spoilt:
                passed_over = not upstream.wrong and len(upstream.spoilt_by) == 1
                found[upstream.spoilt_by[0] if passed_over else source] = None
        return list(found)

    def _check(self, node_id: str) -> tuple[NodeSpec, list[Problem], dict[str, Any]]:
        """(declaration, what is wrong with the node's inputs, the types that are linked to them)."""
        node = self._prompt[node_id]
        spec = self._specs.of(node["class_type"])
        given = node["inputs"]
        if not isinstance(given, dict):
            raise TypeError("inputs is not an object")
        problems: list[Problem] = []
        linked: dict[str, Any] = {}
        for declared in spec.inputs.values():
            if declared.name not in given:
                problems.extend([missing_input(declared)] if declared.required else [])
                continue
            if isinstance(given[declared.name], list):
                problem, received = self._check_link(spec, declared.name, given[declared.name])
                linked[declared.name] = received
            else:
                problem = convert(declared, given)
                if problem is None and not (spec.validator and spec.validator.covers(declared.name)):
                    problem = check_range(declared, given[declared.name])
            problems.extend([problem] if problem else [])
        return spec, problems, linked

    def _check_link(self, spec: NodeSpec, name: str, link: list[Any]) -> tuple[Problem | None, Any]:
        declared = spec.inputs[name]
        if len(link) != 2:
            return bad_link(declared, link), None
        source, slot = link
        returns = self._specs.of(self._prompt[source]["class_type"]).returns
        if isinstance(slot, float) and slot.is_integer():
            slot = int(slot)
        if slot < 0:
            raise IndexError("tuple index out of range")
        received = returns[slot]
        asks_types = spec.validator is not None and "input_types" in spec.validator.names
        if not asks_types and not types_fit(received, declared.kind):
            return type_mismatch(declared, received, link), received
        return None, received

    async def _ask_node(self, node_id: str, spec: NodeSpec, ask: Validator, linked: dict[str, Any]) -> list[Problem]:
        given = self._prompt[node_id]["inputs"]
        known = {name: value for name, value in given.items() if name in spec.inputs}
        passed = {name: (None if name in linked else value) for name, value in known.items() if ask.covers(name)}
        if spec.input_is_list:
            passed = {name: [value] for name, value in passed.items()}
        if "input_types" in ask.names:
            passed["input_types"] = linked
        known_now = {"UNIQUE_ID": node_id, "PROMPT": self._prompt}
        hidden = {kind.lower(): known_now[kind] for kind in spec.hidden.values() if kind in known_now}
        call = spec.cls.with_hidden(hidden).validate_inputs if spec.is_v3 else ask.call
        answer = call(**passed)
        if inspect.isawaitable(answer):
            answer = await answer
        if answer is True:
            return []
        return [refused_by_node(name, answer) for name in passed]

    def verdict(self, outputs: list[str]) -> Verdict:
        """Split the outputs into good and bad, and gather the errors of the bad."""
        found = Verdict(good=[output for output in outputs if not self._checked[output].spoilt])
        own: list[str] = []
        steps = STEPS_AT_MOST
        for output in outputs:
            blamed, steps = self._blamed(output, steps)
            for node_id in sorted(blamed):
                if node_id not in found.node_errors:
                    found.node_errors[node_id] = self._report(node_id)
                found.node_errors[node_id]["dependent_outputs"].append(output)
            own.extend(f"{problem['message']}: {problem['details']}" for problem in self._checked[output].problems)
        if not found.good:
            found.error = _error("prompt_outputs_failed_validation", "Prompt outputs failed validation", "\n".join(own))
        return found

    def _blamed(self, output: str, steps: int) -> tuple[list[str], int]:
        """(The nodes whose errors are told of and spoil the output, the steps that are left)."""
        blamed: list[str] = []
        seen = {output}
        todo = [output]
        while todo:
            node_id = todo.pop()
            known = self._checked[node_id]
            if known.problems:
                blamed.append(node_id)
            steps -= len(known.spoilt_by)
            if steps > 0:
                todo += [source for source in known.spoilt_by if source not in seen]
                seen.update(known.spoilt_by)
        return blamed, steps

    def _report(self, node_id: str) -> dict[str, Any]:
        return {
            "errors": self._checked[node_id].problems,
            "dependent_outputs": [],
            "class_type": self._prompt[node_id]["class_type"],
        }


def types_fit(received: Any, declared: Any) -> bool:
    """Whether an output of one type may feed an input of another: equal, or sharing a name in their comma lists."""
    # `not !=` and not `==`: node packs make an "any type" of a str whose __ne__ always answers False.
    if not received != declared or ANYTHING in (received, declared):  # noqa: SIM202
        return True
    if not isinstance(received, str) or not isinstance(declared, str):
        return False
    return bool({part.strip() for part in received.split(",")} & {part.strip() for part in declared.split(",")})
