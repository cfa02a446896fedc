"""How the second moment of a signal travels through a graph at initialisation.

Every value has a mean and a second moment over the random weights and inputs. A product with a
weight makes a Gaussian again (many terms), whose elementwise functions are then integrated exactly:

    q_out = fan_in Var(W) q_in,      E[phi(z)²] with z ~ N(mean, q - mean²)

Sums of separate signals add their moments, gates multiply them, a normalisation sets them to 1, an
attention average keeps those of the values (an upper bound, reached when tokens agree). Statistics
over many elements (the mean square in a hand-written RMSNorm) are numbers, not signals.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

from isometry.graph import Graph, Leaf, Node
from isometry.pointwise import KNOWN, Expression, Z, moments_of

__all__ = ["Propagation", "Signal", "propagate"]

# The law of a leaf as the theory sees it: E[w], E[w²], and fan_in where it is a matrix.
LeafMoments = Callable[[Leaf, Node], "tuple[float, float, float] | None"]
Profile = tuple[tuple[float, ...], ...]
STATISTIC = 8  # over so many elements a mean is a number


@dataclass(frozen=True, slots=True)
class Signal:
    """A value: a function `expression` of a Gaussian `root` ~ N(mean, variance).

    `statistic` marks a number worked out of the signal with that root; `averaging` marks the
    weights of an average (a softmax). `profile` is how the second moment varies along each spatial
    axis, of mean 1 (None: evenly): zero padding takes from the borders. `known` is False past an operation the theory cannot follow:
    the moments are then an estimate.
    """

    root: object
    mean: float = 0.0
    variance: float = 1.0
    expression: Expression = Z
    statistic: bool = False
    averaging: bool = False
    known: bool = True
    profile: Profile | None = None

    @property
    def moments(self) -> tuple[float, float]:
        """E[x] and E[x²]."""
        found = moments_of(self.expression, self.mean, self.variance)
        return (0.0, 1.0) if found is None else found

    @property
    def q(self) -> float:
        return self.moments[1]

    @property
    def origin(self) -> int:
        """The value that the Gaussian is, or is a range of."""
        root = self.root
        while isinstance(root, tuple):
            root = root[0]
        return int(root)  # type: ignore[call-overload,no-any-return]

    def apply(self, fn: str, *args: object) -> Signal:
        """The signal after an elementwise function."""
        if fn not in KNOWN:
            return replace(self, known=False)
        return replace(self, expression=(fn, self.expression, *args))


class Propagation:
    """Carries signals through a graph, node by node, in execution order.

    `visit(node)` uses the moments that `leaf_moments` gives for weights; a planner may therefore
    decide a weight's law when the walk reaches it, from what it reads.
    """

    def __init__(self, graph: Graph, weights: set[int], leaf_moments: LeafMoments) -> None:
        self.graph = graph
        self.signals: dict[int, Signal] = {v: Signal(v) for v in graph.inputs}
        self.unknown: dict[str, int] = {}  # operation -> how often it could not be followed
        self._weights = weights
        self._leaf_moments = leaf_moments

    def signal(self, value: int) -> Signal | None:
        """What is known of a value; None for weights and constants."""
        return self.signals.get(value)

    def visit(self, node: Node) -> None:
        """Work out a node's outputs."""
        if node.output in self._weights:
            return
        handler = getattr(self, f"_{node.op}", None) or self._opaque
        out = handler(node)
        if out is not None:
            for value in node.outputs:
                self.signals[value] = out

    # -- operations --------------------------------------------------------------------------

    def _operand(self, node: Node, place: int) -> Signal | None:
        """What a node reads: of a split value, each range is a signal of its own."""
        signal = self.signals.get(node.inputs[place])
        ranges = node.parts[place].ranges if signal is not None else {}
        if signal is None or not ranges:
            return signal
        return replace(signal, root=(signal.root, tuple(sorted(ranges.items()))))

    def _inputs(self, node: Node) -> list[Signal]:
        found = (self._operand(node, place) for place in range(len(node.inputs)))
        return [s for s in found if s is not None]

    def _fresh(self, node: Node, mean: float, q: float, known: bool = True) -> Signal:
        q = min(max(q, 1e-300), 1e300)
        mean = max(-math.sqrt(q), min(math.sqrt(q), mean))
        return Signal(node.output, mean, max(q - mean * mean, 0.0), known=known)

    def _table(self, node: Node, value: int) -> tuple[float, float] | None:
        """E[w] and E[w²] of a learned operand that is added, multiplied or looked up."""
        leaf = self._leaf_behind(value)
        found = self._leaf_moments(leaf, node) if leaf is not None else None
        return None if found is None else found[:2]

    def _leaf_behind(self, value: int) -> Leaf | None:
        for _ in range(8):
            leaf = self.graph.leaf_of(value)
            if leaf is not None:
                return leaf
            node = self.graph.producer(value)
            if node is None or not node.inputs:
                return None
            value = next((v for v in node.inputs if v in self._weights), node.inputs[0])
        return None

    def _matrix(self, node: Node) -> Signal | None:
        inputs = self._inputs(node)
        leaf = self._leaf_behind(node.inputs[-1])
        found = self._leaf_moments(leaf, node) if leaf is not None else None
        q = math.prod(s.q for s in inputs) if inputs else 1.0
        known = all(s.known for s in inputs)
        if found is None:
            return self._fresh(node, 0.0, q, known=False)
        mean, second, fan_in = found
        if node.op == "conv" and inputs:
            return self._convolved(node, inputs[0], second, fan_in)
        centre = math.prod(s.moments[0] for s in inputs) if inputs else 0.0
        shift = fan_in * mean * centre
        spread = fan_in * (second - mean * mean) * q + shift * shift
        return self._fresh(node, shift, spread, known)

    _linear = _conv = _bilinear = _matrix

    def _convolved(self, node: Node, signal: Signal, second: float, fan_in: float) -> Signal:
        share, profile = reach(node, signal)
        out = self._fresh(node, 0.0, fan_in * share * second * signal.q, signal.known)
        return replace(out, profile=profile)

    def _lookup(self, node: Node) -> Signal | None:
        if node.inputs[0] in self._weights:
            found = self._table(node, node.inputs[0])
            mean, second = (0.0, 1.0) if found is None else found
            return self._fresh(node, mean, second, known=found is not None)
        return self.signals.get(node.inputs[0])

    def _pointwise(self, node: Node) -> Signal | None:
        inputs = self._inputs(node)
        if not inputs:
            return None
        out = inputs[0].apply(node.attrs["fn"], *node.attrs["args"])
        if node.attrs["fn"] not in KNOWN:
            self._count(node.attrs["fn"])
        return out

    def _binary(self, node: Node) -> Signal | None:
        if len(node.inputs) == 1:
            return self._operand(node, 0)
        a, b = self._operand(node, 0), self._operand(node, 1)
        if a is None and b is None:
            return None
        if a is None or b is None:
            return self._with_weight(node, a, b)
        if a.averaging != b.averaging and node.op in ("mul", "div"):
            signal = b if a.averaging else a
            return replace(signal, averaging=False)
        if a.statistic or b.statistic or a.root == b.root:
            return self._same_root(node, a, b)
        return self._independent(node, a, b)

    _add = _sub = _mul = _div = _max = _min = _pow = _binary

    def _with_weight(self, node: Node, a: Signal | None, b: Signal | None) -> Signal:
        """One operand is learned (a bias, a gain) or a constant (a mask, a rotation)."""
        signal = a if a is not None else b
        assert signal is not None
        place = 1 if a is not None else 0
        found = (
            self._table(node, node.inputs[place]) if node.inputs[place] in self._weights else None
        )
        if found is None:
            learned = node.inputs[place] in self._weights
            return replace(signal, known=False) if learned else signal
        mean, second = found
        fixed = abs(second - mean * mean) <= 1e-12 * max(second, 1e-300)
        fn = node.op if place == 1 else {"sub": "rsub", "div": "rdiv"}.get(node.op, node.op)
        if fixed:
            neutral = (fn in ("add", "sub") and mean == 0) or (fn in ("mul", "div") and mean == 1)
            return signal if neutral else signal.apply(fn, mean)
        centre, q = signal.moments
        if node.op in ("add", "sub"):
            sign = 1 if node.op == "add" else -1
            return self._fresh(
                node, centre + sign * mean, q + second + 2 * sign * centre * mean, signal.known
            )
        if node.op == "mul":
            return self._fresh(node, centre * mean, q * second, signal.known)
        return signal

    def _same_root(self, node: Node, a: Signal, b: Signal) -> Signal:
        """Two functions of one Gaussian, or a signal and a number worked out of one."""
        if a.statistic and b.statistic:
            return Signal(
                a.root,
                a.moments[0],
                0.0,
                (node.op, Z, b.moments[0]),
                True,
                known=a.known and b.known,
            )
        if a.statistic:
            fn = {"sub": "rsub", "div": "rdiv"}.get(node.op, node.op)
            return b.apply(fn, a.moments[0])
        if b.statistic:
            return a.apply(node.op, b.moments[0])
        expression = (node.op, a.expression, b.expression)
        return Signal(a.root, a.mean, a.variance, expression, known=a.known and b.known)

    def _independent(self, node: Node, a: Signal, b: Signal) -> Signal:
        (ma, qa), (mb, qb) = a.moments, b.moments
        known = a.known and b.known
        if not known:
            # What cannot be followed (a scan with decay) must not seem to grow with its length.
            return self._fresh(node, ma if qa > qb else mb, max(qa, qb), False)
        if node.op == "add":
            alpha = node.attrs.get("alpha", 1.0)
            out = self._fresh(
                node, ma + alpha * mb, qa + alpha**2 * qb + 2 * alpha * ma * mb, known
            )
            return replace(out, profile=a.profile or b.profile)
        if node.op == "sub":
            return self._fresh(node, ma - mb, qa + qb - 2 * ma * mb, known)
        if node.op == "mul":
            return self._fresh(node, ma * mb, qa * qb, known)
        return self._fresh(node, ma, qa, False)

    def _matmul(self, node: Node) -> Signal | None:
        inputs = self._inputs(node)
        if len(inputs) < 2:
            return inputs[0] if inputs else None
        a, b = inputs
        if a.averaging or b.averaging:
            value = b if a.averaging else a
            return self._fresh(node, *value.moments, value.known)
        if not (a.known and b.known):
            return self._fresh(node, 0.0, max(a.q, b.q), False)
        # Scores: a sum of products over the inner axis, whose size the shapes give.
        inner = _inner(self.graph, node)
        return self._fresh(node, 0.0, inner * a.q * b.q * node.attrs.get("scale", 1.0) ** 2)

    def _attention(self, node: Node) -> Signal | None:
        value = self.signals.get(node.inputs[2])
        return None if value is None else self._fresh(node, *value.moments, value.known)

    def _softmax(self, node: Node) -> Signal:
        count = node.attrs["count"]
        return Signal(node.output, 1.0 / count, 0.0, averaging=True)

    def _norm(self, node: Node) -> Signal | None:
        signal = self.signals.get(node.inputs[0])
        if signal is None:
            return None
        if node.attrs["kind"] == "rms":
            mean, q = signal.moments
            return self._fresh(node, mean / math.sqrt(q), 1.0)
        out = self._fresh(node, 0.0, 1.0)
        over_positions = node.attrs["kind"] in ("batch", "group")
        return replace(out, profile=signal.profile) if over_positions else out

    def _mean(self, node: Node) -> Signal | None:
        signal = self.signals.get(node.inputs[0])
        if signal is None:
            return None
        count = node.attrs["count"]
        mean, q = signal.moments
        if signal.averaging:
            return signal
        if count >= STATISTIC and _kept_dims(self.graph, node):
            return Signal(signal.root, mean, 0.0, statistic=True, known=signal.known)
        return self._fresh(node, mean, _pooled(mean, q, count), signal.known)

    def _sum(self, node: Node) -> Signal | None:
        signal = self.signals.get(node.inputs[0])
        if signal is None or signal.averaging:
            return signal
        count = node.attrs["count"]
        mean, q = signal.moments
        if count >= STATISTIC and _kept_dims(self.graph, node):
            return Signal(signal.root, count * mean, 0.0, statistic=True, known=signal.known)
        if self._weighted(node):
            return self._fresh(node, mean, q, signal.known)
        return self._fresh(
            node, count * mean, count**2 * mean**2 + count * (q - mean**2), signal.known
        )

    def _weighted(self, node: Node) -> bool:
        """Is this the sum of an average, weights times values? A mixture of experts' is."""
        made = self.graph.producer(node.inputs[0])
        for _ in range(4):
            if made is None:
                return False
            if made.op == "mul" and any(
                (s := self.signals.get(v)) and s.averaging for v in made.inputs
            ):
                return True
            made = (
                self.graph.producer(made.inputs[0])
                if made.op in ("view", "lookup", "where")
                else None
            )
        return False

    def _statistic_of(self, node: Node) -> Signal | None:
        signal = self.signals.get(node.inputs[0])
        if signal is None:
            return None
        mean, q = signal.moments
        variance = max(q - mean * mean, 1e-300)
        number = {"variance": variance, "deviation": math.sqrt(variance)}.get(
            node.op, math.sqrt(node.attrs["count"] * q)
        )
        return Signal(signal.root, number, 0.0, statistic=True, known=signal.known)

    _variance = _deviation = _length = _statistic_of

    def _pool(self, node: Node) -> Signal | None:
        signal = self.signals.get(node.inputs[0])
        if signal is None:
            return None
        mean, q = signal.moments
        if node.attrs["kind"] == "avg":
            return self._fresh(node, mean, _pooled(mean, q, node.attrs["count"]), signal.known)
        return self._maximum(node)

    def _maximum(self, node: Node) -> Signal | None:
        """The largest of k: of neighbours that agree it is the signal, of independent ones more."""
        signal = self.signals.get(node.inputs[0])
        if signal is None or signal.averaging or signal.statistic:
            return signal
        mean, q = signal.moments
        growth = min(2.0 * math.log(max(node.attrs["count"], 2)), 8.0)
        q_out = math.sqrt(q * max(q, mean * mean + growth * (q - mean * mean)))
        return self._fresh(
            node, math.sqrt(max(q_out - 0.6 * (q - mean * mean), 0.0)), q_out, signal.known
        )

    def _concat(self, node: Node) -> Signal | None:
        inputs = self._inputs(node)
        if not inputs:
            return None
        if len({(s.root, s.expression) for s in inputs}) == 1:
            return inputs[0]
        moments = [s.moments for s in inputs]
        count = len(moments)
        return self._fresh(
            node, sum(m for m, _ in moments) / count, sum(q for _, q in moments) / count,
            all(s.known for s in inputs),
        )  # fmt: skip

    def _first(self, node: Node) -> Signal | None:
        return next(iter(self._inputs(node)), None)

    _dropout = _where = _first

    def _view(self, node: Node) -> Signal | None:
        signal = self._first(node)
        pads = node.attrs.get("pad")
        if signal is None or not pads or signal.averaging:
            return signal
        shape = self.graph.values[node.output].shape
        sizes = [n - sum(p) for n, p in zip(shape[-len(pads) :], pads, strict=True)]
        old = signal.profile or tuple((1.0,) * n for n in sizes)
        if [len(p) for p in old] != sizes:
            return replace(signal, profile=None)
        padded = tuple((0.0,) * a + p + (0.0,) * b for p, (a, b) in zip(old, pads, strict=True))
        return replace(signal, profile=padded)

    def _glu(self, node: Node) -> Signal | None:
        signal = self._first(node)
        if signal is None:
            return None
        gate = moments_of(("sigmoid", Z), signal.mean, signal.variance) or (0.5, 0.3)
        return self._fresh(node, signal.moments[0] * gate[0], signal.q * gate[1], signal.known)

    def _opaque(self, node: Node) -> Signal | None:
        self._count(node.attrs.get("name", node.op))
        signal = self._first(node)
        return None if signal is None else self._fresh(node, *signal.moments, known=False)

    def _count(self, name: str) -> None:
        self.unknown[name] = self.unknown.get(name, 0) + 1


