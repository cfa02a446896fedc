"""Which hidden units of a model can be mirrored pairs, and what the weights behind them then see.

A layer that writes [a; -a] before an activation phi, and one that reads it through [W, -W], pass on

    W (phi(a) - phi(-a)),   an odd function f whatever phi is: exactly a for ReLU, GELU, SiLU, softplus

so that the pair of them is (nearly) linear. It holds where every weight that reads the activation
can be mirrored, and nothing else reads it. An odd phi needs no pairs; a phi that is odd but for a
constant (sigmoid) needs weights that do not see the mean.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from isometry.graph import Leaf, Node
from isometry.pointwise import Expression, Z
from isometry.recipe.base import Survey
from isometry.recipe.inner import is_single
from isometry.recipe.parity import parity
from isometry.roles import Usage
from isometry.theory import LeafMoments, Walk, propagate

__all__ = ["GATED", "Hidden", "Reading", "find_hidden"]

GATED = "a product reads it"  # the obstacle of what makes a gate
# In place of an operand's place: a range of the value is read; it is returned; its units are moved
# about, or meet numbers of their own.
PART, OUTPUT, MOVED = -1, -2, -3


@dataclass(frozen=True, slots=True)
class Reading:
    """A weight and what it applies to the numbers written before it; `pooled` is the share of the
    second moment that a pooling between leaves."""

    usage: Usage
    expression: Expression
    units: int  # of the hidden layer, which the weight reads `each` of so many times
    each: int = 1
    pooled: float = 1.0


@dataclass(slots=True)
class Hidden:
    """Numbers that one weight writes, all the weights that read them, and how.

    `kind` is "plain" (odd functions only: nothing to mirror), "centred" (odd but for a constant),
    "mirrored", or "none" with the obstacle in words.
    """

    writer: Usage
    value: int
    units: int
    readings: list[Reading] = field(default_factory=list)
    normalised: bool = False
    chain: bool = (
        False  # all that stands in the way is that a weight reads it that cannot be mirrored
    )
    kind: str = "none"
    obstacle: str = ""
    function: Expression | None = None  # an activation that reads it
    blocker: int = -1  # the node that stands in the way

    @property
    def pairs(self) -> int:
        return self.units // 2 if self.kind == "mirrored" else 0


def find_hidden(survey: Survey) -> dict[str, Hidden]:
    """Writer's name -> what it writes, for every matrix of the model."""
    walk = propagate(survey.graph, survey.weights, lambda leaf, node: _moments(survey, leaf, node))
    consumers = _consumers(survey, walk)
    by_node = {u.node.index: u for u in survey.usages.values() if u.node and _is_matrix(u)}
    found = {}
    for usage in by_node.values():
        assert usage.node is not None
        value = usage.node.output
        shape = survey.graph.values[value].shape
        channels = usage.node.op == "conv" and len(shape) > 2
        hidden = Hidden(usage, value, shape[1 if channels else -1] if shape else 1)
        way = _Way(value, channels)
        hidden.obstacle = _gather(survey, consumers, by_node, hidden, way)
        if not hidden.obstacle:
            _classify(hidden)
        found[usage.leaf.name] = hidden
    for hidden in found.values():
        # A weight that writes pairs cannot be blind to a mean as well: then pairs cancel it.
        onward = (found[r.usage.leaf.name].kind for r in hidden.readings)
        if hidden.kind == "centred" and "mirrored" in onward and is_single(hidden.writer):
            hidden.kind = "mirrored"
    return found


def _is_matrix(usage: Usage) -> bool:
    return usage.role in ("linear", "conv", "conv_transpose", "direction")


def _moments(survey: Survey, leaf: Leaf, node: Node) -> LeafMoments | None:
    """Weights of variance 1/fan_in, biases 0, gains 1: only the shape of things matters here."""
    usage = survey.usages[leaf.name]
    if usage.role in ("bias", "norm_gain"):
        usual = float(usage.role == "norm_gain")
        as_usual = leaf.constant == usual or (leaf.trainable and leaf.constant in (None, 0.0))
        return LeafMoments(usual, usual if as_usual else 2.0)  # else: what is kept differs by unit
    fan_in = usage.fans.fan_in if usage.fans is not None else 1.0
    return LeafMoments(0.0, 1.0 / max(fan_in, 1.0), fan_in)


Consumers = Mapping[object, list[tuple[Node, int, Expression]]]


def _consumers(survey: Survey, walk: Walk) -> Consumers:
    """Root of a signal -> the operations that make something new of it, and what they read."""
    found: dict[object, list[tuple[Node, int, Expression]]] = {}
    outputs = set(survey.graph.outputs.values())
    known = survey.weights | {n.output for n in survey.graph} | set(survey.graph.inputs)
    for node in survey.graph:
        made = walk.signal(node.output)
        for place in range(len(node.inputs)):
            signal = walk.operand(node, place)
            if signal is None:
                continue
            if (
                made is not None
                and made.root == signal.root
                and _keeps_order(survey, node, place, known)
            ):
                continue
            root = signal.root
            while isinstance(root, tuple):
                root, place = root[0], PART
            if made is not None and made.root == signal.root:
                place = MOVED
            found.setdefault(root, []).append((node, place, signal.expression))
        if node.output in outputs and made is not None:
            found.setdefault(made.root, []).append((node, OUTPUT, made.expression))
    return found


