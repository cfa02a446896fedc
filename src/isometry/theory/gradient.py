"""The second moment of the gradient, carried from the outputs of a graph back to its inputs.

    E[(dL/dx)²] = fan_out Var(W) E[(dL/dy)²],      E[(dL/dz)²] = E[f'(z)²] E[(dL/df)²]

Each value that is read has G = E[g²] and P = E[g g'], the covariance of the gradients at two
positions of one sample, which an average makes of gradients that it sends to all of them. The
gradients of two samples are taken to have nothing in common. As in all mean-field theory, what comes
back is taken to be independent of what went forward (Schoenholz et al. 2017, sec. 5).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from isometry.graph import Node
from isometry.pointwise import Expression, Z
from isometry.theory.attention import attention_at
from isometry.theory.averages import normalised
from isometry.theory.padding import reach
from isometry.theory.places import over, positions, samples
from isometry.theory.products import as_read
from isometry.theory.signal import POSITION, Profile, Signal
from isometry.theory.walk import Walk

__all__ = ["Gradient", "backward"]


@dataclass(frozen=True, slots=True)
class Gradient:
    """Second moment of the gradient of an element, and its covariance with that at another position
    of the same sample. `profile` is how it varies along the spatial axes (None: evenly)."""

    own: float
    shared: float = 0.0
    profile: Profile | None = None

    def scaled(self, own: float, shared: float | None = None) -> Gradient:
        """Multiplied by a factor, or by one each."""
        return Gradient(
            self.own * own, self.shared * (own if shared is None else shared), self.profile
        )


@dataclass(frozen=True, slots=True)
class _Share:
    """What one reader sends back: to a function of a Gaussian, or of a range of it.

    `seen` is the signal whose slope carries it on to what made the Gaussian: for mirrored pairs,
    whose two halves come back with opposite signs, the pair's.
    """

    signal: Signal
    gradient: Gradient
    part: float
    seen: Signal


class Backward:
    """Gradients at the values of a walk."""

    def __init__(self, walk: Walk) -> None:
        self.walk = walk
        self._sent: dict[int, list[_Share]] = {}  # by the value that is the Gaussian
        self.lost: set[int] = set()  # Gaussians behind an operation that cannot be followed

    def send(self, signal: Signal | None, gradient: Gradient, seen: Signal | None = None) -> None:
        """Add a gradient at what a node reads."""
        if signal is None or signal.statistic or signal.averaging:
            return
        part = _part(self.walk, signal.root)
        self._sent.setdefault(signal.origin, []).append(
            _Share(signal, gradient, part, seen or signal)
        )

    def lose(self, signal: Signal | None) -> None:
        """Note that what comes back to a signal cannot be told."""
        if signal is not None:
            self.lost.add(signal.origin)

    def arriving(self, root: int, at_maker: bool = False) -> Gradient:
        """The gradient at a Gaussian: per element, or as what made it sums it up."""
        own = shared = 0.0
        profile = None
        for share in self._sent.get(root, ()):
            signal = share.seen if at_maker else share.signal
            place = share.gradient.profile
            own += share.part * share.gradient.own * signal.slope(place)
            shared += share.part * share.gradient.shared * signal.slopes(POSITION)
            profile = profile or signal.slope_profile(place)
        return Gradient(own, shared, profile)

    def at(self, value: int) -> float | None:
        """E[g²] at a value; None where it is not known, or nothing comes back."""
        signal = self.walk.signal(value)
        if signal is None or signal.origin in self.lost or signal.statistic or signal.averaging:
            return None
        sent = self._sent.get(signal.origin, ())
        if not sent or isinstance(signal.root, tuple):
            return None
        if signal.expression == Z:
            found = self.arriving(signal.origin).own
        else:
            same = [s for s in sent if s.signal.expression == signal.expression]
            if not same or any(
                _holds(s.signal.expression, signal.expression) for s in sent if s not in same
            ):
                return None
            found = sum(s.part * s.gradient.own for s in same)
        return found if math.isfinite(found) else None


def backward(walk: Walk, ends: Mapping[int, float]) -> Backward:
    """Carry the gradient back, from the values in `ends`, whose second moment is given."""
    out = Backward(walk)
    for value, own in ends.items():
        out.send(walk.signal(value), Gradient(own))
    for node in reversed(walk.graph.nodes):
        made = walk.signal(node.output)
        if made is None or made.root != node.output or made.statistic or made.averaging:
            continue
        if not out._sent.get(node.output) and node.output not in out.lost:
            continue
        matrix = node.op in ("linear", "conv", "bilinear")
        found = out.arriving(node.output, at_maker=matrix)
        rule = _RULES.get(node.op)
        if rule is None or node.output in out.lost or not math.isfinite(found.own):
            for place in range(len(node.inputs)):
                out.lose(walk.operand(node, place))
        else:
            rule(out, node, found)
    return out


def _part(walk: Walk, root: object) -> float:
    """The share of a value that a range of it is."""
    part = 1.0
    while isinstance(root, tuple):
        root, ranges = root
        inner = root
        while isinstance(inner, tuple):
            inner = inner[0]
        shape = walk.graph.values[int(inner)].shape  # type: ignore[call-overload]
        for axis, (start, stop) in ranges:
            # A range counts the axes of what it was taken of, which may be a reshaped root.
            part *= (stop - start) / max(shape[min(axis, len(shape) - 1)], 1)
    return part


def _holds(outer: Expression, inner: Expression) -> bool:
    """Is an expression worked out from another?"""
    if outer == inner:
        return True
    return isinstance(outer, tuple) and any(_holds(o, inner) for o in outer[1:])


# -- what each operation sends back ----------------------------------------------------------


def _matrix(back: Backward, node: Node, g: Gradient) -> None:
    walk = back.walk
    leaf = walk.leaf_behind(node.inputs[-1])
    found = walk.leaf_moments(leaf, node) if leaf is not None else None
    for place in range(len(node.inputs) - 1):
        signal = walk.operand(node, place)
        if signal is None or found is None:
            back.lose(signal)
            continue
        others = [walk.operand(node, p) for p in range(len(node.inputs) - 1) if p != place]
        q = math.prod(s.q for s in others if s is not None)
        if node.op == "conv":
            back.send(signal, _convolved(walk, node, g, found.second, found.delta))
            continue
        # Where positions become features each has weights of its own.
        flat = positions(walk.graph, node.output) == 1 < positions(walk.graph, node.inputs[place])
        scaled = g.scaled(found.fan_out * found.second * q)
        scaled = Gradient(scaled.own, 0.0 if flat else scaled.shared)
        back.send(signal, scaled, as_read(signal, found.reads))


def _convolved(walk: Walk, node: Node, g: Gradient, second: float, delta: bool) -> Gradient:
    """Each input is read by the taps that reach an output: as many as outputs read inputs."""
    kernel = walk.graph.values[node.inputs[1]].shape
    ins, outs = (positions(walk.graph, v) for v in (node.inputs[0], node.output))
    axis = 1 if node.attrs["transposed"] else 0
    per_group = node.attrs["groups"] if axis == 0 else 1
    taps = 1 if delta else math.prod(kernel[2:])
    factor = second * kernel[axis] / per_group * taps * outs / ins
    if delta:
        return g.scaled(factor)
    plain = Signal(node.output, profile=g.profile)
    if g.profile is not None and ins != outs:
        plain = Signal(node.output)
    share, profile = reach(node, plain)
    scaled = g.scaled(factor * share)
    return Gradient(scaled.own, scaled.shared, profile if ins == outs else None)


def _sum(back: Backward, node: Node, g: Gradient) -> None:
    alpha = node.attrs.get("alpha", 1.0)
    for place in range(len(node.inputs)):
        back.send(back.walk.operand(node, place), g.scaled(alpha**2 if place == 1 else 1.0))


def _product(back: Backward, node: Node, g: Gradient) -> None:
    walk = back.walk
    signals = [walk.operand(node, place) for place in range(len(node.inputs))]
    for place, signal in enumerate(signals):
        other = signals[1 - place]
        if signal is None:
            continue
        if other is not None:
            back.send(signal, g.scaled(other.q, float(other.seconds[POSITION])))
        elif (found := walk.table(node, node.inputs[1 - place])) is not None:
            back.send(signal, g.scaled(found[1]))
        else:
            back.lose(signal)


def _norm(back: Backward, node: Node, g: Gradient) -> None:
    """g less its means with 1 and with the normalised x, over the size: the means count where they
    are over samples and positions of one channel, whose gradients add up."""
    walk = back.walk
    signal = walk.signal(node.inputs[0])
    if signal is None:
        return
    _, left = normalised(walk, node, signal)
    size = left[0] + node.attrs.get("eps", 0.0)
    taken = 0.0
    if node.attrs["kind"] in ("batch", "group"):
        value = node.inputs[0]
        count = positions(walk.graph, value)
        alone = count * (
            samples(walk.graph, value) if node.attrs["kind"] == "batch"
            else max(int(node.attrs.get("channels", 1)), 1)
        )  # fmt: skip
        alike = left[POSITION] / left[0]
        taken = (2.0 * g.own + (count - 1) * g.shared * (1.0 + alike)) / alone
    own, shared = max(g.own - taken, 0.0), g.shared - taken
    back.send(signal, Gradient(own / size, shared / size, g.profile))


def _averaged(back: Backward, node: Node, g: Gradient) -> None:
    walk = back.walk
    found = attention_at(walk, node)
    value = walk.operand(*found.value)
    if value is None or not found.count:
        return
    # dv_j = sum_i a_ij g_i
    same = float(found.overlaps[0])
    own = g.own * same + g.shared * max(found.column - same, 0.0)
    shared = found.column * g.shared + (g.own - g.shared) * float(found.overlaps[POSITION])
    back.send(value, Gradient(own, shared))
    query = None if found.query is None else walk.operand(*found.query)
    key = None if found.key is None else walk.operand(*found.key)
    if query is None or key is None:
        return
    # dl_ij = a_ij g_i (v_j - o_i), dq_i = s sum_j dl_ij k_j, dk_j = s sum_i dl_ij q_i
    values = max(value.q - float(value.seconds[POSITION]), 0.0)
    keys = max(key.q - float(key.seconds[POSITION]), 0.0)
    rate = found.size * found.scale**2 * values * found.apart
    back.send(query, Gradient(rate * g.own * keys))
    beside = g.shared * float(query.seconds[POSITION]) * max(found.column / same - 1.0, 0.0)
    back.send(key, Gradient(rate * (g.own * query.q + beside)))


def _reduced(back: Backward, node: Node, g: Gradient) -> None:
    """A mean or a sum: each of k elements gets the gradient, over k for a mean."""
    walk = back.walk
    signal = walk.signal(node.inputs[0])
    count = node.attrs["count"]
    factor = 1.0 if node.op == "sum" else 1.0 / count**2
    if node.op == "pool":
        ins, outs = (positions(walk.graph, v) for v in (node.inputs[0], node.output))
        factor *= count * outs / ins
    axis = over(walk.graph, node)
    if axis != "positions":
        back.lose(signal)
        return
    whole = positions(walk.graph, node.inputs[0]) <= count
    shared = g.own if whole else g.shared
    back.send(signal, Gradient(g.own * factor, shared * factor))


def _pool(back: Backward, node: Node, g: Gradient) -> None:
    if node.op == "pool" and node.attrs["kind"] == "avg":
        _reduced(back, node, g)
        return
    walk = back.walk
    signal = walk.signal(node.inputs[0])
    if signal is None:
        return
    # It goes to the largest: to the Gaussian of one of k, through the slope where that lies.
    ins, outs = (positions(walk.graph, v) for v in (node.inputs[0], node.output))
    share = outs / ins if node.op == "pool" else 1.0 / node.attrs["count"]
    made = walk.signal(node.output)
    slope = made.slope() if made is not None else 1.0
    plain = signal.slope()
    share *= slope / plain if plain > 0 else 1.0
    back.send(signal, g.scaled(share))


def _concat(back: Backward, node: Node, g: Gradient) -> None:
    for place in range(len(node.inputs)):
        back.send(back.walk.operand(node, place), g)


def _gate(back: Backward, node: Node, g: Gradient) -> None:
    signal = back.walk.operand(node, 0)
    if signal is None:
        return
    gate = Signal(signal.root, signal.mean, signal.variance, ("sigmoid", Z))
    back.send(signal, g.scaled(0.5 * (gate.q + signal.q * gate.slope())))


_Send = Callable[[Backward, Node, Gradient], None]
_RULES: Mapping[str, _Send] = {
    "linear": _matrix, "conv": _matrix, "bilinear": _matrix, "add": _sum, "sub": _sum,
    "mul": _product, "norm": _norm, "matmul": _averaged, "attention": _averaged,
    "mean": _reduced, "sum": _reduced, "pool": _pool, "maximum": _pool, "concat": _concat,
    "glu": _gate,
}  # fmt: skip


