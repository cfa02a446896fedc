"""Functions of one value, and sums and products of two, element by element."""

from __future__ import annotations

from dataclasses import replace

from isometry.graph import Node
from isometry.pointwise import KNOWN, Z
from isometry.theory.padding import flattened
from isometry.theory.signal import Signal
from isometry.theory.walk import Rule, Walk

__all__ = ["RULES"]


def pointwise(walk: Walk, node: Node) -> Signal | None:
    inputs = walk.inputs(node)
    if not inputs:
        return None
    out = inputs[0].apply(node.attrs["fn"], *node.attrs["args"])
    if node.attrs["fn"] not in KNOWN:
        walk.count(node.attrs["fn"])
    return out


def binary(walk: Walk, node: Node) -> Signal | None:
    if len(node.inputs) == 1:
        return walk.operand(node, 0)
    a, b = walk.operand(node, 0), walk.operand(node, 1)
    if a is None and b is None:
        return None
    if a is None or b is None:
        return _with_weight(walk, node, a, b)
    if a.averaging != b.averaging and node.op in ("mul", "div"):
        signal = b if a.averaging else a
        return replace(signal, averaging=False)
    if a.statistic or b.statistic or a.root == b.root:
        return _same_root(walk, node, a, b)
    return _independent(walk, node, a, b)


def _with_weight(walk: Walk, node: Node, a: Signal | None, b: Signal | None) -> Signal:
    """One operand is learned (a bias, a gain) or a constant (a mask, a rotation)."""
    signal = a if a is not None else b
    assert signal is not None
    place = 1 if a is not None else 0
    found = walk.table(node, node.inputs[place]) if node.inputs[place] in walk.weights else None
    if found is None:
        learned = node.inputs[place] in walk.weights
        return replace(signal, known=False) if learned else signal
    mean, second = found
    fixed = abs(second - mean * mean) <= 1e-12 * max(second, 1e-300)
    fn = node.op if place == 1 else {"sub": "rsub", "div": "rdiv"}.get(node.op, node.op)
    if fixed:
        neutral = (fn in ("add", "sub") and mean == 0) or (fn in ("mul", "div") and mean == 1)
        return signal if neutral else signal.apply(fn, mean)
    centre, q = signal.moments
    shared = walk.shared(node.inputs[place], mean, second)
    if node.op in ("add", "sub"):
        sign = 1 if node.op == "add" else -1
        total = signal.seconds + shared + 2 * sign * centre * mean
        out = walk.fresh(node, centre + sign * mean, total, signal.known)
        return replace(out, profile=flattened(signal.profile, q / (q + second)), joint=signal.joint)
    if node.op == "mul":
        out = walk.fresh(node, centre * mean, signal.seconds * shared, signal.known)
        return replace(out, profile=signal.profile, joint=signal.joint)
    return signal


def _same_root(walk: Walk, node: Node, a: Signal, b: Signal) -> Signal:
    """Two functions of one Gaussian, or a signal and a number worked out of one."""
    known = a.known and b.known
    if a.statistic and b.statistic:
        expression = (node.op, Z, b.moments[0])
        return replace(
            a, mean=a.moments[0], variance=0.0, expression=expression, profile=None, known=known
        )
    if a.statistic:
        fn = {"sub": "rsub", "div": "rdiv"}.get(node.op, node.op)
        return b.apply(fn, a.moments[0])
    if b.statistic:
        return a.apply(node.op, b.moments[0])
    expression = (node.op, a.expression, b.expression)
    return replace(a, expression=expression, averaging=False, profile=None, known=known)


def _independent(walk: Walk, node: Node, a: Signal, b: Signal) -> Signal:
    (ma, qa), (mb, qb) = a.moments, b.moments
    if not (a.known and b.known):
        # What cannot be followed (a scan with decay) must not seem to grow with its length.
        larger = a if qa > qb else b
        return walk.fresh(node, larger.moments[0], larger.seconds, False)
    if node.op == "add":
        alpha = node.attrs.get("alpha", 1.0)
        total = a.seconds + alpha**2 * b.seconds + 2 * alpha * ma * mb
        out = walk.fresh(node, ma + alpha * mb, total)
        return replace(out, profile=a.profile or b.profile, joint=a.joint or b.joint)
    if node.op == "sub":
        return walk.fresh(node, ma - mb, a.seconds + b.seconds - 2 * ma * mb)
    if node.op == "mul":
        return walk.fresh(node, ma * mb, a.seconds * b.seconds)
    return walk.fresh(node, ma, a.seconds, False)


def glu(walk: Walk, node: Node) -> Signal | None:
    signal = walk.operand(node, 0)
    if signal is None:
        return None
    gate = replace(signal, expression=("sigmoid", Z))
    product = signal.seconds * gate.seconds
    return walk.fresh(node, signal.moments[0] * gate.moments[0], product, signal.known)


RULES: dict[str, Rule] = {
    "pointwise": pointwise,
    "add": binary,
    "sub": binary,
    "mul": binary,
    "div": binary,
    "max": binary,
    "min": binary,
    "pow": binary,
    "glu": glu,
}
