"""What every recipe settles the same way: all that is not a matrix or a table.

Biases and gains, what an author sets on purpose (LayerScale, ReZero, zero-initialised branches and
heads, relative positions, a state-space model's decay), frozen parameters, buffers.
"""

from __future__ import annotations

import math

from isometry.graph import Graph, Leaf, Node
from isometry.recipe.base import Choice, Site, significant
from isometry.roles import MATRICES, Usage
from isometry.streams import CARRIERS
from isometry.types import Block, Constant, Keep, Law, Normal

__all__ = ["looked_up", "padded", "settle"]

KEPT = {
    "attention_bias": "added to attention scores (relative positions): kept as its author set it",
    "scale": "a factor its author set on purpose (a gate, LayerScale, ReZero, a temperature)",
    "state_space": "decay rates or time steps of a state-space model, set on purpose (Gu 2023)",
    "unused": "the traced call does not reach it and its module's type is not known: left alone",
    "buffer": "a buffer: what its module made is kept",
}


def settle(site: Site) -> Choice | None:
    """The choice for a parameter that is no matrix and no table; None for those that are."""
    usage = site.usage
    leaf = usage.leaf
    if leaf.kind == "parameter" and not leaf.trainable:
        return _keep("frozen (requires_grad=False)")
    zeros = leaf.constant == 0.0 and usage.role in (*MATRICES, "embedding")
    if zeros and zero_on_purpose(site.graph, usage):
        return _keep("all zeros on purpose: its branch or head starts silent and moves at once")
    match usage.role:
        case "buffer" | "attention_bias" | "scale" | "state_space" | "unused":
            value = f" (now {leaf.constant:.4g})" if leaf.constant is not None else ""
            return _keep(KEPT[usage.role] + (value if usage.role == "scale" else ""))
        case "special":
            return _keep(
                f"{usage.note or 'its use has no law of its own'}: kept as its author set it"
            )
        case "bias":
            return _bias(usage)
        case "norm_gain":
            if leaf.constant == 0.0:
                return _keep(
                    "a normalisation's gain of zero: its branch starts silent (Goyal 2017)"
                )
            return Choice(Constant(1.0), "ones", "gain of a normalisation")
        case "magnitude":
            return _magnitude(site)
        case "positions":
            return _positions(site)
        case "query":
            if leaf.constant == 0.0:
                return _keep("zero on purpose: it learns from its gradient alone")
            return Choice(Normal(1.0), "normal", "learned vectors that stand in for an input")
    return None


def _keep(reason: str) -> Choice:
    return Choice(Keep(), "keep", reason)


def _bias(usage: Usage) -> Choice:
    leaf = usage.leaf
    if leaf.owner in ("LSTM", "LSTMCell") and usage.blocks:
        return _forget_gate(usage)
    if leaf.constant is not None and leaf.constant != 0.0 and not _drawn(usage):
        return _keep(f"a bias its author set to {leaf.constant:.4g}")
    return Choice(Constant(0.0), "zeros", "bias: starts at zero", "He et al. 2015, sec. 2.2")


def _drawn(usage: Usage) -> bool:
    """Is the one number of a bias, which is always constant, what its module draws by itself?"""
    leaf, partner = usage.leaf, usage.partner
    hint = partner.hint if partner is not None else None
    if math.prod(leaf.shape) != 1 or leaf.constant is None or hint is None or hint.fans is None:
        return False
    return bool(abs(leaf.constant) <= hint.fans.fan_in**-0.5)


def _forget_gate(usage: Usage) -> Choice:
    """The forget gate's bias is 1 in total; PyTorch adds two biases, the first carries it."""
    first = usage.leaf.slot.startswith("bias_ih")
    blocks = tuple(
        Block(b.name, b.axis, b.start, b.stop, Constant(1.0 if first and b.name == "f" else 0.0))
        for b in usage.blocks
    )
    reason = "gates: forget bias 1 in total, the others 0" if first else "gates: bias_ih has the 1"
    return Choice(Constant(0.0), "zeros", reason, "Jozefowicz et al. 2015", blocks=blocks)


def _magnitude(site: Site) -> Choice:
    """The length that makes a weight-normalised weight equal in law to the one it replaces."""
    leaf = site.usage.leaf
    for other in site.graph.leaves:
        if other.owner_name == leaf.owner_name and other is not leaf:
            law = site.law_of(other.name)
            if law is not None and not isinstance(law, Keep) and law.variance > 0:
                length = math.sqrt(math.prod(other.shape) / math.prod(leaf.shape) * law.variance)
                return Choice(
                    Constant(length), "constant",
                    f"the length of {other.slot} under its law: weight normalisation changes nothing",
                    "Salimans & Kingma 2016",
                )  # fmt: skip
    return _keep("the length of a normalised weight")


def _positions(site: Site) -> Choice:
    """A table added to a signal, as large as that signal: where a token is counts as what it is."""
    usage = site.usage
    if usage.leaf.constant is not None:
        return _keep(f"a learned offset that its author starts at {usage.leaf.constant:.4g}")
    rms = significant(math.sqrt(site.second_moment))
    reason = "a learned table added to a signal: of the same scale"
    return Choice(Normal(rms), "normal", reason, "Vaswani et al. 2017, sec. 3.5")


def looked_up(usage: Usage) -> Choice:
    """The choice for a table: rows of second moment 1."""
    law = Normal(1.0)
    reason = "looked up: rows of second moment 1"
    return Choice(law, "normal", reason, "", 1.0, padded(usage, law))


def padded(usage: Usage, law: Law) -> tuple[Block, ...]:
    """The blocks of a table whose padding row stays zero."""
    rows, row = usage.leaf.shape[0], usage.padding
    if row is None or not 0 <= row < rows:
        return ()
    ranges = (
        ("rows", 0, row, law),
        ("padding", row, row + 1, Constant(0.0)),
        ("rows", row + 1, rows, law),
    )
    return tuple(Block(n, 0, a, b, part) for n, a, b, part in ranges if a < b)


def zero_on_purpose(graph: Graph, usage: Usage) -> bool:
    """Is an all-zero matrix one that training moves at once?

    It is where something else goes round it: it writes a residual stream, it is added to or
    multiplies another signal, or it is the last of a model; and no other zero matrix feeds it.
    """
    node = usage.node
    if node is None or _zero_before(graph, node, usage):
        return False
    if usage.stream is not None or usage.heads:
        return True
    value = usage.output if usage.output is not None else node.output
    for _ in range(8):
        readers = [n for n, _ in graph.readers(value)]
        if any(n.op in ("add", "mul") and len(n.inputs) == 2 for n in readers):
            return True
        passing = [n for n in readers if n.op in (*CARRIERS, "pointwise")]
        if not passing:
            return False
        value = passing[0].output
    return False


def _zero_before(graph: Graph, node: Node, usage: Usage) -> bool:
    value = node.inputs[0]
    for _ in range(16):
        before = graph.producer(value)
        if before is None:
            return False
        if before.op in ("linear", "conv"):
            leaf = graph.leaf_of(before.inputs[-1])
            return leaf is not None and leaf.constant == 0.0
        if before.op == "add":
            inputs = [v for v in before.inputs if _is_signal(graph, v)]
            if len(inputs) != 1:
                return False
            value = inputs[0]
        elif before.inputs:
            value = before.inputs[0]
        else:
            return False
    return False


def _is_signal(graph: Graph, value: int) -> bool:
    leaf: Leaf | None = graph.leaf_of(value)
    return leaf is None and graph.values[value].producer >= 0
