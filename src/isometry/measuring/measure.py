"""Runner -> Measurements: one pass forward and backward, and everything that the rules ask for."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np

from isometry.checker.reading import STOPS
from isometry.errors import IsometryError
from isometry.measuring.layers import measure_layers
from isometry.measuring.losses import objective, prior_and_claim
from isometry.measuring.parameters import measure_parameters, shown_values, unit_axes
from isometry.measuring.probe import probe
from isometry.measuring.runner import Array, Goal, Pass, Runner
from isometry.measuring.statistics import moment, pair_moments, samples_of
from isometry.roles import read_usages
from isometry.streams import read_streams, weight_values
from isometry.types import InputMeasurement, Measurements, NotChecked

__all__ = ["measured"]


def measured(
    runner: Runner,
    *,
    model: str,
    loss: str | None = None,
    target: Any = None,
    goal: Goal | None = None,
    probing: bool = True,
    jacobian: bool = False,
    not_checked: list[NotChecked] | None = None,
) -> Measurements:
    """Measure a model on a batch.

    Args:
        runner: the model and the batch.
        model: what to call it.
        loss: a name; not looked at where a goal is given.
        target: for the loss.
        goal: a loss that only the framework can differentiate.
        probing: take three steps beside the model, where zeros or equal units call for it.
        jacobian: asked for; said to be measured in PyTorch alone.
        not_checked: what the adapter could not judge; more is added to it.

    Raises:
        ArgumentError: the loss is not one, or does not take the output or the target.
    """
    missed = not_checked if not_checked is not None else []
    graph, classes = runner.graph, None
    inputs = runner.inputs
    samples = samples_of(inputs[0] if inputs else None)
    if goal is None:
        found = objective(runner.run(None, None, nodes=False).outputs, loss, target)
        goal, classes = found.goal, found.classes
    once = _differentiated(runner, goal, missed)
    layers, shown = measure_layers(graph, once, samples, runner.channels)
    usages = read_usages(graph, weights := weight_values(graph), read_streams(graph, weights))
    axes = unit_axes(usages)
    trainable = {leaf.name for leaf in graph.leaves if leaf.kind == "parameter" and leaf.trainable}
    gradients = {n: g for n, g in once.parameters.items() if n in trainable}
    parameters = measure_parameters(graph, runner.parameters, axes, gradients)
    if probing:
        factors = {u.leaf.name for u in usages if u.role in STOPS}
        parameters = probe(runner, goal, trainable, parameters, axes, factors, missed)
    if jacobian:
        why = "measured of PyTorch models alone"
        missed.append(NotChecked("the singular values of the Jacobian", why))
    prior, claimed = prior_and_claim(once.outputs, target)
    return Measurements(
        model=model,
        layers=layers,
        parameters=parameters,
        loss=once.loss,
        classes=classes,
        batch=samples.count,
        not_checked=tuple(missed),
        inputs=_inputs(runner),
        prior=prior,
        claimed=claimed,
        values={**shown, **shown_values(graph, runner.parameters)},
    )


def _differentiated(runner: Runner, goal: Goal, missed: list[NotChecked]) -> Pass:
    """Forward and backward; forward alone where there is no way back."""
    try:
        once = runner.run(None, goal)
    except IsometryError:
        raise
    except Exception as error:  # an operation without a derivative, or the model's own
        missed.append(NotChecked("gradients", f"the backward pass failed: {error}"))
        forward = runner.run(None, None)
        return replace(forward, loss=goal(forward.outputs)[0])
    if not once.parameters:
        missed.append(NotChecked("gradients", "no output depends on a parameter that trains"))
    return once


def _mean(array: Array) -> float:
    """The mean of what is a number."""
    wide = np.asarray(array, np.float64)
    known = wide[~np.isnan(wide)]
    with np.errstate(invalid="ignore"):
        return float(known.mean()) if known.size else math.nan


def _inputs(runner: Runner) -> tuple[InputMeasurement, ...]:
    """The floating-point inputs, in the order of the graph's."""
    return tuple(
        InputMeasurement(
            value,
            array.shape,
            _mean(array),
            *moment(array),
            zeros=float((array == 0).mean()),
            pairs=pair_moments(array, _channels_last(runner, value, array)),
        )
        for value, array in zip(runner.graph.inputs, runner.inputs, strict=True)
        if array.dtype.kind not in "iubO" and array.size
    )


def _channels_last(runner: Runner, value: int, array: Array) -> bool:
    """Are an image's channels its last axis? The graph presents them as its second."""
    return array.ndim < 4 or tuple(runner.graph.values[value].shape) != array.shape
