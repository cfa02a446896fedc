"""The orthogonal matrix inside a weight: its sides, its place in a kernel, and the law it makes."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from isometry.recipe.base import Choice, significant
from isometry.roles import Usage
from isometry.types import (
    Block,
    CenteredOrthogonal,
    DeltaOrthogonal,
    Law,
    MirroredOrthogonal,
    Normal,
    Orthogonal,
)

__all__ = ["Inner", "inner_of", "is_single", "orthogonalised"]


@dataclass(frozen=True, slots=True)
class Inner:
    """rows x columns, each column met by one number that is read (or by one pair)."""

    rows: int
    columns: int
    positions: int  # of the kernel
    delta: bool  # it stands at the kernel's centre; else it runs over the whole kernel
    reads: int = 0  # pairs
    writes: int = 0
    sees_mean: bool = True  # of what it reads
    gives_mean: bool = True

    @property
    def side(self) -> int:
        return max(self.rows, self.columns)

    @property
    def scheme(self) -> str:
        centred = not (self.sees_mean and self.gives_mean)
        kind = "mirrored_" if self.reads or self.writes else "centered_" if centred else ""
        return f"{kind}delta" if kind and self.delta else f"{kind}{'delta_' * self.delta}orthogonal"

    def law(self, gain: float) -> Law:
        """The law of the weight whose inner matrix has these singular values."""
        size = self.side * (self.positions if self.delta else 1)
        if self.reads or self.writes:
            return MirroredOrthogonal(gain, size, self.reads, self.writes, self.delta)
        if not (self.sees_mean and self.gives_mean):
            reads, writes = not self.sees_mean, not self.gives_mean
            return CenteredOrthogonal(gain, size, reads, writes, self.delta)
        return DeltaOrthogonal(gain, size) if self.delta else Orthogonal(gain, size)


def is_single(usage: Usage) -> bool:
    """Is a weight one matrix that is used once, as it stands, and will be drawn?"""
    axes, node, leaf = usage.axes, usage.node, usage.leaf
    if usage.role not in ("linear", "conv") or axes is None or node is None:
        return False
    if usage.blocks or usage.others or axes.batch_axis or node.attrs.get("groups", 1) != 1:
        return False
    drawn = leaf.trainable and leaf.constant != 0.0
    plain = usage.factor in (1.0, None) and not node.attrs.get("transposed", False)
    return drawn and plain and len(axes.in_axis) == len(axes.out_axis) == 1


def inner_of(
    usage: Usage, reads: int, writes: int, sees_mean: bool, gives_mean: bool
) -> Inner | None:
    """The inner matrix of a weight; None for one that is several matrices (grouped, fused, tied).

    A kernel that moves by one position has it at its centre (Xiao et al. 2018); one that skips
    positions runs over all of its own, since what no centre meets would be lost.
    """
    node, axes, shape = usage.node, usage.axes, usage.leaf.shape
    if not is_single(usage) or axes is None or node is None:
        return None
    out, into = (math.prod(shape[a] for a in part) for part in (axes.out_axis, axes.in_axis))
    positions = math.prod(shape) // (out * into)
    stride = node.attrs.get("stride", 1)
    steps = stride if isinstance(stride, tuple) else (stride,)
    delta = positions > 1 and all(s == 1 for s in steps)
    if reads or writes:  # pairs on one side and a mean on the other: the pairs have none
        sees_mean, gives_mean = True, True
    columns = (reads or into) * (1 if delta else positions) - (not sees_mean)
    rows = out - writes - (not gives_mean)
    if min(rows, columns) < 1:
        return None
    return Inner(rows, columns, positions, delta, reads, writes, sees_mean, gives_mean)


def orthogonalised(choice: Choice, usage: Usage, wanted: float = 1.0) -> Choice:
    """Variances that give an output of second moment 1, as orthogonal matrices (block by block, where
    a weight is made of some) whose output has the second moment that is wanted."""
    axes, shape = usage.axes, usage.leaf.shape
    groups = 1 if usage.node is None else usage.node.attrs.get("groups", 1)
    if not isinstance(choice.law, Normal):
        return choice
    factor = 1.0 if wanted == 1.0 or usage.stream is not None or usage.heads else math.sqrt(wanted)
    if axes is None or groups != 1:
        return (
            choice
            if factor == 1.0
            else replace(choice, law=Normal(significant(choice.law.std * factor)))
        )
    out, into = (math.prod(shape[a] for a in part) for part in (axes.out_axis, axes.in_axis))
    if not axes.in_axis or axes.batch_axis or min(out, into) < 2:
        return choice

    def law_of(law: Law, share: float, axis: int | None) -> Law:
        if not isinstance(law, Normal):
            return law
        rows = out * (share if axis in axes.out_axis else 1.0)
        columns = math.prod(shape) // out * (share if axis in axes.in_axis else 1.0)
        side = round(max(rows, columns))
        return Orthogonal(significant(law.std * factor * math.sqrt(side)), side)

    def of(block: Block) -> Block:
        share = (block.stop - block.start) / shape[block.axis]
        return replace(block, law=law_of(block.law, share, block.axis))

    return replace(
        choice, law=law_of(choice.law, 1.0, None), scheme="orthogonal",
        blocks=tuple(of(b) for b in choice.blocks),
    )  # fmt: skip
