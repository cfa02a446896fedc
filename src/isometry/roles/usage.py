"""What the graph says of one parameter."""

from __future__ import annotations

from dataclasses import dataclass, field

from isometry.graph import Leaf, Node, Range
from isometry.streams import Stream
from isometry.types import Axes, Fans

__all__ = ["MATRICES", "REINDEXING", "Usage"]

MATRICES = frozenset(
    "linear conv conv_transpose bilinear experts recurrent gates direction".split()
)
REINDEXING = frozenset("view lookup where concat dropout".split())


@dataclass(slots=True)
class Usage:
    """One leaf and what the graph says of it.

    `node` is where it meets the signal, `reads` the value it is applied to, `output` the value
    after its bias. `stream` is the residual stream it writes, `heads` the model outputs it makes.
    """

    leaf: Leaf
    role: str
    node: Node | None = None
    reads: int | None = None
    output: int | None = None
    axes: Axes | None = None
    fans: Fans | None = None
    blocks: tuple[Range, ...] = ()
    stream: Stream | None = None
    normalised: bool = False
    heads: tuple[str, ...] = ()
    others: list[Usage] = field(default_factory=list)  # what else the same leaf is used for
    via: tuple[str, ...] = ()  # operations between the leaf and the signal
    partner: Leaf | None = None  # bias: the matrix whose output it is added to
    padding: int | None = None  # embedding: a row that stays zero
    factor: float | None = 1.0  # what a matrix is multiplied by; None: more is done to it
    note: str = ""
