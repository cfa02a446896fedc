"""How a signal gets from the input to an output, and what happens to it on the way.

A path follows the main carrier backwards from an output: at a residual addition the stream, not
the branch (unless the stream carries nothing), at a gate or a concatenation the larger operand, at
an average the values and not the weights. What is not on a path is a branch: it may be zero.

Along a path the points that can be compared are the products with a weight (measured after the
bias), the tables that rows are looked up in, and the residual additions. Between them lie breaks:
a normalisation sets the scale anew, an average takes out what differs between positions, and where
a table of positions or another signal joins, shares of the signal change their meaning; across
those a ratio says nothing about the weights.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

from isometry.graph import Graph, Leaf, Node
from isometry.roles import is_normalised
from isometry.streams import Streams
from isometry.types import Measurement

__all__ = ["Path", "Segment", "Step", "read_paths"]

WEIGHTED = ("linear", "conv", "bilinear")
NEGLIGIBLE = 1e-3  # a stream that carries less than this fraction of the branch's signal is none
AVERAGES = ("mean", "sum", "attention")
RECURRENCE = "recurrence"
SCALARS = ("mul", "div", "add", "sub", "neg", "rsub", "rmul", "radd")
GRAINS = {"float64": 2.0**-53, "float16": 2.0**-11, "bfloat16": 2.0**-8}


@dataclass(frozen=True, slots=True)
class Step:
    """A point on a path. `reads` is what a weight reads, `weight` the parameter."""

    kind: str  # "weight" | "stream" | "table"
    measured: Measurement
    weight: Leaf | None = None
    reads: Measurement | None = None
    fn: str | None = None  # the activation between the previous weight and this one

    grain: float = 2.0**-24  # rounding of its dtype

    @property
    def spread(self) -> float:
        """The part of the signal that tells samples apart: its across-sample std."""
        return 0.0 if self.measured.std is None else self.measured.std

    @property
    def ratio(self) -> float:
        """The across-sample std over the rms: sqrt(1 - c) where samples are of one length."""
        return self.spread / math.sqrt(self.measured.q) if self.measured.q > 0 else 0.0

    @property
    def resolved(self) -> bool:
        """Is the difference between samples above what rounding makes of equal ones?"""
        return self.ratio > 16 * self.grain

    @property
    def pull(self) -> float | None:
        """How much the output changes with a relative change of this signal: |dL/dx| rms(x). It
        is the same before and after a normalisation, and along any homogeneous network."""
        m = self.measured
        if m.grad is None:
            return None
        return math.sqrt(m.grad * math.prod(m.shape) * m.q)


@dataclass(frozen=True, slots=True)
class Segment:
    """Steps without a break between them; `end` is the break that follows, or "output"."""

    steps: tuple[Step, ...]
    end: str

    @property
    def body(self) -> tuple[Step, ...]:
        """Without the head: how large a last layer is made is a matter of the loss."""
        headed = self.end == "output" and len(self.steps) > 1 and self.steps[-1].kind == "weight"
        return self.steps[:-1] if headed else self.steps


@dataclass(frozen=True, slots=True)
class Path:
    """Steps and, as strings, breaks, from the input to one output."""

    output: str
    items: tuple[Step | str, ...]

    @property
    def steps(self) -> tuple[Step, ...]:
        return tuple(item for item in self.items if isinstance(item, Step))

    def segments(self, *breaks: str) -> Iterator[Segment]:
        """The path cut at breaks of these kinds."""
        steps: list[Step] = []
        for item in self.items:
            if isinstance(item, Step):
                steps.append(item)
            elif item in breaks or item == RECURRENCE:
                if steps:
                    yield Segment(tuple(steps), item)
                steps = []
        if steps:
            yield Segment(tuple(steps), "output")


def read_paths(
    graph: Graph, weights: set[int], streams: Streams, at: Mapping[int, Measurement]
) -> tuple[Path, ...]:
    """A path for each output."""
    reader = _Reader(graph, weights, streams, at)
    return tuple(Path(name, reader.path(value)) for name, value in graph.outputs.items())


@dataclass(frozen=True)
class _Reader:
    graph: Graph
    weights: set[int]
    streams: Streams
    at: Mapping[int, Measurement]

    def path(self, value: int) -> tuple[Step | str, ...]:
        items: list[Step | str] = []
        ahead: Measurement | None = None  # where a weight's output is on its way to be read
        node = self.graph.producer(value)
        while node is not None and node.output not in self.weights:
            broken = self._break(node)
            if broken is not None:
                items.append(broken)
            measured = ahead or self.at.get(node.index)
            step = self._step(node, measured)
            if step is not None and step.measured.std is not None:
                _without_recurrence(items, step)
                items.append(step)
            elif node.op == "pointwise":
                items.append(f"fn:{node.attrs['fn']}")
            ahead = measured if broken is None and self._only_scales(node) else None
            carrier = self._carrier(node)
            node = None if carrier is None else self.graph.producer(carrier)
        return _with_activations(items[::-1])

    def _only_scales(self, node: Node) -> bool:
        """A bias, a temperature: what it reads is judged where it arrives."""
        if node.op == "pointwise":
            return node.attrs["fn"] in SCALARS
        if node.op in ("add", "sub", "mul", "div"):
            return node.index not in self.streams.of_addition and any(
                v in self.weights or not self._varies(v) for v in node.inputs
            )
        return node.op in ("view", "dropout")

    def _step(self, node: Node, measured: Measurement | None) -> Step | None:
        if measured is None:
            return None
        grain = GRAINS.get(self.graph.values[node.output].dtype, 2.0**-24)
        if node.op in WEIGHTED:
            weight = self._leaf(node.inputs[-1 if node.op == "bilinear" else 1])
            reads = self._measured(node.inputs[0])
            return Step("weight", measured, weight, reads, grain=grain)
        if node.op == "lookup" and node.inputs[0] in self.weights:
            return Step("table", measured, self._leaf(node.inputs[0]), grain=grain)
        if node.index in self.streams.of_addition:
            return Step("stream", measured, grain=grain)
        return None

    def _leaf(self, value: int) -> Leaf | None:
        """The parameter behind a weight, through whatever it is computed by."""
        while (leaf := self.graph.leaf_of(value)) is None:
            node = self.graph.producer(value)
            if node is None or not node.inputs:
                return None
            value = node.inputs[0]
        return leaf

    def _break(self, node: Node) -> str | None:
        if node.op == "norm":
            return "batch norm" if node.attrs.get("kind") == "batch" else "norm"
        if node.op in ("mul", "div") and is_normalised(self.graph, node.output):
            return "norm"
        if node.op in AVERAGES or (node.op == "pool" and node.attrs.get("kind") == "avg"):
            return "average"
        if node.op in ("matmul", "softmax", "opaque"):
            return "average"
        if node.op == "concat" or (node.op in ("add", "sub") and self._joins(node)):
            return "join"
        return None

    def _joins(self, node: Node) -> bool:
        """Is something other than a bias added, that does not vary with the input?"""
        fixed = [v for v in node.inputs if v in self.weights or not self._varies(v)]
        shapes = [self.graph.values[v].shape for v in fixed]
        return any(math.prod(s) > max(s, default=1) for s in shapes)

    def _carrier(self, node: Node) -> int | None:
        """The operand that brings the signal."""
        if node.op == "lookup" and node.inputs[0] in self.weights:
            return None
        operands = [v for v in node.inputs if v not in self.weights and self._varies(v)]
        if len(operands) < 2:
            return operands[0] if operands else None
        if node.op in WEIGHTED:
            return operands[0]
        if self._break(node) == "norm":  # x / rms(x), written out
            return max(operands, key=lambda v: math.prod(self.graph.values[v].shape))
        if node.op == "attention":
            return operands[-1]
        if node.index in self.streams.of_addition:
            _, skip, branch = self.streams.of_addition[node.index]
            return skip if self._spread(skip) > NEGLIGIBLE * self._spread(branch) else branch
        if node.op == "matmul":
            values = [v for v in operands if not self._averages(v)]
            operands = values or operands
        return max(operands, key=self._spread)

    def _varies(self, value: int) -> bool:
        return self.graph.values[value].producer >= 0 or value in self.graph.inputs

    def _averages(self, value: int) -> bool:
        """Are these the weights of an average, made by a softmax?"""
        for _ in range(4):
            node = self.graph.producer(value)
            if node is None:
                return False
            if node.op == "softmax":
                return True
            value = node.inputs[0]
        return False

    def _measured(self, value: int) -> Measurement | None:
        node = self.graph.producer(value)
        while node is not None and node.index not in self.at and node.inputs:
            node = self.graph.producer(node.inputs[0])
        return None if node is None else self.at.get(node.index)

    def _spread(self, value: int) -> float:
        measured = self._measured(value)
        if measured is None and self._is_input(value):
            return math.inf  # not measured, and sure to tell samples apart
        return 0.0 if measured is None or measured.std is None else measured.std

    def _is_input(self, value: int) -> bool:
        """Is it an input of the model, whatever its shape has been made?"""
        while value not in self.graph.inputs:
            node = self.graph.producer(value)
            if node is None or node.op not in ("view", "dropout"):
                return False
            value = node.inputs[0]
        return True


def _without_recurrence(items: list[Step | str], step: Step) -> None:
    """A weight that was met before is one layer used again: drop the way round."""
    for place, item in enumerate(items):
        met = isinstance(item, Step) and (item.kind, item.weight) == (step.kind, step.weight)
        if met and step.weight is not None:
            items[place:] = [RECURRENCE]
            return


def _with_activations(items: list[Step | str]) -> tuple[Step | str, ...]:
    """Give each step the activation that comes before it."""
    out: list[Step | str] = []
    fn: str | None = None
    for item in items:
        if isinstance(item, Step):
            out.append(replace(item, fn=fn))
            fn = None
        elif item.startswith("fn:"):
            name = item.removeprefix("fn:")
            fn = fn if name in SCALARS else name
        else:
            out.append(item)
    return tuple(out)
