"""What each parameter holds: its values, its gradient, and which of its output units are alike."""

from __future__ import annotations

import hashlib
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from isometry.graph import Graph, Leaf
from isometry.measuring.spectrum import outlying
from isometry.measuring.statistics import SHOWN, moment
from isometry.roles import MATRICES, Usage
from isometry.types import ParameterMeasurement

__all__ = [
    "equal_units",
    "first_digest",
    "how_it_reads",
    "measure_parameters",
    "shown_values",
    "unit_axes",
    "units",
]

Array = NDArray[Any]

GLANCE = 64  # elements of a unit that are looked at first: most units differ there
SPECTRA = 8  # matrices whose largest singular value is worked out
FIRST = 16  # values by which a stream of random numbers is known again
FEW_ROWS = 8  # of a matrix, by which it is told how its columns hang together
CENTRED = 1e-4  # of the sum of its absolute values is the sum of a row that is centred
EQUAL = 1e-4  # gradients whose difference is below this fraction of their size are alike


def measure_parameters(
    graph: Graph,
    values: Mapping[str, Array],
    axes: Mapping[str, tuple[int, ...]],
    gradients: Mapping[str, Array],
) -> tuple[ParameterMeasurement, ...]:
    """Measure every parameter.

    Args:
        graph: whose leaves they are.
        values, gradients: name -> array in PyTorch's layout.
        axes: those of `unit_axes`.
    """
    leaves = [leaf for leaf in graph.leaves if leaf.kind == "parameter"]
    digests = _digests([values[leaf.name] for leaf in leaves])
    matrices = [leaf.name for leaf in leaves if leaf.name in axes and leaf.constant is None]
    looked_into = set(matrices[:: max(1, -(-len(matrices) // SPECTRA))])
    return tuple(
        _measure(
            leaf, values[leaf.name], gradients.get(leaf.name), axes.get(leaf.name), digest,
            leaf.name in looked_into,
        )
        for leaf, digest in zip(leaves, digests, strict=True)
    )  # fmt: skip


def _measure(
    leaf: Leaf,
    array: Array,
    gradient: Array | None,
    axes: tuple[int, ...] | None,
    digest: str,
    spectrum: bool,
) -> ParameterMeasurement:
    q, nonfinite = moment(array)
    finite = np.asarray(array, np.float64) if nonfinite == 0 else array[np.isfinite(array)]
    alike = grad_alike = 0.0
    if axes is not None and nonfinite == 0:
        pairs = equal_units(units(array, axes))
        alike = len({i for pair in pairs for i in pair}) / max(1, _count(array, axes))
        if pairs and gradient is not None:
            grad_alike = _alike(units(gradient, axes), pairs) * alike
    drawn = nonfinite == 0 and leaf.constant is None
    matrix = axes is not None and drawn
    return ParameterMeasurement(
        name=leaf.name,
        shape=leaf.shape,
        mean=float(np.asarray(finite, np.float64).mean()) if finite.size else 0.0,
        q=q,
        nonfinite=nonfinite,
        constant=leaf.constant,
        identical=alike,
        digest=digest,
        grad=None if gradient is None else moment(gradient)[0],
        grad_identical=grad_alike,
        peak=float(np.abs(finite).max()) if finite.size else 0.0,
        dtype=leaf.dtype,
        stream=first_digest(np.asarray(array.flat[:FIRST], np.float64)) if drawn else "",
        outlying=outlying(units(array, axes))
        if spectrum and axes is not None and nonfinite == 0 and alike == 0
        else None,
        reads=_reads(array, axes) if matrix and axes is not None else "each",
        delta=matrix and _is_delta(array),
    )


def _reads(array: Array, axes: tuple[int, ...]) -> str:
    rows = units(array, axes)
    if rows.shape[1] < 4 or array.shape[-1] < 2:
        return "each"
    return how_it_reads(np.asarray(rows[:: -(-rows.shape[0] // FEW_ROWS)], np.float64))


def how_it_reads(rows: NDArray[np.float64]) -> str:
    """How the columns of a few rows hang together: "pairs" where the second half is the first,
    negated; "centred" where a row sums to zero; "each" where they do not."""
    width = rows.shape[1]
    half = width // 2
    size = np.abs(rows).sum(axis=1)
    if (rows[:, :half] + rows[:, width - half :] == 0).all() and size.any():
        return "pairs"
    return "centred" if (np.abs(rows.sum(axis=1)) <= CENTRED * size).all() else "each"


def _is_delta(array: Array) -> bool:
    """Is a kernel zero but for its centre?"""
    kernel = array.shape[2:]
    if array.ndim < 3 or math.prod(kernel) < 2:
        return False
    few = array[:: -(-array.shape[0] // FEW_ROWS)]
    few = few.reshape(*few.shape[:2], -1)
    centre = 0
    for size in kernel:
        centre = centre * size + size // 2
    rest = np.delete(few, centre, axis=-1)
    return not rest.any() and bool(few.any())


def shown_values(graph: Graph, values: Mapping[str, Array]) -> dict[int | str, Any]:
    """name -> a few values of each parameter that is more than a number."""
    found: dict[int | str, Any] = {}
    for leaf in graph.leaves:
        array = values[leaf.name]
        if leaf.kind == "parameter" and array.size > 1:
            step = max(1, array.size // SHOWN)
            found[leaf.name] = np.asarray(array.flat[::step], np.float64)
    return found


def unit_axes(usages: Sequence[Usage]) -> dict[str, tuple[int, ...]]:
    """name -> the axes of a parameter along which its output units lie, for trainable matrices."""
    found = {}
    for usage in usages:
        leaf, axes = usage.leaf, usage.axes
        if usage.role not in MATRICES or axes is None or not leaf.trainable or len(leaf.shape) < 2:
            continue
        chosen = (*axes.batch_axis, *axes.out_axis)
        if chosen and math.prod(leaf.shape[a] for a in chosen) > 1:
            found[leaf.name] = chosen
    return found


def units(array: Array, axes: tuple[int, ...]) -> Array:
    """The array as (output units, everything else)."""
    moved = np.moveaxis(array, axes, tuple(range(len(axes))))
    return moved.reshape(_count(array, axes), -1)


def _count(array: Array, axes: tuple[int, ...]) -> int:
    return math.prod(array.shape[a] for a in axes)


def equal_units(rows: Array) -> list[tuple[int, int]]:
    """(unit, an earlier unit that equals it bit for bit), for every unit that has one."""
    if rows.size == 0:
        return []
    glance = np.ascontiguousarray(rows[:, :: -(-rows.shape[1] // GLANCE)])
    first: dict[bytes, int] = {}
    pairs = []
    for i, row in enumerate(glance):
        twin = first.setdefault(row.tobytes(), i)
        if twin != i and (rows[i] == rows[twin]).all():
            pairs.append((i, twin))
    return pairs


def _alike(rows: Array, pairs: list[tuple[int, int]]) -> float:
    """The fraction of pairs whose rows are the same, up to rounding."""
    first, second = (np.asarray(rows[[p[i] for p in pairs]], np.float64) for i in (0, 1))
    with np.errstate(invalid="ignore"):  # a gradient that is not finite is like no other
        apart = np.linalg.norm(first - second, axis=1)
    size = np.maximum(np.linalg.norm(first, axis=1), np.linalg.norm(second, axis=1))
    return float((apart <= EQUAL * size).mean())


def first_digest(first: NDArray[np.float64]) -> str:
    """The first values of a tensor but for their scale; "" where there are too few, or few that
    differ: what looks computed and not drawn."""
    peak = float(np.abs(first).max(initial=0.0))
    if len(first) < FIRST or peak == 0.0:
        return ""
    shape = np.round(first / peak, 2) + 0.0  # no -0.0
    if len(np.unique(shape)) < FIRST // 2:
        return ""
    return hashlib.blake2b(shape.tobytes(), digest_size=8).hexdigest()


def _digests(arrays: Sequence[Array]) -> list[str]:
    """A digest each: of a sample, and of the whole where two samples agree."""
    samples = [_digest(a.flat[:: max(1, a.size // 4096)], a) for a in arrays]
    count = Counter(samples)
    return [
        s if count[s] == 1 else _digest(a.reshape(-1), a)
        for s, a in zip(samples, arrays, strict=True)
    ]


def _digest(values: Array, whole: Array) -> str:
    head = f"{tuple(whole.shape)} {whole.dtype}".encode()
    return hashlib.blake2b(head + np.ascontiguousarray(values).tobytes(), digest_size=8).hexdigest()
