"""A model as a graph: its operations in execution order and the tensors between them.

An adapter writes it, the core reads it, neither knows the other's framework. Values are numbered;
a node names the values it reads and writes. Reindexing (views, transposes, copies, casts) is kept
as nodes of op "view", and every operand also says, as a `Part`, which value it is a view of and
which ranges of which axes, so that "the middle third of that projection" needs no pattern.

Operations, and what their attributes say:

    linear      (x, weight)           in_axis, out_axis, batch_axis: axes of the weight's root;
                                      over: those of x that are summed over, the slowest first
    conv        (x, weight[, bias])   stride, groups, transposed
    lookup      (table, index)        rows of a table
    bilinear    (x, y, weight)        y_k = x W_k y
    matmul      (x, y)                both computed: attention scores and averages
    attention   (q, k, v)             a fused softmax(q k') v
    add sub mul div max min           two values, elementwise
    pointwise   (x)                   fn, args: a function of one value (FUNCTIONS in gains)
    softmax     (x)                   axis
    norm        (x[, weight[, bias]]) kind: layer, group, batch, rms
    sum mean    (x)                   count: elements summed into one
    pool        (x)                   kind: avg or max, count
    maximum     (x)                   count: the largest of so many
    concat      (x, y, ...)           axis
    view        (x)                   reindexing, slicing, casting, copying
    dropout     (x)
    where       (x, y)                one or the other
    constant    ()                    does not depend on inputs or parameters
    opaque      (...)                 anything else; `name` says what
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from isometry.types import Axes, Fans, Stored

__all__ = ["Graph", "Hint", "Leaf", "Node", "Part", "Range", "Value"]


@dataclass(frozen=True, slots=True)
class Part:
    """What an operand is a view of: `root` is a value, `ranges` maps an axis of the root to the
    range [start, stop) that the operand covers, where that is not the whole axis; `ordered` says that
    its elements come in the order of the root's (False: they do not, or it cannot be told)."""

    root: int
    ranges: Mapping[int, tuple[int, int]] = field(default_factory=dict)
    ordered: bool = True


@dataclass(frozen=True, slots=True)
class Value:
    """A tensor: its shape and dtype, the node that made it (-1: an input, parameter or constant)."""

    id: int
    shape: tuple[int, ...]
    dtype: str
    producer: int = -1


@dataclass(frozen=True, slots=True)
class Node:
    """One operation. `scope` is the module it ran in, "blocks.3.mlp"."""

    index: int
    op: str
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    attrs: Mapping[str, Any]
    scope: str
    parts: tuple[Part, ...] = ()  # one an input

    @property
    def output(self) -> int:
        return self.outputs[0]


@dataclass(frozen=True, slots=True)
class Range:
    """A named range of one axis: Q of a fused QKV, the forget gate."""

    name: str
    axis: int
    start: int
    stop: int


@dataclass(frozen=True, slots=True)
class Hint:
    """What a parameter's module says of it by its class alone. `recurrent` layers are unrolled in
    the graph, so that there the class says more."""

    role: str
    axes: Axes | None = None
    fans: Fans | None = None
    blocks: tuple[Range, ...] = ()
    recurrent: bool = False
    padding: int | None = None


@dataclass(frozen=True, slots=True)
class Leaf:
    """A parameter or buffer as the model owns it, in PyTorch's layout; `stored` says how the model lays
    it out, where that is another.

    `constant` is its value where it has one and all elements are equal (None on meta); `owner` is
    the class of the module that holds it, `owner_name` that module's path, `slot` the name in it.
    """

    name: str
    aliases: tuple[str, ...]
    kind: str  # "parameter" | "buffer"
    shape: tuple[int, ...]
    dtype: str
    value: int
    owner: str
    owner_name: str
    slot: str
    trainable: bool = True
    on_meta: bool = False
    constant: float | None = None
    hint: Hint | None = None
    stored: Stored | None = None


@dataclass(frozen=True)
class Graph:
    """A model's operations, values and leaves.

    `outputs` are the floating-point tensors that the model returns, by name where it gives one;
    `loss` is the kind of loss the model's class declares or the caller gave ("classification",
    "other" or None); `how` says how the graph was had ("meta", "real", "modules").
    """

    model: str
    nodes: tuple[Node, ...]
    values: Mapping[int, Value]
    leaves: tuple[Leaf, ...]
    inputs: tuple[int, ...] = ()
    outputs: Mapping[str, int] = field(default_factory=dict)
    loss: str | None = None
    how: str = "meta"
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        readers: dict[int, list[tuple[Node, int]]] = {}
        for node in self.nodes:
            for place, value in enumerate(node.inputs):
                readers.setdefault(value, []).append((node, place))
        object.__setattr__(self, "_readers", readers)
        object.__setattr__(self, "_leaf_of", {leaf.value: leaf for leaf in self.leaves})

    def readers(self, value: int) -> list[tuple[Node, int]]:
        """The nodes that read a value, with the place they read it at."""
        return self._readers.get(value, [])  # type: ignore[attr-defined,no-any-return]

    def leaf_of(self, value: int) -> Leaf | None:
        """The parameter or buffer that a value is, if it is one."""
        return self._leaf_of.get(value)  # type: ignore[attr-defined,no-any-return]

    def producer(self, value: int) -> Node | None:
        """The node that made a value; None for inputs, parameters and constants."""
        index = self.values[value].producer
        return None if index < 0 else self.nodes[index]

    def __iter__(self) -> Iterator[Node]:
        return iter(self.nodes)
