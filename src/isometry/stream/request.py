"""What was asked of the stream, checked before anything is drawn or written."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from numpy.typing import DTypeLike

from isometry.errors import ArgumentError
from isometry.stream.draws import draw_of
from isometry.stream.index import Selection, select, shape_of
from isometry.stream.keys import check_name, check_seed
from isometry.stream.quantile import UNIT
from isometry.stream.rounding import DTYPES, FLOAT32_MAX, dtype_name
from isometry.stream.structured import check_structured, is_structured
from isometry.types import Axes, Block, Constant, Keep, Law

__all__ = ["Request", "check_law", "validate"]

LARGEST = 6.2303  # an upper bound of |z|


@dataclass(frozen=True, slots=True)
class Request:
    """Everything `sample` and `write` were asked for, validated."""

    seed: int
    name: str
    shape: tuple[int, ...]
    selection: Selection
    dtype: str
    axes: Axes | None
    axis: int  # the axis that the parts cut; 0 where there is one part
    parts: tuple[tuple[int, int, Law], ...]  # (start, stop, law) along it


def validate(
    law: Law,
    shape: Sequence[int],
    seed: int,
    name: str,
    dtype: DTypeLike,
    index: Any,
    axes: Axes | None,
    blocks: Sequence[Block],
) -> Request:
    """The request these arguments make. Raises ArgumentError on the first that is not valid."""
    sizes = shape_of(shape)
    number = check_seed(seed)
    check_name("name", name)
    kind = dtype_name(dtype)
    selection = select(sizes, index)
    if axes is not None and not isinstance(axes, Axes):
        raise ArgumentError(f"axes={axes!r}: expected isometry.types.Axes or None")
    if not isinstance(blocks, (tuple, list)):
        raise ArgumentError(f"blocks={blocks!r}: expected a tuple of isometry.types.Block")
    axis, parts = _parts(law, sizes, tuple(blocks))
    for start, stop, part in parts:
        check_law(part, kind)
        if is_structured(part):
            box = tuple(stop - start if a == axis else n for a, n in enumerate(sizes))
            check_structured(part, box, axes)
    return Request(number, name, sizes, selection, kind, axes, axis, parts)


def _parts(
    law: Law, shape: tuple[int, ...], blocks: tuple[Block, ...]
) -> tuple[int, tuple[tuple[int, int, Law], ...]]:
    """The blocks in order, the law itself in the gaps between them."""
    if not blocks:
        return 0, ((0, shape[0] if shape else 1, law),)
    for block in blocks:
        if not isinstance(block, Block) or not all(
            isinstance(number, int) for number in (block.axis, block.start, block.stop)
        ):
            raise ArgumentError(
                f"blocks has {block!r}: expected isometry.types.Block with an integer axis, start "
                "and stop"
            )
    axis = blocks[0].axis
    if any(b.axis != axis for b in blocks) or not 0 <= axis < len(shape):
        raise ArgumentError(
            f"blocks on axes {sorted({b.axis for b in blocks})} of shape {shape}: expected one "
            f"axis in [0, {len(shape)})"
        )
    parts: list[tuple[int, int, Law]] = []
    place = 0
    for block in sorted(blocks, key=lambda b: b.start):
        if not place <= block.start <= block.stop <= shape[axis]:
            raise ArgumentError(
                f"block {block.name!r} is [{block.start}, {block.stop}) on axis {axis}: expected "
                f"ranges of [0, {shape[axis]}) that do not overlap"
            )
        if block.start > place:
            parts.append((place, block.start, law))
        parts.append((block.start, block.stop, block.law))
        place = block.stop
    if place < shape[axis]:
        parts.append((place, shape[axis], law))
    return axis, tuple(parts)


def check_law(law: Law, dtype: str) -> None:
    """That the stream can draw the law and the dtype can hold every value of it."""
    if isinstance(law, Keep) or not isinstance(law, Law):
        raise ArgumentError(
            f"law {law!r} gives no values to draw; expected a law such as Normal(std=0.02) or "
            "Constant(0.0)"
        )
    reach, limit = _reach(law), DTYPES[dtype].limit
    if reach > limit:
        raise ArgumentError(
            f"{law} reaches {reach:.4g}, and {dtype} is drawn up to {limit:.4g}; write a smaller law"
            + (', or dtype="float32"' if reach <= FLOAT32_MAX else "")
        )


def _reach(law: Law) -> float:
    """The largest magnitude a law can give."""
    how = draw_of(law)
    if how is not None:
        largest = 2.0**31 if how.kind == "uniform" else LARGEST / UNIT
        return abs(how.mean) + largest * float(how.scale)
    if isinstance(law, Constant):
        return abs(law.value)
    return abs(float(getattr(law, "gain", 1.0)))
