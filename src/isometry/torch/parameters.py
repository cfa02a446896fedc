"""What each parameter holds: its values, its gradient, and which of its output units are alike."""

from __future__ import annotations

import hashlib
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from isometry.graph import Graph, Leaf
from isometry.roles import MATRICES, Usage
from isometry.torch.leaves import OwnedTensor
from isometry.torch.spectrum import outlying
from isometry.torch.statistics import SHOWN, moment
from isometry.types import ParameterMeasurement

__all__ = ["equal_units", "measure_parameters", "shown_values", "unit_axes", "units"]

GLANCE = 64  # elements of a unit that are looked at first: most units differ there
SPECTRA = 8  # matrices whose largest singular value is worked out
FIRST = 16  # values by which a stream of random numbers is known again
FEW_ROWS = 8  # of a matrix, by which it is told how its columns hang together
CENTRED = 1e-4  # of the sum of its absolute values is the sum of a row that is centred
EQUAL = 1e-4  # gradients whose difference is below this fraction of their size are alike


def measure_parameters(
    owned: Sequence[OwnedTensor],
    graph: Graph,
    axes: Mapping[str, tuple[int, ...]],
    gradients: Mapping[int, Tensor | None],
) -> tuple[ParameterMeasurement, ...]:
    """Measure every parameter; `axes` are those of `unit_axes`, `gradients` maps id(parameter) to
    its gradient."""
    tensors = [e.tensor for e in owned if e.kind == "parameter"]
    leaves = [leaf for leaf in graph.leaves if leaf.kind == "parameter"]
    digests = _digests(tensors)
    matrices = [leaf.name for leaf in leaves if leaf.name in axes and leaf.constant is None]
    looked_into = set(matrices[:: max(1, -(-len(matrices) // SPECTRA))])
    found = []
    for leaf, tensor, digest in zip(leaves, tensors, digests, strict=True):
        gradient = gradients.get(id(tensor))
        spectrum = leaf.name in looked_into
        found.append(
            _measure(leaf, tensor.detach(), gradient, axes.get(leaf.name), digest, spectrum)
        )
    return tuple(found)


def _measure(
    leaf: Leaf,
    tensor: Tensor,
    gradient: Tensor | None,
    axes: tuple[int, ...] | None,
    digest: str,
    spectrum: bool,
) -> ParameterMeasurement:
    if tensor.is_floating_point() and tensor.element_size() == 1:  # float8 knows no arithmetic
        tensor = tensor.to(torch.float32)
    q, nonfinite = moment(tensor)
    finite = tensor if nonfinite == 0 else tensor[torch.isfinite(tensor)]
    alike = grad_alike = 0.0
    if axes is not None and nonfinite == 0:
        pairs = equal_units(units(tensor, axes))
        alike = len({i for pair in pairs for i in pair}) / max(1, _count(tensor, axes))
        if pairs and gradient is not None:
            grad_alike = _alike(units(gradient, axes), pairs) * alike
    matrix = axes is not None and nonfinite == 0 and leaf.constant is None
    return ParameterMeasurement(
        name=leaf.name,
        shape=leaf.shape,
        mean=float(finite.double().mean()) if finite.numel() else 0.0,
        q=q,
        nonfinite=nonfinite,
        constant=leaf.constant,
        identical=alike,
        digest=digest,
        grad=None if gradient is None else moment(gradient)[0],
        grad_identical=grad_alike,
        peak=float(finite.abs().amax()) if finite.numel() else 0.0,
        dtype=leaf.dtype,
        stream=_stream(tensor) if leaf.constant is None and nonfinite == 0 else "",
        outlying=outlying(units(tensor, axes))
        if spectrum and axes is not None and nonfinite == 0 and alike == 0
        else None,
        reads=_reads(tensor, axes) if matrix and axes is not None else "each",
        delta=matrix and _is_delta(tensor),
    )


def _reads(tensor: Tensor, axes: tuple[int, ...]) -> str:
    """How the columns of a matrix hang together, seen on a few rows: "pairs" where the second half
    is the first, negated; "centred" where a row sums to zero; "each" where they do not."""
    rows = units(tensor, axes)
    count, width = rows.shape
    if width < 4 or tensor.shape[-1] < 2:
        return "each"
    rows = rows[:: -(-count // FEW_ROWS)].double()
    half = width // 2
    size = rows.abs().sum(dim=1)
    if bool((rows[:, :half] + rows[:, width - half :] == 0).all()) and bool(size.any()):
        return "pairs"
    return "centred" if bool((rows.sum(dim=1).abs() <= CENTRED * size).all()) else "each"


def _is_delta(tensor: Tensor) -> bool:
    """Is a kernel zero but for its centre?"""
    kernel = tensor.shape[2:]
    if tensor.dim() < 3 or math.prod(kernel) < 2:
        return False
    few = tensor[:: -(-tensor.shape[0] // FEW_ROWS)].flatten(2)
    centre = 0
    for size in kernel:
        centre = centre * size + size // 2
    rest = torch.cat((few[..., :centre], few[..., centre + 1 :]), dim=-1)
    return not bool(rest.any()) and bool(few.any())


def shown_values(owned: Sequence[OwnedTensor]) -> dict[int | str, Any]:
    """name -> a few values of each parameter that is more than a number."""
    return {
        e.names[0]: e.tensor.detach()
        .reshape(-1)[:: max(1, e.tensor.numel() // SHOWN)]
        .to("cpu", torch.float64)
        .numpy()
        for e in owned
        if e.kind == "parameter" and e.tensor.numel() > 1
    }


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


def units(tensor: Tensor, axes: tuple[int, ...]) -> Tensor:
    """The tensor as (output units, everything else)."""
    return tensor.movedim(axes, tuple(range(len(axes)))).reshape(_count(tensor, axes), -1)


def _count(tensor: Tensor, axes: tuple[int, ...]) -> int:
    return math.prod(tensor.shape[a] for a in axes)


def equal_units(rows: Tensor) -> list[tuple[int, int]]:
    """(unit, an earlier unit that equals it bit for bit), for every unit that has one."""
    if rows.numel() == 0:
        return []
    glance = rows[:, :: -(-rows.shape[1] // GLANCE)]
    first: dict[bytes, int] = {}
    pairs = []
    for i, row in enumerate(_bytes(glance)):
        twin = first.setdefault(row, i)
        if twin != i and torch.equal(rows[i], rows[twin]):
            pairs.append((i, twin))
    return pairs


def _bytes(rows: Tensor) -> list[bytes]:
    array = rows.contiguous().cpu().view(torch.uint8).numpy()
    width = array.shape[1]
    data = array.tobytes()
    return [data[i : i + width] for i in range(0, len(data), width)]


def _alike(rows: Tensor, pairs: list[tuple[int, int]]) -> float:
    """The fraction of pairs whose rows are the same, up to rounding."""
    first, second = (rows[[p[i] for p in pairs]].double() for i in (0, 1))
    apart = (first - second).norm(dim=1)
    size = torch.maximum(first.norm(dim=1), second.norm(dim=1))
    return float((apart <= EQUAL * size).double().mean())


def _stream(tensor: Tensor) -> str:
    """The first values but for their scale, as a digest; "" where there are too few, or few that
    differ: what looks computed and not drawn."""
    first = tensor.reshape(-1)[:FIRST].to("cpu", torch.float64).numpy()
    peak = float(np.abs(first).max(initial=0.0))
    if len(first) < FIRST or peak == 0.0:
        return ""
    shape = np.round(first / peak, 2) + 0.0  # no -0.0
    if len(np.unique(shape)) < FIRST // 2:
        return ""
    return hashlib.blake2b(shape.tobytes(), digest_size=8).hexdigest()


def _digests(tensors: Sequence[Tensor]) -> list[str]:
    """A digest each: of a sample, and of the whole where two samples agree."""
    samples = [_digest(t.detach().reshape(-1)[:: max(1, t.numel() // 4096)], t) for t in tensors]
    count = Counter(samples)
    return [
        s if count[s] == 1 else _digest(t.detach().reshape(-1), t)
        for s, t in zip(samples, tensors, strict=True)
    ]


def _digest(values: Tensor, whole: Tensor) -> str:
    head = f"{tuple(whole.shape)} {whole.dtype}".encode()
    data: Any = np.ascontiguousarray(values.contiguous().cpu().view(torch.uint8).numpy())
    return hashlib.blake2b(head + data.tobytes(), digest_size=8).hexdigest()
