"""What a recipe is told about a parameter, and what it answers."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol

from isometry.graph import Graph
from isometry.pointwise import describe, name_of
from isometry.roles import Usage, is_normalised
from isometry.streams import Streams
from isometry.theory import Signal
from isometry.types import Block, Fans, Law

__all__ = ["Choice", "Recipe", "Site", "Survey", "blockwise", "significant"]

# What a signal is, in words, by the operation that made it.
MADE_BY = {
    "linear": "a projection", "conv": "a convolution", "lookup": "looked-up rows",
    "mul": "a gated signal", "add": "a sum of signals", "concat": "a concatenation",
    "matmul": "an average by attention", "attention": "an average by attention",
    "mean": "an average", "sum": "a sum", "pool": "a pooled signal", "maximum": "a pooled signal",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Choice:
    """A law for a parameter, and the reason."""

    law: Law
    scheme: str
    reason: str
    source: str = ""
    gain: float | None = None
    blocks: tuple[Block, ...] = ()


@dataclass(frozen=True, slots=True)
class Site:
    """What is known where a parameter is used.

    `reads` is the signal a matrix is applied to, `start` the signal a residual stream starts
    from, `readout` the second moment that a tied table reads when it makes logits, `reach` the share
    of a convolution's kernel that zero padding leaves it. `law_of` gives the law already decided for
    another parameter, by name; `feeds` names the activation that reads what is made here.
    """

    graph: Graph
    usage: Usage
    reads: Signal | None
    start: Signal | None
    readout: float | None
    reach: float
    law_of: Callable[[str], Law | None]
    feeds: Callable[[], str | None]

    @property
    def activation(self) -> str | None:
        """The activation whose output is read, by name."""
        return None if self.reads is None else name_of(self.reads.expression)

    @property
    def second_moment(self) -> float:
        """E[x²] of what is read: 1 where unknown, or where the signal starts at zero; and 1 where
        only a normalisation's epsilon parts it from 1."""
        q = 1.0 if self.reads is None else self.reads.q
        if abs(q - 1.0) < 0.02 or q < 1e-20 or not math.isfinite(q):
            return 1.0
        return q

    @property
    def reading(self) -> str:
        """What is read, in words."""
        if self.usage.note:
            return self.usage.note
        if self.reads is None or self.usage.reads is None:
            return "reads a signal of second moment 1 (assumed)"
        about = "" if self.reads.known else ", estimated past an operation the theory does not know"
        name = name_of(self.reads.expression)
        if self.reads.origin in self.graph.inputs:
            return f"reads the input (second moment 1 assumed){f', through {name}' if name else ''}"
        if name is None and is_normalised(self.graph, self.usage.reads):
            return "reads a normalised signal"
        made = self.graph.producer(self.reads.origin)
        plain = MADE_BY.get(made.op, "a signal") if made is not None else "a signal"
        what = name or describe(self.reads.expression) or plain
        return f"reads {what}, second moment {self.second_moment:.4g}{about}"


@dataclass(frozen=True, slots=True)
class Survey:
    """A whole model, before anything is decided: what a recipe judges its premises by."""

    graph: Graph
    weights: set[int]  # values that follow from parameters alone
    usages: Mapping[str, Usage]  # by the parameter's name, in the model's order
    streams: Streams


class Recipe(Protocol):
    """A rule for a whole model.

    A recipe may also have `prepare(survey) -> Recipe`, called once before anything is decided: it
    answers with the recipe for this model, and raises PlanError where its premises fail. The recipe
    it answers with may have `notes() -> tuple[str, ...]`, asked for when all is decided.
    """

    name: str
    purpose: str
    source: str

    def decide(self, site: Site) -> Choice:
        """The law of one parameter."""
        ...


def significant(value: float, digits: int = 6) -> float:
    """A number that a last bit of a machine's arithmetic cannot change."""
    return float(f"{value:.{digits - 1}e}")


def blockwise(usage: Usage, law_of: Callable[[Fans], Law]) -> tuple[Block, ...]:
    """A block for each matrix in a fused one, by its own fans."""
    if not usage.blocks or usage.fans is None or usage.axes is None:
        return ()
    whole = usage.leaf.shape[usage.blocks[0].axis]
    fused = usage.leaf.hint is None or not usage.leaf.hint.recurrent
    out = []
    for b in usage.blocks:
        share = (b.stop - b.start) / whole if fused and b.axis in usage.axes.out_axis else 1.0
        fans = Fans(usage.fans.fan_in, usage.fans.fan_out * share)
        out.append(Block(b.name, b.axis, b.start, b.stop, law_of(fans), fans))
    return tuple(out)
