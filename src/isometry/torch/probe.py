"""Look again after one, two and three steps of gradient descent, on a copy.

What starts to move is zero by design; two zeros in series never do. Output units that are equal
and stay equal are one unit; those that part were only alike at the start. A movement so small
that it may be rounding is looked at again in float64.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor, nn

from isometry.measuring.probe import (
    FAINT,
    NOTHING,
    PARTED,
    STEP_SIZE,
    STEPS,
    chosen_to_probe,
)
from isometry.torch.leaves import public_name
from isometry.torch.parameters import equal_units, units
from isometry.types import NotChecked, ParameterMeasurement

__all__ = ["STEPS", "probe"]

Axes = Mapping[str, tuple[int, ...]]
Gradients = Callable[[nn.Module, Sequence[Tensor]], "list[Tensor | None]"]


@dataclass(slots=True)
class _Course:
    """What the candidates did: the step at which each moved and its equal units parted."""

    moves: dict[str, int] = field(default_factory=dict)
    parts: dict[str, int] = field(default_factory=dict)
    faint: bool = False
    steps: int = 0
    trouble: str = ""


def probe(
    model: nn.Module,
    gradients: Gradients,
    measured: tuple[ParameterMeasurement, ...],
    axes: Axes,
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
    chosen = chosen_to_probe(measured, axes, factors)
    if not chosen:
        return measured
    course = _follow(model, gradients, chosen, axes, double=False)
    if course.faint:
        exact = _follow(model, gradients, chosen, axes, double=True)
        course = exact if exact.steps >= course.steps else course
    if course.trouble:
        reason = f"step {course.steps + 1} of {STEPS}: {course.trouble}"
        not_checked.append(NotChecked("zeros and equal units, by what they do next", reason))
    if course.steps == 0:
        return measured
    return tuple(
        replace(
            m, probed=True, moves_at=course.moves.get(m.name), parts_at=course.parts.get(m.name)
        )
        if m.name in chosen
        else m
        for m in measured
    )


def _follow(
    model: nn.Module, gradients: Gradients, chosen: set[str], axes: Axes, double: bool
) -> _Course:
    """Up to three steps of a copy."""
    course = _Course()
    try:
        twin = copy.deepcopy(model)
        if double:
            twin = twin.double()
    except Exception as error:  # whatever a model's own copying raises
        course.trouble = f"the model could not be copied: {type(error).__name__}: {error}"
        return course
    named = {public_name(n): p for n, p in twin.named_parameters(remove_duplicate=False)}
    watched = {name: named[name] for name in chosen}
    before = {name: p.detach().clone() for name, p in watched.items()}
    pairs = {n: equal_units(units(before[n], axes[n])) for n in chosen if n in axes}
    trainable = [p for p in twin.parameters() if p.requires_grad]
    travelled = 0.0
    for step in range(1, STEPS + 1):
        try:
            travelled += _step(trainable, gradients(twin, trainable))
        except Exception as error:  # the model's own, or no gradient
            course.trouble = str(error) or type(error).__name__
            break
        course.steps = step
        for name, parameter in watched.items():
            if name in course.moves and (name in course.parts or not pairs.get(name)):
                continue
            moved = parameter.detach() - before[name]
            distance = float(moved.double().square().mean().sqrt())
            if distance <= (NOTHING * travelled if double else 0.0):
                continue
            course.faint |= not double and distance < FAINT * travelled
            course.moves.setdefault(name, step)
            if pairs.get(name) and _parted(units(moved, axes[name]), pairs[name]):
                course.parts.setdefault(name, step)
        if all(n in course.moves and (n in course.parts or not pairs.get(n)) for n in chosen):
            break
    return course


def _step(parameters: Sequence[Tensor], gradients: Sequence[Tensor | None]) -> float:
    """One step, of a length that depends on neither the loss's scale nor the model's size;
    returns the rms movement."""
    length = math.sqrt(sum(float(g.double().square().sum()) for g in gradients if g is not None))
    if not math.isfinite(length):
        raise ArithmeticError("the gradient is not finite")
    if length == 0.0:
        return 0.0
    size = math.sqrt(sum(float(p.detach().double().square().sum()) for p in parameters))
    rate = STEP_SIZE * max(size, 1.0) / length
    with torch.no_grad():
        for parameter, gradient in zip(parameters, gradients, strict=True):
            if gradient is not None:
                parameter.sub_(gradient, alpha=rate)
    return rate * length / math.sqrt(sum(p.numel() for p in parameters))


def _parted(moved: Tensor, pairs: list[tuple[int, int]]) -> bool:
    """Do most of the pairs differ, in proportion to how far they moved?"""
    first, second = (moved[[p[i] for p in pairs]].double() for i in (0, 1))
    apart = (first - second).norm(dim=1)
    size = torch.maximum(first.norm(dim=1), second.norm(dim=1))
    return float(((apart > PARTED * size) & (size > 0)).double().mean()) > 0.5
