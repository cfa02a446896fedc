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
from isometry.measuring.parameters import (
    EQUAL,
    FEW_ROWS,
    FIRST,
    GLANCE,
    SPECTRA,
    first_digest,
    how_it_reads,
)
from isometry.measuring.spectrum import SIDE, outlying
from isometry.measuring.statistics import SHOWN
from isometry.torch.leaves import OwnedTensor
from isometry.torch.statistics import moment
from isometry.types import ParameterMeasurement

__all__ = ["equal_units", "measure_parameters", "shown_values", "units"]


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
        stream=first_digest(_host(tensor.reshape(-1)[:FIRST]))
        if leaf.constant is None and nonfinite == 0
        else "",
        outlying=outlying(_few(units(tensor, axes)))
        if spectrum and axes is not None and nonfinite == 0 and alike == 0
        else None,
        reads=_reads(tensor, axes) if matrix and axes is not None else "each",
        delta=matrix and _is_delta(tensor),
    )


def _reads(tensor: Tensor, axes: tuple[int, ...]) -> str:
    """How the columns of a matrix hang together, seen on a few rows."""
    rows = units(tensor, axes)
    if rows.shape[1] < 4 or tensor.shape[-1] < 2:
        return "each"
    return how_it_reads(_host(rows[:: -(-rows.shape[0] // FEW_ROWS)]))


def _host(tensor: Tensor) -> Any:
    return tensor.to("cpu", torch.float64).numpy()


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


def _few(rows: Tensor) -> Any:
    """The rows and columns that its spectrum is taken from."""
    return _host(rows[:: -(-rows.shape[0] // SIDE), :: -(-rows.shape[1] // SIDE)])


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


def _digests(tensors: Sequence[Tensor]) -> list[str]:
    """A digest each: of a sample, and of the whole where two samples agree."""
    samples = [_digest(t.detach().reshape(-1)[:: max(1, t.numel() // 4096)], t) for t in tensors]
    count = Counter(samples)
    return [
        s if count[s] == 1 else _digest(t.detach().reshape(-1), t)
        for s, t in zip(samples, tensors, strict=True)
    ]


def _digest(values: Tensor, whole: Tensor) -> str:
    dtype = str(whole.dtype).removeprefix("torch.")
    head = f"{tuple(whole.shape)} {dtype}".encode()
    data: Any = np.ascontiguousarray(values.contiguous().cpu().view(torch.uint8).numpy())
    return hashlib.blake2b(head + data.tobytes(), digest_size=8).hexdigest()