def reach(node: Node, signal: Signal) -> tuple[float, Profile | None]:
    """Which share of a convolution's kernel meets a signal, and the profile that it leaves.

    Along each axis the outputs sum k neighbours of the padded profile; the square kernel factors
    into its axes. 1 and None where there is no padding (or the convolution is transposed).
    """
    attrs = node.attrs
    if attrs.get("transposed") or "size" not in attrs:
        return 1.0, None
    sizes = attrs["size"]
    old = signal.profile
    if old is None or [len(p) for p in old] != list(sizes):
        if not any(attrs["padding"]):
            return 1.0, None
        old = tuple((1.0,) * n for n in sizes)
    share, profile = 1.0, []
    for axis, values in enumerate(old):
        pad, step = attrs["padding"][axis], attrs["stride"][axis]
        gap, taps = attrs["dilation"][axis], attrs["kernel"][axis]
        padded = (0.0,) * pad + values + (0.0,) * pad
        starts = range(0, len(padded) - gap * (taps - 1), step)
        sums = [sum(padded[i + gap * k] for k in range(taps)) / taps for i in starts]
        mean = sum(sums) / max(len(sums), 1)
        if mean <= 0.0:
            return 1.0, None
        share *= mean
        profile.append(tuple(v / mean for v in sums))
    return share, tuple(profile)


