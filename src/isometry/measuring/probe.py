"""Look again after one, two and three steps of gradient descent, taken beside the model.

What starts to move is zero by design; two zeros in series never do. Output units that are equal
and stay equal are one unit; those that part were only alike at the start.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from isometry.measuring.parameters import equal_units, units
from isometry.measuring.runner import Goal, Runner
from isometry.measuring.statistics import moment
from isometry.types import NotChecked, ParameterMeasurement

__all__ = ["FAINT", "NOTHING", "PARTED", "STEPS", "STEP_SIZE", "chosen_to_probe", "probe"]

STEPS = 3
STEP_SIZE = 0.01  # length of a step over the length of all parameters
PARTED = 1e-3  # units have parted when they differ by this fraction of how far they moved
# Of the rms movement of all parameters: below it in float32, a movement may be rounding; in
# float64, it is.
FAINT, NOTHING = 1e-4, 1e-11

Array = NDArray[Any]
Axes = Mapping[str, tuple[int, ...]]


def chosen_to_probe(
    measured: tuple[ParameterMeasurement, ...], axes: Axes, factors: set[str]
) -> set[str]:
    """What can only be judged by what it does next: zero factors, and weights with equal output
    units. (A zero bias needs no look: it is a summand and stops nothing.)"""
    return {
        m.name
        for m in measured
        if m.grad is not None
        and ((m.constant == 0.0 and m.name in factors) or (m.identical > 0 and m.name in axes))
    }


def probe(
    runner: Runner,
    goal: Goal,
    trainable: set[str],
    measured: tuple[ParameterMeasurement, ...],
    axes: Axes,
    factors: set[str],
    not_checked: list[NotChecked],
) -> tuple[ParameterMeasurement, ...]:
    """Take the steps, and note when each candidate moved and when its equal units parted.

    Args:
        runner, goal: what is differentiated, and by what.
        trainable: names of the parameters that take the steps, each in its own dtype.
        measured: what was measured so far.
        axes: those of `unit_axes`.
        factors: names of parameters whose zero stops a signal.
        not_checked: told of a step that failed, and of movements too small to tell from rounding.
    """
    chosen = chosen_to_probe(measured, axes, factors)
    if not chosen:
        return measured
    before = {n: runner.parameters[n] for n in trainable}
    now = dict(before)
    pairs = {n: equal_units(units(before[n], axes[n])) for n in chosen if n in axes}
    moves: dict[str, int] = {}
    parts: dict[str, int] = {}
    faint, steps, travelled = False, 0, 0.0
    for step in range(1, STEPS + 1):
        try:
            travelled += _step(now, runner.run(now, goal, nodes=False).parameters)
        except Exception as error:  # the model's own, or no gradient
            reason = f"step {step} of {STEPS}: {error or type(error).__name__}"
            not_checked.append(NotChecked("zeros and equal units, by what they do next", reason))
            break
        steps = step
        for name in chosen:
            if name in moves and (name in parts or not pairs.get(name)):
                continue
            moved = np.asarray(now[name], np.float64) - np.asarray(before[name], np.float64)
            distance = math.sqrt(float(np.square(moved).mean()))
            if distance == 0.0:
                continue
            faint |= distance < FAINT * travelled
            moves.setdefault(name, step)
            if pairs.get(name) and _parted(units(moved, axes[name]), pairs[name]):
                parts.setdefault(name, step)
        if all(n in moves and (n in parts or not pairs.get(n)) for n in chosen):
            break
    if faint:
        why = "something moves so little in float32 that it may be rounding"
        not_checked.append(NotChecked("zeros and equal units, by what they do next", why))
    if steps == 0:
        return measured
    return tuple(
        replace(m, probed=True, moves_at=moves.get(m.name), parts_at=parts.get(m.name))
        if m.name in chosen
        else m
        for m in measured
    )


def _step(parameters: dict[str, Array], gradients: Mapping[str, Array]) -> float:
    """One step, of a length that depends on neither the loss's scale nor the model's size;
    returns the rms movement."""
    wide = {n: np.asarray(g, np.float64) for n, g in gradients.items() if n in parameters}
    length = math.sqrt(sum(float(np.vdot(g, g)) for g in wide.values()))
    if not math.isfinite(length):
        raise ArithmeticError("the gradient is not finite")
    if length == 0.0:
        return 0.0
    size = math.sqrt(sum(moment(p)[0] * p.size for p in parameters.values()))
    rate = STEP_SIZE * max(size, 1.0) / length
    for name, gradient in wide.items():
        parameters[name] = (parameters[name] - rate * gradient).astype(parameters[name].dtype)
    return rate * length / math.sqrt(sum(p.size for p in parameters.values()))


def _parted(moved: Array, pairs: list[tuple[int, int]]) -> bool:
    """Do most of the pairs differ, in proportion to how far they moved?"""
    first, second = (moved[[p[i] for p in pairs]] for i in (0, 1))
    apart = np.linalg.norm(first - second, axis=1)
    size = np.maximum(np.linalg.norm(first, axis=1), np.linalg.norm(second, axis=1))
    return float(((apart > PARTED * size) & (size > 0)).mean()) > 0.5