def _keeps_order(survey: Survey, node: Node, place: int, known: set[int]) -> bool:
    """Does an operation through which a signal stays one leave every unit in its place, and alike?"""
    if not node.parts[place].ordered or node.op in ("lookup", "where", "concat"):
        return False
    if node.op == "view":
        return (
            len(node.attrs.get("pad") or (0,) * 9) < len(survey.graph.values[node.output].shape) - 1
        )
    return all(
        v in known for v in node.inputs
    )  # a constant or a buffer may differ from unit to unit


def _is_plain(node: Node, place: int) -> bool:
    """Is what an operation reads in the order in which it was written? A product says it itself."""
    return node.op == "linear" or node.parts[place].ordered


@dataclass(frozen=True, slots=True)
class _Way:
    """Where a search for readers is: at a value whose units lie along axis 1 (channels) or the last,
    behind an activation or not, behind a pooling that left a share of the second moment or not."""

    value: int
    channels: bool
    before: Expression = Z
    pooled: float = 1.0


def _gather(
    survey: Survey, consumers: Consumers, by_node: Mapping[int, Usage], hidden: Hidden, way: _Way
) -> str:
    """Add the readings behind a value; what stands in the way, in words, or ""."""
    graph = survey.graph
    for node, place, expression in consumers.get(way.value, []):
        hidden.blocker = node.index
        read = expression if way.before == Z else way.before
        hidden.function = hidden.function or (read if read != Z else None)
        if place == OUTPUT:
            return "it is an output of the model"
        if place == MOVED or (place >= 0 and not _is_plain(node, place)):
            return f"{_named(node)} moves its units about or tells them apart"
        if place == PART:
            return f"{_named(node)} reads a part of it"
        if way.before != Z and expression != Z:
            return "two functions read it, one after the other, with an average between"
        shape, out = graph.values[node.inputs[0]].shape, graph.values[node.output].shape
        if node.index in by_node and place == 0:
            usage = by_node[node.index]
            each = _times(node, usage, shape, hidden.units, way.channels)
            if each is None:
                hidden.chain = True
                return f"{usage.leaf.name} reads it another way than unit by unit"
            hidden.readings.append(Reading(usage, read, hidden.units, each, way.pooled))
            continue
        channels = _channels_after(shape, out, hidden.units, way.channels)
        if channels is None or node.op not in ("norm", "pool", "mean"):
            hidden.chain = node.op in ("linear", "conv", "concat")
            return f"{_named(node)} reads it"
        onward = replace(way, value=node.output, channels=channels, before=read)
        if node.op == "norm":
            if node.attrs["kind"] == "group" or (node.attrs["kind"] != "batch" and way.channels):
                return "a normalisation runs over other numbers than one layer's"
            if read != Z:
                return "a normalisation reads its activation"
            hidden.normalised = True
        elif node.op == "mean" or node.attrs["kind"] == "avg":
            onward = replace(onward, pooled=way.pooled * node.attrs["count"] ** -0.5)
        obstacle = _gather(survey, consumers, by_node, hidden, onward)
        if obstacle:
            return obstacle
    return ""


def _named(node: Node) -> str:
    return {"add": "an addition", "mul": "a product", "matmul": "attention", "attention": "attention",
            "concat": "a concatenation", "conv": "a grouped or transposed convolution"}.get(
        node.op, str(node.attrs.get("name", node.op))
    )  # fmt: skip


def _times(
    node: Node, usage: Usage, shape: tuple[int, ...], units: int, channels: bool
) -> int | None:
    """How many numbers of each unit a weight reads, the units slowest; None where it does otherwise."""
    if not is_single(usage) or usage.axes is None:
        return None
    if node.op == "conv":
        plain = channels and shape[1] == units
        return 1 if plain and shape[2:] == tuple(node.attrs["size"]) else None
    over = node.attrs.get("over")
    if not over:
        return None
    first = 1 if channels else len(shape) - len(over)
    if list(over) != list(range(first, first + len(over))) or (channels and shape[1] != units):
        return None
    reads = math.prod(shape[a] for a in over)
    fits = reads == usage.leaf.shape[usage.axes.in_axis[0]] and reads % units == 0
    return reads // units if fits and (channels or reads == units) else None


def _channels_after(
    shape: tuple[int, ...], out: tuple[int, ...], units: int, channels: bool
) -> bool | None:
    """Whether the units lie along axis 1 (or the last) behind a normalisation, a pooling or a mean;
    None where they are averaged themselves."""
    if not shape or not out or (len(out) < len(shape) and shape.count(units) > 1):
        return None
    if channels:
        return True if len(out) > 1 and shape[1] == out[1] == units else None
    return False if shape[-1] == out[-1] == units else None


def _classify(hidden: Hidden) -> None:
    """Say how the readings pass their numbers on."""
    kinds = {parity(r.expression) for r in hidden.readings}
    if not hidden.readings:
        hidden.obstacle = "nothing reads it"
    elif "even" in kinds:
        hidden.obstacle = "its activation has no odd part that passes small signals on"
    elif kinds <= {"odd"}:
        hidden.kind = "plain"
    elif kinds <= {"odd", "shifted"}:
        hidden.kind = "centred"
    elif hidden.units < 2:
        hidden.obstacle = "one unit makes no pair"
    elif not is_single(hidden.writer):
        hidden.obstacle, hidden.chain = "the weight that writes it cannot be mirrored", True
    else:
        hidden.kind = "mirrored"