def propagate(graph: Graph, weights: set[int], leaf_moments: LeafMoments) -> Propagation:
    """Carry the moments through the whole graph."""
    walk = Propagation(graph, weights, leaf_moments)
    for node in graph:
        walk.visit(node)
    return walk


def _pooled(mean: float, q: float, count: int) -> float:
    """An average of k neighbours, which share part of their signal: halfway (in k's exponent)
    between independent ones, (q - mean²)/k, and equal ones, q - mean²."""
    return mean * mean + (q - mean * mean) / math.sqrt(max(count, 1))


def _inner(graph: Graph, node: Node) -> int:
    """How many products a matrix product of two signals sums into one element."""
    out = math.prod(graph.values[node.output].shape) or 1
    a, b = (math.prod(graph.values[v].shape) or 1 for v in node.inputs[:2])
    return max(1, round(math.sqrt(a * b / out / max(_batch(graph, node), 1))))


def _batch(graph: Graph, node: Node) -> int:
    shape = graph.values[node.output].shape
    return math.prod(shape[:-2]) if len(shape) > 2 else 1


def _kept_dims(graph: Graph, node: Node) -> bool:
    """Is a reduction put back against what it was taken of, as in a normalisation?"""
    return any(
        reader.op in ("pointwise", "sub", "div", "mul", "max")
        for reader, _ in graph.readers(node.output)
    )
