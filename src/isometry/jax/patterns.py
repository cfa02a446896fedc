"""Steps that together are one operation: what JAX writes out, found by what reads what.

exp(x - max x) / sum exp(x - max x)              softmax
sum / count                                      mean, average pooling
0.5 x (1 + tanh(...)), x erfc(...), ...          an activation, known by its values
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from isometry.jax.program import Step
from isometry.pointwise import Expression, name_of

__all__ = ["Group", "groups_of"]

DEEP = 14  # steps in an activation that is written out, at most
ROOTS = 6  # values back from which an expression is followed
MOVES = frozenset(
    "broadcast_in_dim reshape squeeze expand_dims stop_gradient copy transpose".split()
)
CASTS = frozenset({"convert_element_type"})  # half precision is summed in float32
UNARY = {
    "tanh": "tanh", "logistic": "sigmoid", "erf": "erf", "exp": "exp", "neg": "neg", "abs": "abs",
    "square": "square", "log": "log", "log1p": "log1p", "expm1": "expm1", "sqrt": "sqrt",
}  # fmt: skip
BINARY = {"add": "add", "sub": "sub", "mul": "mul", "div": "div", "max": "max", "min": "min"}


@dataclass(slots=True)
class Group:
    """Steps that are one operation of `source`; the last of them makes its output."""

    op: str
    source: int
    steps: tuple[Step, ...]
    attrs: dict[str, Any] = field(default_factory=dict)


class _Reads:
    """What makes and what reads each value."""

    def __init__(self, steps: list[Step], kept: tuple[int, ...]) -> None:
        self.maker = {v: s for s in steps for v in s.outputs}
        self.readers: dict[int, list[Step]] = {}
        for step in steps:
            for value in step.inputs:
                self.readers.setdefault(value, []).append(step)
        self.kept = set(kept)

    def only(self, members: set[Step], last: Step) -> bool:
        """Is nothing that the members make, but for the last's output, read by others?"""
        return all(
            v not in self.kept and all(r in members for r in self.readers.get(v, ()))
            for step in members
            if step is not last
            for v in step.outputs
        )

    def through(self, value: int, ops: frozenset[str] = MOVES) -> tuple[int, list[Step]]:
        """The value behind moves, and the moves."""
        passed = []
        while (step := self.maker.get(value)) is not None and step.op in ops:
            passed.append(step)
            value = step.inputs[0]
        return value, passed


def groups_of(
    steps: list[Step], kept: tuple[int, ...], number: Callable[[int], float | None],
    shape: Callable[[int], tuple[int, ...]],
) -> dict[Step, Group]:  # fmt: skip
    """Step -> the group that it is part of.

    Args:
        steps: in the order in which they run.
        kept: values that are read elsewhere.
        number: the number that a value is known to be, every element of it.
        shape: of a value.
    """
    reads = _Reads(steps, kept)
    found: dict[Step, Group] = {}

    def take(group: Group | None) -> None:
        if group is not None and not any(s in found for s in group.steps):
            found.update(dict.fromkeys(group.steps, group))

    for step in steps:
        if step.op == "div":
            take(_softmax(step, reads))
            take(_average(step, reads, number, shape))
    expressions: dict[int, dict[int, tuple[Expression, frozenset[Step]]]] = {}
    for step in steps:
        grown = _grown(step, expressions, number)
        if not grown or step in found:
            continue
        expressions[step.outputs[0]] = grown
        for root, (expression, members) in grown.items():
            if len(members) > 1 and reads.only(set(members), step):
                fn = name_of(expression) if len(members) > 2 or _gate(expression) else None
                if fn is not None:
                    ordered = tuple(s for s in steps if s in members)
                    for member in ordered:
                        found.pop(member, None)
                    take(Group("pointwise", root, ordered, {"fn": fn, "args": ()}))
                    break
    return found


def _gate(expression: Expression) -> bool:
    """x sigmoid(x) is two steps."""
    return isinstance(expression, tuple) and expression[0] == "mul" and len(expression) == 3


