"""What is foreseen of a model on a mesh: numbers and words, no framework and no NumPy."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Foresight", "Proof", "Row", "Span", "Speed", "StageForesight"]


@dataclass(frozen=True, slots=True)
class Span:
    """The smallest and the largest over some ranks."""

    low: float
    high: float


@dataclass(frozen=True, slots=True)
class StageForesight:
    """The ranks of one pipeline stage.

    Attributes:
        holds: what they hold: blocks, and modules outside of blocks.
        ranks: how many there are.
        parameters: elements of parameters on a rank.
        bytes: of parameters and buffers on a rank.
        seconds: to fill a rank's parameters.
        peak: bytes that a rank needs while it fills them: what it holds, and what the filling takes.
        mean: bytes on a rank, averaged.
        worst: the rank that holds the most bytes, the first of them.
    """

    holds: tuple[str, ...]
    ranks: int
    parameters: Span
    bytes: Span
    seconds: Span
    peak: Span
    mean: float
    worst: int


@dataclass(frozen=True, slots=True)
class Row:
    """Tensors that are cut alike, such as a matrix of every block.

    Attributes:
        name: of all of them, with a `*` where they are numbered.
        count: how many there are.
        shape: of each.
        cut: how, in words: "tp 0, dp 0" is axis 0 by tp, and each chunk of it by dp.
        shard: the largest part of one that a rank holds.
    """

    name: str
    count: int
    shape: tuple[int, ...]
    cut: str
    shard: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Speed:
    """How fast this machine fills memory of its own, measured.

    Attributes:
        dtype: of the numbers.
        numbers: a second, of laws whose elements need no other.
        bytes: a second, the same.
        operations: a second, of laws of whole matrices; None where the plan has none.
        threads: how many were used.
    """

    dtype: str
    numbers: float
    bytes: float
    operations: float | None
    threads: int


@dataclass(frozen=True, slots=True)
class Proof:
    """Parts of random shards, each made alone, against the same parts cut out of whole rows.

    Attributes:
        shards, ranks, numbers: how many were compared.
        unequal: which were not equal, in words; empty is the proof.
        seconds: what it took.
    """

    shards: int
    ranks: int
    numbers: int
    unequal: tuple[str, ...]
    seconds: float


@dataclass(frozen=True, slots=True)
class Foresight:
    """What every rank of a mesh will hold of a model, and what it takes to fill it.

    Attributes:
        model: its class.
        mesh: as it was written.
        world: the number of ranks.
        parameters, bytes: of the whole model, each once; bytes with buffers.
        dtype: of the parameters, all that there are.
        stages: a pipeline stage each, or the one.
        rows: how each tensor is cut.
        rule: where that comes from.
        speed: of this machine.
        notes: what does not divide, and what is assumed.
        proof: None where none was asked for.
    """

    model: str
    mesh: str
    world: int
    parameters: int
    bytes: int
    dtype: str
    stages: tuple[StageForesight, ...]
    rows: tuple[Row, ...]
    rule: str
    speed: Speed
    notes: tuple[str, ...]
    proof: Proof | None

    @property
    def imbalance(self) -> float:
        """The most bytes on a rank, over what they would be were they spread evenly."""
        mean = sum(s.mean * s.ranks for s in self.stages) / self.world
        return max(s.bytes.high for s in self.stages) / mean if mean else 1.0
