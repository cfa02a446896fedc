"""The walk over a graph: what every operation's rule reads and makes."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import numpy as np

from isometry.graph import Graph, Leaf, Node
from isometry.pointwise import KNOWN, Expression, Z, moments_of
from isometry.theory.signal import PAIRS, Seconds, Signal

__all__ = ["LeafLaw", "LeafMoments", "Rule", "Walk"]


@dataclass(frozen=True, slots=True)
class LeafMoments:
    """The law of a leaf as the theory sees it.

    `reads` says what a matrix sees of what it reads: "each" number on its own; "pairs", the
    differences x_i - x_j of a mirrored matrix [W, -W]; "centred", deviations from the mean of all.
    """

    mean: float  # E[w]
    second: float  # E[w²]
    fan_in: float = 1.0
    fan_out: float = 1.0
    reads: str = "each"
    orthogonal: bool = False
    delta: bool = False  # only the kernel's centre is not zero: padding takes nothing from it


LeafLaw = Callable[[Leaf, Node], "LeafMoments | None"]
Rule = Callable[["Walk", Node], "Signal | None"]


class Walk:
    """Carries signals through a graph, node by node, in execution order.

    `visit(node)` uses the moments that `leaf_moments` gives for weights; a planner may therefore
    decide a weight's law when the walk reaches it, from what it reads. With `paired` it carries
    covariances too, and what an average makes is exact and no bound.
    """

    def __init__(
        self,
        graph: Graph,
        weights: set[int],
        leaf_moments: LeafLaw,
        rules: Mapping[str, Rule],
        paired: bool = False,
    ) -> None:
        self.graph = graph
        self._rules = rules
        self.paired = paired
        none = (0.0,) * PAIRS if paired else ()
        self.signals: dict[int, Signal] = {v: Signal(v, covariances=none) for v in graph.inputs}
        self.unknown: dict[str, int] = {}  # operation -> how often it could not be followed
        self.weights = weights
        self.leaf_moments = leaf_moments

    def signal(self, value: int) -> Signal | None:
        """What is known of a value; None for weights and constants."""
        return self.signals.get(value)

    def visit(self, node: Node) -> None:
        """Work out a node's outputs."""
        if node.output in self.weights:
            return
        rule = self._rules.get(node.op)
        out = self._unknown(node) if rule is None else rule(self, node)
        if out is not None:
            for value in node.outputs:
                self.signals[value] = out

    def _unknown(self, node: Node) -> Signal | None:
        """An operation that has no rule: its input's moments, as an estimate."""
        self.count(node.attrs.get("name", node.op))
        signal = next(iter(self.inputs(node)), None)
        if signal is None:
            return None
        return self.fresh(node, signal.moments[0], signal.seconds, known=False)

    def operand(self, node: Node, place: int) -> Signal | None:
        """What a node reads: of a split value, each range is a signal of its own."""
        signal = self.signals.get(node.inputs[place])
        ranges = node.parts[place].ranges if signal is not None else {}
        if signal is None or not ranges:
            return signal
        return replace(signal, root=(signal.root, tuple(sorted(ranges.items()))))

    def inputs(self, node: Node) -> list[Signal]:
        """The signals that a node reads; weights and constants are none."""
        found = (self.operand(node, place) for place in range(len(node.inputs)))
        return [s for s in found if s is not None]

    def fresh(
        self, node: Node, mean: float, seconds: Seconds | float, known: bool = True
    ) -> Signal:
        """A Gaussian of its own, with the moments that a rule worked out; one number for all of
        them is of a signal that all samples and positions share. nan is a pair's that is not known."""
        found = np.atleast_1d(np.asarray(seconds, dtype=np.float64))
        if self.paired and len(found) == 1:
            found = np.repeat(found, 1 + PAIRS)
        if not math.isfinite(found[0]):  # what is not known of pairs has come to matter
            found, known = np.array([1.0, *(math.nan for _ in found[1:])]), False
        q = min(max(float(found[0]), 1e-300), 1e300)
        mean = max(-math.sqrt(q), min(math.sqrt(q), float(mean)))
        variance = max(q - mean * mean, 0.0)
        covariances = tuple(
            min(max(float(k) - mean * mean, -variance), variance) for k in found[1:]
        )
        return Signal(node.output, mean, variance, known=known, covariances=covariances)

    def shared(self, value: int, mean: float, second: float) -> Seconds:
        """The second moments of a learned operand: one for all samples; for all positions too,
        unless it is a table with a row a position."""
        if not self.paired:
            return np.array([second])
        shape = self.graph.values[value].shape
        table = math.prod(shape) > max(shape, default=1)
        made = self.graph.producer(value)
        if table and made is not None and made.op == "lookup":
            # Of fewer rows than positions (kinds of token) one is looked up for all.
            rows = self.graph.values[made.inputs[0]].shape[0]
            table = rows * shape[-1] >= math.prod(shape[-2:])
        apart = mean * mean if table else second
        return np.array([second, second, apart, apart])

    def table(self, node: Node, value: int) -> tuple[float, float] | None:
        """E[w] and E[w²] of a learned operand that is added, multiplied or looked up."""
        leaf = self.leaf_behind(value)
        found = self.leaf_moments(leaf, node) if leaf is not None else None
        if found is None:
            return None
        mean = found.mean
        return moments_of(self.applied(value), mean, max(found.second - mean * mean, 0.0))

    def applied(self, value: int) -> Expression:
        """What is done to a parameter, number by number, before it is used: the 1 + g of a gain."""
        node = self.graph.producer(value)
        if node is None or node.op not in ("view", "pointwise"):
            return Z
        inner = self.applied(node.inputs[0])
        if node.op == "view" or node.attrs["fn"] not in KNOWN:
            return inner
        return (node.attrs["fn"], inner, *node.attrs["args"])

    def leaf_behind(self, value: int) -> Leaf | None:
        """The parameter that a weight operand comes from, through whatever is done to it."""
        for _ in range(8):
            leaf = self.graph.leaf_of(value)
            if leaf is not None:
                return leaf
            node = self.graph.producer(value)
            if node is None or not node.inputs:
                return None
            value = next((v for v in node.inputs if v in self.weights), node.inputs[0])
        return None

    def count(self, name: str) -> None:
        """Note an operation that could not be followed."""
        self.unknown[name] = self.unknown.get(name, 0) + 1
