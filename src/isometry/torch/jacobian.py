"""The singular values of a model from end to end: of d output / d input, at one sample.

Row by row where the output is small, column by column where the input is; where neither is, as
seen from a sample of random orthonormal directions of the smaller side, which is what an isometry
looks the same from.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from isometry.measuring.statistics import Samples
from isometry.torch.inputs import Call
from isometry.torch.statistics import rows_of, samples_of
from isometry.torch.trace import float_outputs
from isometry.types import NotChecked, Spectrum

__all__ = ["spectrum"]

EXACT = 256  # rows or columns that are worked out one by one
DIRECTIONS = 64  # a sample of them, where there are more
AT_ONCE = 32  # as many backward passes hold memory at a time
SEED = 0x15_0DE7
WHAT = "the singular values of the Jacobian"

Run = Callable[[Call], Any]


def spectrum(run: Run, call: Call, not_checked: list[NotChecked]) -> Spectrum | None:
    """The singular values of the first floating-point output by the first such input.

        J = d y / d x at the first sample;  J = U diag(s) V'

    Args:
        run: calls the model, the same way every time.
        call: what to call it with.
        not_checked: told why, where there is no answer.

    Returns:
        s, the largest first; None where the model has no derivative by its inputs.

    Example:
        >>> linear = torch.nn.Linear(3, 2)
        >>> found = spectrum(lambda c: linear(*c.args), Call((torch.randn(4, 3),)), [])
        >>> found.inputs, found.outputs, len(found.values), found.exact
        (3, 2, 2, True)

    Source: Saxe et al. 2014; Pennington, Schoenholz & Ganguli 2017.
    """
    try:
        x, y, samples = _differentiable(run, call)
        rows, columns = _sample(y, samples).numel(), _sample(x, samples).numel()
        few = min(rows, columns) <= EXACT
        if rows <= columns or rows <= EXACT:
            found = _seen_from_outputs(x, y, samples, _directions(rows, y, few))
        else:
            found = _seen_from_inputs(x, y, samples, _directions(columns, x, few))
    except _NoDerivative as error:
        not_checked.append(NotChecked(WHAT, str(error)))
        return None
    except Exception as error:  # an operation without a derivative, or the model's own
        first = (str(error).strip().splitlines() or [""])[0]
        why = f"it could not be differentiated: {type(error).__name__}: {first}"
        not_checked.append(NotChecked(WHAT, why))
        return None
    if not bool(torch.isfinite(found).all()):
        not_checked.append(NotChecked(WHAT, "it holds infinities or NaN"))
        return None
    values = torch.linalg.svdvals(found.to("cpu", torch.float64))
    return Spectrum(tuple(values.tolist()), columns, rows, exact=few)


class _NoDerivative(Exception):
    """There is nothing to differentiate, and the message says why."""


def _differentiable(run: Run, call: Call) -> tuple[Tensor, Tensor, Samples]:
    """An input and the output that depends on it, of one sample where samples go their own ways."""
    tensors: list[Tensor] = []
    call.map(lambda t: tensors.append(t) or t)  # type: ignore[func-returns-value]
    place = next((i for i, t in enumerate(tensors) if t.is_floating_point()), None)
    if place is None:
        raise _NoDerivative("the inputs are integers: there is no derivative by them")
    samples = samples_of(tensors[0])
    x, y = _linked(run, call, place)
    if samples.count > 1 and samples.batched:
        # One sample alone is cheaper by the size of the batch, unless it needs the others (batch
        # normalisation) or its shape (a mask that is no batch).
        try:
            alone = call.map(lambda t: t[:1] if t.dim() and t.shape[0] == samples.count else t)
            x1, y1 = _linked(run, alone, place)
            same = torch.allclose(y1.flatten(), _sample(y, samples), rtol=1e-3, atol=1e-5)
        except Exception:  # whatever a model makes of a batch of one
            same = False
        if same:
            return x1, y1, Samples(1)
    return x, y, samples


def _linked(run: Run, call: Call, place: int) -> tuple[Tensor, Tensor]:
    """Run on a copy of the inputs, whose tensor number `place` can be differentiated by."""
    count = 0
    leaves: list[Tensor] = []

    def copied(t: Tensor) -> Tensor:
        nonlocal count
        here, count = count == place, count + 1
        t = t.detach().clone()
        if not here:
            return t
        leaves.append(t.requires_grad_())
        return t.clone()  # a model may write into its input, and must not into a leaf

    output = run(call.map(copied))
    floats = float_outputs(output)
    if not floats:
        raise _NoDerivative("the model returns no floating-point tensor")
    y = next(iter(floats.values()))
    if not y.requires_grad:
        raise _NoDerivative("the output does not depend on the input through derivatives")
    return leaves[0], y


def _sample(tensor: Tensor, samples: Samples) -> Tensor:
    """The first sample, flat; everything, where no axis counts samples."""
    rows = rows_of(tensor, samples)
    return tensor.reshape(-1) if rows is None else rows[0]


def _directions(size: int, like: Tensor, every: bool) -> Tensor:
    """Orthonormal directions as rows: all axes, or a random few."""
    if every:
        return torch.eye(size, dtype=like.dtype, device=like.device)
    generator = torch.Generator().manual_seed(SEED)
    drawn = torch.randn(size, min(DIRECTIONS, size), generator=generator, dtype=torch.float64)
    orthonormal: Tensor = torch.linalg.qr(drawn).Q.T
    return orthonormal.to(like.device, like.dtype)


def _seen_from_outputs(x: Tensor, y: Tensor, samples: Samples, directions: Tensor) -> Tensor:
    """directions' J, a row a direction."""
    flat = _sample(y, samples)
    return _each(lambda u, batched: _vjp(flat, x, u, samples, batched=batched), directions)


def _seen_from_inputs(x: Tensor, y: Tensor, samples: Samples, directions: Tensor) -> Tensor:
    """J directions, a row a direction: the derivative of g = J'v, which is linear in v, by v."""
    flat = _sample(y, samples)
    v = torch.zeros_like(flat, requires_grad=True)
    (g,) = torch.autograd.grad(flat, x, v, create_graph=True)
    at_sample = _sample(g, samples)

    def along(u: Tensor, batched: bool) -> Tensor:
        (found,) = torch.autograd.grad(at_sample, v, u, retain_graph=True, is_grads_batched=batched)
        return found

    return _each(along, directions)


def _vjp(y: Tensor, x: Tensor, u: Tensor, samples: Samples, *, batched: bool) -> Tensor:
    g: Tensor = torch.autograd.grad(y, x, u, retain_graph=True, is_grads_batched=batched)[0]
    return torch.stack([_sample(each, samples) for each in g]) if batched else _sample(g, samples)


def _each(along: Callable[[Tensor, bool], Tensor], directions: Tensor) -> Tensor:
    """Many directions at once where every operation can, else one after the other."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # "there is a performance drop"
            return torch.cat([along(some, True) for some in directions.split(AT_ONCE)])
    except Exception:  # an operation, or the model's own, that knows no batch of gradients
        return torch.stack([along(u, False) for u in directions])
