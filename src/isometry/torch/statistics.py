"""Statistics of one tensor on one batch, on a sample of its elements, never in its way.

Tensors above LIMIT elements are thinned by a stride that has no factor in common with the shape,
so that every row, column and channel is met and two runs look at the same elements. All sums are
in float64: a signal of 1e-20 or 1e+30 is still a number.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from isometry.measuring import statistics as on_host
from isometry.measuring.statistics import (
    FEW,
    Samples,
    Statistics,
    cuts_at_zero,
    strides_of,
    summary,
)

__all__ = [
    "dead_fraction",
    "moment",
    "one_hot_share",
    "pair_moments",
    "rows_of",
    "samples_of",
    "statistics",
]

Array = NDArray[np.float64]


def samples_of(tensor: Tensor | None) -> Samples:
    """The samples of a batch whose first input is this tensor."""
    return (
        Samples(1)
        if tensor is None
        else Samples.of(tensor.shape, ids=not tensor.is_floating_point())
    )


def rows_of(tensor: Tensor, samples: Samples) -> Tensor | None:
    """The tensor as (samples, everything else), a view where it can be; None where no axis of it
    counts samples."""
    axis, n = samples.axis(tensor.shape), samples.count
    if axis is None:
        return None
    tensor = tensor.movedim(axis, 0)
    if len(tensor) > n:
        tensor = tensor.view(n, len(tensor) // n, *tensor.shape[1:])
    # The order of the other axes is free: take the one they lie in memory in.
    strides = tensor.stride()
    order = sorted(range(1, tensor.dim()), key=lambda d: -strides[d])
    return tensor.permute(0, *order).flatten(1) if order else tensor.unsqueeze(1)


def statistics(tensor: Tensor, samples: Samples, fn: str | None) -> Statistics:
    """Measure an output; `fn` is the elementwise function that made it, where one did."""
    tensor = tensor.detach()
    rows = rows_of(tensor, samples)
    result = summary(
        _thinned(tensor.reshape(1, -1) if rows is None else rows), rows is not None, fn
    )
    result.samples = 1 if rows is None else samples.count
    if rows is not None and result.nonfinite == 0 and samples.batched:
        result.tokens = token_share(tensor, samples.count)
    return result


def token_share(tensor: Tensor, count: int) -> float | None:
    """Of (samples, tokens, features), or those flattened: the part of a signal that differs between
    the tokens of one sample, over its rms. sqrt(E[(x - mean_t x)²] / E[x²]), on a few of them."""
    if tensor.dim() == 2 and tensor.shape[0] % count == 0:
        tensor = tensor.unflatten(0, (count, -1))
    if tensor.dim() != 3 or tensor.shape[1] < 4 or tensor.shape[2] < 4:
        return None
    n, length, features = tensor.shape
    few = tensor[:: -(-n // 4), :: -(-length // 32), :: -(-features // 64)]
    return on_host.token_share(few.to("cpu", torch.float64).numpy(), count)


def pair_moments(tensor: Tensor) -> tuple[float, float, float]:
    """E[x y]/E[x²] of one place in two samples, of two positions in one, and of both: as
    `isometry.measuring` takes them, of the few that it looks at."""
    if tensor.dim() < 2 or not tensor.is_floating_point() or tensor.numel() == 0:
        return 0.0, 0.0, 0.0
    x = tensor.detach().movedim(1, -1) if tensor.dim() > 3 else tensor.detach()
    x = x.reshape(x.shape[0], -1, x.shape[-1])
    down, along, across = (-(-n // most) for n, most in zip(x.shape, FEW, strict=True))
    return on_host.pair_moments(x[::down, ::along, ::across].to("cpu", torch.float64).numpy())


def _thinned(rows: Tensor) -> Array:
    """At most LIMIT elements, the same features of every row, as float64 in NumPy."""
    n, features = rows.shape
    down, across = strides_of(n, features)
    rows = rows[::down, ::across]
    return np.asarray(rows.to("cpu", torch.float64).numpy(), dtype=np.float64)


def dead_fraction(tensor: Tensor, axis: int, samples: Samples, node_attrs: Any) -> float | None:
    """The fraction of units that are zero for every sample and position, of a function that cuts
    at zero; None for any other, and for fewer than 32 samples."""
    if tensor.dim() < 2 or not cuts_at_zero(node_attrs, samples):
        return None
    others = [d for d in range(tensor.dim()) if d != axis % tensor.dim()]
    return float((tensor.detach().amax(dim=others) == 0).float().mean())


def one_hot_share(tensor: Tensor, axis: int) -> float | None:
    """The share of a softmax's distributions that give nearly all to one; None over few choices."""
    if tensor.dim() == 0 or tensor.shape[axis] < 4:
        return None
    few = tensor.detach()[:: -(-tensor.shape[0] // 4)] if axis % tensor.dim() else tensor.detach()
    return float((few.amax(axis) > 0.97).double().mean())


def moment(tensor: Tensor) -> tuple[float, float]:
    """Mean square of the finite elements, and the fraction that is not finite."""
    tensor = tensor.detach()
    if tensor.is_sparse:
        tensor = tensor.to_dense()
    if tensor.numel() == 0:
        return 0.0, 0.0
    if tensor.is_floating_point() and tensor.element_size() == 1:  # float8 knows no arithmetic
        tensor = tensor.to(torch.float32)
    wide = torch.promote_types(tensor.dtype, torch.float32)
    length = float(torch.linalg.vector_norm(tensor, dtype=wide))
    if 1e-15 < length < 1e15:
        return length * length / tensor.numel(), 0.0
    # Zero, or out of what a float32 can square: look again, with care.
    peak = float(tensor.abs().amax())
    if peak == 0.0:
        return 0.0, 0.0
    x = tensor.to("cpu", torch.float64)
    finite = torch.isfinite(x)
    x = torch.where(finite, x, 0.0)
    count = int(finite.sum())
    return float(x.square().sum()) / max(1, count), 1.0 - count / x.numel()
