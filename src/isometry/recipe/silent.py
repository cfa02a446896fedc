"""What ends a residual branch, and can be zero: the stream then starts as the identity.

    x_{k+1} = x_k + f_k(x_k),   f_k = 0 at first: every singular value of the stream's Jacobian is 1

The zero moves at the first step, since what it multiplies is not zero. It is the gain of a
normalisation where one ends the branch (the matrix before it has no scale), else the matrix.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from isometry.graph import Node
from isometry.recipe.base import Survey
from isometry.recipe.inner import is_single
from isometry.roles import Usage
from isometry.streams import CARRIERS

__all__ = ["Silence", "heard", "silence"]

GAIN = "the last gain of its residual branch: starts silent, and moves at once"
WRITER = (
    "ends its residual branch: starts silent, so that the stream is the identity; moves at once"
)


@dataclass(frozen=True, slots=True)
class Silence:
    """Parameters that start at zero, with the reason, and the additions whose branch is silent."""

    zeros: Mapping[str, str] = field(default_factory=dict)
    additions: frozenset[int] = frozenset()


def silence(survey: Survey) -> Silence:
    """What can be zero so that every residual branch is silent, one zero on each way through it.

    Two zeros in a row, or two factors of one product, would never move: a branch that is silent
    already gets no second zero, and a matrix from which another stream starts gets none.
    """
    search = _Search(survey)
    zeros: dict[str, str] = {}
    additions = set()
    for index, (_, _, branch) in survey.streams.of_addition.items():
        node = survey.graph.nodes[index]
        found = search.ends(branch, survey.graph.values[node.output].shape)
        if found is not None:
            zeros |= found
            additions.add(index)
    return Silence(zeros, frozenset(additions))


class _Search:
    """From the end of a branch back to what can silence it."""

    def __init__(self, survey: Survey) -> None:
        self.survey, self.graph = survey, survey.graph
        uses = survey.usages.values()
        self.used = {u.node.output: u for u in uses if u.node is not None}
        self.signals = {n.output for n in self.graph} | set(self.graph.inputs)
        self.signals -= survey.weights
        behind = (_matrix_behind(survey, stream.start) for stream in survey.streams.streams)
        self.starts = {node.index for node in behind if node is not None}

    def ends(self, value: int, shape: tuple[int, ...]) -> dict[str, str] | None:
        """The parameters whose zero makes a value zero, and which move all the same; none where it is
        zero already; None where nothing does. `shape` is that of the stream."""
        node, usage = self.graph.producer(value), self.used.get(value)
        if node is None:
            return None
        signals = [v for v in node.inputs if v in self.signals]
        if node.op in ("linear", "conv"):
            return self._matrix(node, usage, shape)
        if node.op == "mul":
            return self._product(signals, usage, shape)
        if node.op == "add" and len(signals) == sum(
            v not in self.survey.weights for v in node.inputs
        ):
            parts = [self.ends(v, shape) for v in signals]
            found = [p for p in parts if p is not None]
            return {k: why for p in found for k, why in p.items()} if found == parts else None
        scaled = node.op == "pointwise" and node.attrs["fn"] in ("mul", "rmul", "neg", "div")
        through = (scaled or node.op in CARRIERS) and len(signals) == 1
        return self.ends(signals[0], shape) if through else None

    def _matrix(
        self, node: Node, usage: Usage | None, shape: tuple[int, ...]
    ) -> dict[str, str] | None:
        if usage is None or usage.axes is None or not is_single(usage) or node.index in self.starts:
            return None
        # Along another axis than the stream's units all rows may get one gradient, and stay equal.
        units = shape[1 if node.op == "conv" else -1]
        own = units == usage.leaf.shape[usage.axes.out_axis[0]]
        return {usage.leaf.name: WRITER} if own and not (usage.normalised or usage.heads) else None

    def _product(
        self, signals: list[int], usage: Usage | None, shape: tuple[int, ...]
    ) -> dict[str, str] | None:
        if usage is not None and usage.role == "norm_gain":
            mine = usage.leaf.trainable and not usage.others
            return {usage.leaf.name: GAIN} if mine else None
        if usage is not None and usage.role == "scale" and usage.leaf.constant == 0.0:
            return {}
        found = (self.ends(v, shape) for v in signals)  # one factor is enough
        return next((f for f in found if f is not None), None)


def heard(survey: Survey, silent: Silence) -> set[int]:
    """The nodes that an output hears at the start: those before it, but not behind what is silent."""
    branches = {
        i: b for i, (_, _, b) in survey.streams.of_addition.items() if i in silent.additions
    }
    found: set[int] = set()
    todo = list(survey.graph.outputs.values())
    while todo:
        node = survey.graph.producer(todo.pop())
        if node is None or node.index in found:
            continue
        found.add(node.index)
        todo.extend(v for v in node.inputs if v != branches.get(node.index))
    return found


def _matrix_behind(survey: Survey, value: int) -> Node | None:
    """The matrix whose output a stream starts from, through biases, functions and normalisations."""
    for _ in range(12):
        node = survey.graph.producer(value)
        if node is None or node.op in ("linear", "conv", "bilinear"):
            return node
        onward = [v for v in node.inputs if v not in survey.weights]
        if node.op not in (*CARRIERS, "pointwise", "norm", "mul", "add") or len(onward) != 1:
            return None
        value = onward[0]
    return None