def _grown(
    step: Step, before: dict[int, dict[int, tuple[Expression, frozenset[Step]]]],
    number: Callable[[int], float | None],
) -> dict[int, tuple[Expression, frozenset[Step]]]:  # fmt: skip
    """What a step makes as a function of one value, for each value that it is a function of."""
    fn = UNARY.get(step.op) or BINARY.get(step.op)
    if step.op not in ("integer_pow", "erfc", "copy") and fn is None:
        return {}
    operands: list[dict[int, tuple[Expression, frozenset[Step]]] | float] = []
    for value in step.inputs:
        known = number(value)
        if known is not None:
            operands.append(known)
        else:
            operands.append({value: ("z", frozenset()), **before.get(value, {})})
    tables = [o for o in operands if isinstance(o, dict)]
    if not tables:
        return {}
    out: dict[int, tuple[Expression, frozenset[Step]]] = {}
    for root in set(tables[0]).intersection(*tables):
        terms = [o[root][0] if isinstance(o, dict) else o for o in operands]
        members = frozenset({step}).union(*(t[root][1] for t in tables))
        if len(members) > DEEP:
            continue
        if step.op == "integer_pow":
            made: Expression = ("pow", terms[0], float(step.params["y"]))
        elif step.op == "erfc":
            made = ("rsub", ("erf", terms[0]), 1.0)
        elif step.op == "copy":
            made = terms[0]
        elif isinstance(operands[0], float):
            made = (fn, terms[1], terms[0]) if fn in ("add", "mul", "max", "min") else (f"r{fn}", terms[1], terms[0])  # fmt: skip
        else:
            made = (fn, *terms)
        out[root] = (made, members)
    nearest = sorted(out, reverse=True)[:ROOTS]
    return {root: out[root] for root in nearest}


def _softmax(step: Step, reads: _Reads) -> Group | None:
    top, below = step.inputs
    exp = reads.maker.get(top)
    total, moved = reads.through(below, MOVES | CASTS)
    summed = reads.maker.get(total)
    if exp is None or summed is None or exp.op != "exp" or summed.op != "reduce_sum":
        return None
    given, widened = reads.through(summed.inputs[0], CASTS)
    if given != top:
        return None
    members = {step, exp, summed, *moved, *widened}
    source = exp.inputs[0]
    shifted = reads.maker.get(source)
    if shifted is not None and shifted.op == "sub":
        peak, back = reads.through(shifted.inputs[1], MOVES | {"max"})
        back = [*back]
        if not _is_peak(reads, peak):  # max(-inf, max x) reads the number first
            guard = next((s for s in back if s.op == "max"), None)
            peak = guard.inputs[1] if guard is not None else peak
            back = back[: back.index(guard) + 1] if guard is not None else back
        if _is_peak(reads, peak) and reads.maker[peak].inputs[0] == shifted.inputs[0]:
            source = shifted.inputs[0]
            members |= {shifted, reads.maker[peak], *back}
    ordered = tuple(s for s in _in_order(reads, members))
    axes = tuple(int(a) for a in summed.params["axes"])
    return Group("softmax", source, ordered, {"axes": axes}) if reads.only(members, step) else None


def _is_peak(reads: _Reads, value: int) -> bool:
    step = reads.maker.get(value)
    return step is not None and step.op == "reduce_max"


def _in_order(reads: _Reads, members: set[Step]) -> list[Step]:
    order = {s: i for i, s in enumerate(reads.maker.values())}
    return sorted(members, key=lambda s: order[s])


def _average(
    step: Step, reads: _Reads, number: Callable[[int], float | None],
    shape: Callable[[int], tuple[int, ...]],
) -> Group | None:  # fmt: skip
    """A sum over axes, or over a window, divided by how many it sums."""
    by = number(step.inputs[1])
    total, moved = reads.through(step.inputs[0], frozenset({"broadcast_in_dim", "reshape"}) | CASTS)
    made = reads.maker.get(total)
    if by is None or made is None or made.op not in ("reduce_sum", "reduce_window_sum"):
        return None
    members = {step, made, *moved}
    if not reads.only(members, step):
        return None
    ordered = tuple(_in_order(reads, members))
    source = made.inputs[0]
    if made.op == "reduce_window_sum":
        count = math.prod(made.params["window_dimensions"])
        attrs: dict[str, Any] = {"kind": "avg", "count": count}
        return Group("pool", source, ordered, attrs) if abs(by - count) < 1e-3 * count else None
    axes = tuple(int(a) for a in made.params["axes"])
    count = math.prod(shape(source)[a] for a in axes)
    attrs = {"count": count, "dims": axes}
    return Group("mean", source, ordered, attrs) if abs(by - count) < 1e-3 * count else None
