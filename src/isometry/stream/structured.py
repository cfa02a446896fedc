"""Laws that no single word decides: orthogonal, identity, dirac, hadamard, sparse, log-uniform.

Each works on a *box*: the whole tensor, or the block of it that has the law. Axes play one of
three parts: batch (independent matrices), out (rows), and the rest (columns: the in axes and the
receptive field, in the order in which the tensor has them).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence

from isometry.errors import ArgumentError
from isometry.stream.box import Box, Values
from isometry.stream.factors import check_factor, factor
from isometry.stream.index import Dim, tiles
from isometry.stream.logarithm import log_uniform
from isometry.stream.orthogonal import orthogonal, orthogonal_tiles
from isometry.stream.patterns import dirac, hadamard, identity, sparse, sparse_tiles
from isometry.types import (
    Axes,
    CenteredOrthogonal,
    DeltaOrthogonal,
    Dirac,
    Factor,
    Hadamard,
    Identity,
    Law,
    LogUniform,
    MirroredOrthogonal,
    Orthogonal,
    Sparse,
)

__all__ = ["Box", "check_structured", "is_structured", "structured_tiles"]

TILE = 2**20  # elements worked out at once where each needs no other


def check_structured(law: Law, shape: tuple[int, ...], axes: Axes | None) -> Axes:
    """The axes a structured law will use. Raises ArgumentError where it cannot fit the shape."""
    if isinstance(law, LogUniform):
        if len(shape) != 1:
            raise ArgumentError(f"{law} is a law of biases, one axis; received shape {shape}")
        return Axes((), ())
    if axes is None:
        if len(shape) < 2:
            raise ArgumentError(
                f"{law} is a law of matrices; shape {shape} has {len(shape)} axes; expected two or "
                "more, or another law"
            )
        axes = Axes(in_axis=(1,), out_axis=(0,))
    named = (*axes.in_axis, *axes.out_axis, *axes.batch_axis)
    if len(set(named)) != len(named) or not all(0 <= a < len(shape) for a in named):
        raise ArgumentError(f"{axes}: expected distinct positions in [0, {len(shape)})")
    if not axes.in_axis or not axes.out_axis:
        raise ArgumentError(f"{axes}: {law} needs an in_axis and an out_axis")
    field = len(shape) - len(named)
    if isinstance(law, Identity) and (len(axes.in_axis) > 1 or len(axes.out_axis) > 1 or field):
        raise ArgumentError(
            f"{law} is a law of plain matrices; shape {shape} has {field} kernel axes and {axes}; "
            "for a convolution write Dirac(gain)"
        )
    if isinstance(law, Factor):
        check_factor(law, shape, axes)
    if isinstance(law, MirroredOrthogonal):
        _check_pairs(law, shape, axes)
    if isinstance(law, Hadamard) and (len(axes.in_axis) > 1 or len(axes.out_axis) > 1):
        raise ArgumentError(f"{law} has one axis in and one out; received {axes}")
    if isinstance(law, Dirac) and (len(axes.in_axis) > 1 or len(axes.out_axis) > 1 or not field):
        raise ArgumentError(
            f"{law} is a law of convolutions; shape {shape} has {field} kernel axes and {axes}; "
            "for a matrix write Identity(gain)"
        )
    if isinstance(law, (Dirac, Hadamard)):
        out = shape[axes.out_axis[0]]
        if (
            isinstance(law.groups, bool)
            or not isinstance(law.groups, int)
            or law.groups < 1
            or out % law.groups
        ):
            raise ArgumentError(
                f"{type(law).__name__}(groups={law.groups!r}): expected a positive divisor of the {out} outputs"
            )
    return axes


def _check_pairs(law: MirroredOrthogonal, shape: tuple[int, ...], axes: Axes) -> None:
    if len(axes.in_axis) > 1 or len(axes.out_axis) > 1:
        raise ArgumentError(f"{law} pairs the units of one axis in and one out; received {axes}")
    for name, axis in (("reads", axes.in_axis[0]), ("writes", axes.out_axis[0])):
        pairs, units = getattr(law, name), shape[axis]
        whole = isinstance(pairs, int) and not isinstance(pairs, bool)
        if not whole or not 0 <= 2 * pairs <= units:
            raise ArgumentError(
                f"MirroredOrthogonal({name}={pairs!r}): expected a number of pairs of the {units} "
                f"units of axis {axis}: 0 to {units // 2}"
            )


def is_structured(law: Law) -> bool:
    """Is the law one of a whole matrix, rather than of single elements?"""
    return type(law) in _LAWS


def structured_tiles(
    law: Law, box: Box, dims: Sequence[Dim]
) -> Iterator[tuple[tuple[slice, ...], Values]]:
    """The values of a structured law, tile by tile: memory is that of a tile, or of a matrix that is
    asked for whole.

    Args:
        law: one for which `is_structured` holds.
        box: the block of the tensor that has the law.
        dims: the positions asked for along each axis, none empty.

    Returns:
        (where in what is asked for, the values there), which cover it once.
    """
    lengths = [len(d) for d in dims]
    if isinstance(law, Orthogonal):
        cuts = orthogonal_tiles(law, box, dims)
    elif isinstance(law, Sparse):
        cuts = sparse_tiles(box, lengths)
    else:
        cuts = tiles(lengths, math.prod(lengths) if isinstance(law, Factor) else TILE)
    for tile in cuts:
        part = [d[s] for d, s in zip(dims, tile, strict=True)]
        yield tile, _LAWS[type(law)](law, box, part)


_LAWS: dict[type[Law], Callable[..., Values]] = {
    Orthogonal: orthogonal,
    DeltaOrthogonal: orthogonal,
    CenteredOrthogonal: orthogonal,
    MirroredOrthogonal: orthogonal,
    Sparse: sparse,
    Identity: identity,
    Dirac: dirac,
    Hadamard: hadamard,
    LogUniform: log_uniform,
    Factor: factor,
}
