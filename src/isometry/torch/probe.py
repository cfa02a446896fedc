"""Look again after one, two and three steps of gradient descent, on a copy.

What starts to move is zero by design; two zeros in series never do. Output units that are equal
and stay equal are one unit; those that part were only alike at the start.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Sequence
from dataclasses import replace

import torch
from torch import Tensor, nn

from isometry.torch.leaves import public_name
from isometry.torch.parameters import equal_units, units
from isometry.types import NotChecked, ParameterMeasurement

__all__ = ["STEPS", "candidates", "probe"]

STEPS = 3
STEP_SIZE = 0.01  # length of a step over the length of all parameters
PARTED = 1e-3  # units have parted when they differ by this fraction of how far they moved

Gradients = Callable[[nn.Module, list[Tensor]], "list[Tensor | None]"]


def candidates(
    measured: Sequence[ParameterMeasurement], axes: dict[str, tuple[int, ...]], factors: set[str]
) -> set[str]:
    """Names of parameters that can only be judged by what they do next: zero factors, and weights
    with equal output units. (A zero bias needs no look: it is a sum's, and stops nothing.)"""
    return {
        m.name
        for m in measured
        if m.grad is not None
        and ((m.constant == 0.0 and m.name in factors) or (m.identical > 0 and m.name in axes))
    }


def probe(
    model: nn.Module,
    gradients: Gradients,
    measured: tuple[ParameterMeasurement, ...],
    axes: dict[str, tuple[int, ...]],
    factors: set[str],
    not_checked: list[NotChecked],
) -> tuple[ParameterMeasurement, ...]:
    """Take the steps, and note when each candidate moved and when its equal units parted.

    Args:
        gradients: (model, parameters) -> their gradients, on the batch that was measured.
        measured: what was measured so far.
        axes: of the output units of weights, by name.
        factors: names of parameters whose zero stops a signal.
    """
    chosen = candidates(measured, axes, factors)
    if not chosen:
        return measured
    try:
        twin = copy.deepcopy(model)
    except Exception as error:  # whatever a model's own copying raises
        not_checked.append(_why(f"the model could not be copied: {type(error).__name__}: {error}"))
        return measured
    parameters = {public_name(n): p for n, p in twin.named_parameters(remove_duplicate=False)}
    watched = {name: parameters[name] for name in chosen}
    before = {name: p.detach().clone() for name, p in watched.items()}
    pairs = {n: equal_units(units(before[n], axes[n])) for n in chosen if n in axes}
    moves: dict[str, int] = {}
    parts: dict[str, int] = {}
    trainable: list[Tensor] = [p for p in twin.parameters() if p.requires_grad]
    for step in range(1, STEPS + 1):
        try:
            trouble = _step(trainable, gradients(twin, trainable))
        except Exception as error:  # the model's own
            trouble = f"{type(error).__name__}: {error}"
        if trouble:
            not_checked.append(_why(f"step {step} of three: {trouble}"))
            if step == 1:
                return measured
            break
        for name, parameter in watched.items():
            if name not in moves and not torch.equal(parameter, before[name]):
                moves[name] = step
            if pairs.get(name) and name not in parts:
                moved = units(parameter.detach() - before[name], axes[name])
                if _parted(moved, pairs[name]):
                    parts[name] = step
        if all(n in moves and (n in parts or not pairs.get(n)) for n in watched):
            break
    return tuple(
        replace(m, probed=True, moves_at=moves.get(m.name), parts_at=parts.get(m.name))
        if m.name in chosen
        else m
        for m in measured
    )


def _step(parameters: list[Tensor], gradients: list[Tensor | None]) -> str:
    """One step of a length that depends on neither the loss's scale nor the model's size."""
    length = math.sqrt(sum(float(g.double().square().sum()) for g in gradients if g is not None))
    if not math.isfinite(length):
        return "the gradient is not finite"
    if length == 0.0:
        return "" if gradients else "there is no gradient"
    size = math.sqrt(sum(float(p.detach().double().square().sum()) for p in parameters))
    rate = STEP_SIZE * max(size, 1.0) / length
    with torch.no_grad():
        for parameter, gradient in zip(parameters, gradients, strict=True):
            if gradient is not None:
                parameter.sub_(gradient, alpha=rate)
    return ""


def _parted(moved: Tensor, pairs: list[tuple[int, int]]) -> bool:
    """Do most of the pairs differ, in proportion to how far they moved?"""
    first, second = (moved[[p[i] for p in pairs]].double() for i in (0, 1))
    apart = (first - second).norm(dim=1)
    size = torch.maximum(first.norm(dim=1), second.norm(dim=1))
    return float(((apart > PARTED * size) & (size > 0)).double().mean()) > 0.5


def _why(reason: str) -> NotChecked:
    return NotChecked("zeros and equal units, by what they do when trained", reason)
