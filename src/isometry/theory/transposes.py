"""What each operation sends back to what it reads, given the gradient at what it made."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

from isometry.graph import Node
from isometry.pointwise import Z
from isometry.theory.attention import attention_at
from isometry.theory.gradient import Backward, Gradient
from isometry.theory.norms import normalised
from isometry.theory.padding import reach
from isometry.theory.places import over, positions, samples
from isometry.theory.products import as_read, as_used
from isometry.theory.signal import POSITION, Signal
from isometry.theory.walk import Walk

__all__ = ["backward"]


def backward(walk: Walk, ends: Mapping[int, float]) -> Backward:
    """Carry the gradient back, from the values in `ends`, whose second moment is given: the whole of
    it, also where others of them are worked out from one."""
    out = Backward(walk)
    given: dict[int, Gradient] = {}
    for value, own in ends.items():
        signal = walk.signal(value)
        if signal is not None and signal.expression == Z and walk.graph.readers(value):
            given[signal.origin] = Gradient(own)
        else:
            out.send(signal, Gradient(own))
    for node in reversed(walk.graph.nodes):
        made = walk.signal(node.output)
        if made is None or made.root != node.output or made.statistic or made.averaging:
            continue
        if node.output in given:
            out.sent[node.output] = []
            out.send(made, given[node.output])
        if not out.sent.get(node.output) and node.output not in out.lost:
            continue
        matrix = node.op in ("linear", "conv", "bilinear")
        found = out.arriving(node.output, at_maker=matrix)
        rule = _RULES.get(node.op)
        followed = made.known and node.output not in out.lost and math.isfinite(found.own)
        if rule is None or not followed:
            for place in range(len(node.inputs)):
                out.lose(walk.operand(node, place))
        else:
            rule(out, node, found)
    return out


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
        _, second = as_used(walk, node, found)
        if node.op == "conv":
            back.send(signal, _convolved(walk, node, g, second, found.delta))
            continue
        # Where positions become features each has weights of its own.
        flat = positions(walk.graph, node.output) == 1 < positions(walk.graph, node.inputs[place])
        scaled = g.scaled(found.fan_out * second * q)
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
    if signal is None or not signal.known:
        back.lose(signal)
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
    read = [walk.operand(node, place) for place in range(len(node.inputs))]
    if node.op == "matmul" and not any(s is not None and s.averaging for s in read):
        for signal in read:  # a product of two signals that is no average
            back.lose(signal)
        return
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
