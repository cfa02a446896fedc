"""Run a model forward and backward once, and measure every operation and every parameter."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from isometry.checker.reading import STOPS
from isometry.errors import ArgumentError, ModelError, TraceError
from isometry.graph import Graph
from isometry.measuring.parameters import unit_axes
from isometry.roles import read_usages
from isometry.streams import read_streams, weight_values
from isometry.torch.guard import as_if_never_run, measuring_mode
from isometry.torch.inputs import Call, as_call, draw_inputs
from isometry.torch.jacobian import spectrum
from isometry.torch.leaves import (
    OwnedTensor,
    check_parameters,
    leaves_of,
    owned_tensors,
    public_name,
)
from isometry.torch.losses import Objective, objective, prior_and_claim
from isometry.torch.lost_writes import lost_writes
from isometry.torch.parameters import measure_parameters, shown_values
from isometry.torch.probe import probe
from isometry.torch.read import adopt_leaves, batched_experts, failed_run, loss_kind
from isometry.torch.rebuild import rebuild
from isometry.torch.recorder import Recorder
from isometry.torch.statistics import moment, pair_moments, samples_of
from isometry.torch.trace import float_outputs, module_scopes
from isometry.types import InputMeasurement, Measurements, NotChecked

__all__ = ["measure"]

SEED = 0  # of what a model draws for itself while it is measured


def measure(
    model: nn.Module,
    inputs: Any = None,
    *,
    loss: Any = None,
    target: Any = None,
    build: Callable[[], Any] | None = None,
    probing: bool = True,
    jacobian: bool = False,
) -> tuple[Measurements, Graph]:
    """Measure one forward and backward of a model; the model is left as it was, to the bit.

    Args:
        model: with its parameters in memory, not on meta.
        inputs: a tensor, a tuple (positional arguments), a dict (keyword arguments); None draws.
        loss: None (random unit gradients are sent back from every output), "cross_entropy",
            "mse", "bce_with_logits", or a callable loss(output, target).
        target: for the loss; None draws one for a named loss.
        build: a factory of such models; it is called twice to find what it leaves unset.
        probing: take three steps on a copy, where zeros or equal units call for it.
        jacobian: also the singular values from the first input to the first output.

    Returns:
        What was measured, and the graph of the run.

    Raises:
        ModelError: no parameters, or parameters without values.
        TraceError: the model's own forward failed.
        ArgumentError: the loss is not one, or failed.

    Example:
        >>> found, graph = measure(nn.Sequential(nn.Linear(8, 4), nn.ReLU()), torch.randn(32, 8))
        >>> [layer.op for layer in found.layers]
        ['linear', 'pointwise:relu']
    """
    if not isinstance(model, nn.Module):
        raise ArgumentError(
            f"model is {type(model).__name__}; expected a torch.nn.Module (to measure what a "
            "factory builds, call it, and pass the factory as build=)"
        )
    owned = owned_tensors(model)
    check_parameters(owned, model)
    on_meta = [e.names[0] for e in owned if e.tensor.is_meta]
    if on_meta:
        raise ModelError(
            f"{on_meta[0]} is on meta and has no values to measure; isometry.initialize gives a "
            "meta model its values"
        )
    call = as_call(inputs) if inputs is not None else _draw(model)
    if call is None:
        raise TraceError(
            f"no inputs were given for {type(model).__name__} and none could be made up; pass "
            "inputs: a tensor, a tuple of positional or a dict of keyword arguments"
        )
    not_checked: list[NotChecked] = []
    with as_if_never_run(model), measuring_mode(model), torch.enable_grad():
        recorder, output, graph = _forward(model, owned, _copied(call), loss)
        given = _inputs(call, graph)
        goal = objective(model, output, loss, target)
        trainable = [e.tensor for e in owned if e.kind == "parameter" and e.tensor.requires_grad]
        gradients = _differentiate(goal, trainable, not_checked)
        layers = recorder.measurements(graph)
        usages = read_usages(graph, weights := weight_values(graph), read_streams(graph, weights))
        axes = unit_axes(usages)
        parameters = measure_parameters(
            owned, graph, axes, {id(p): g for p, g in zip(trainable, gradients, strict=True)}
        )
        values = {**recorder.values(), **shown_values(owned)}
        measured_loss, classes = goal.loss, goal.classes
        prior, claimed = prior_and_claim(output, target)
        del output, goal, gradients  # the activations, before the probe makes its own
        singular = spectrum(lambda c: _run(model, c), call, not_checked) if jacobian else None

        def again(twin: nn.Module, its_parameters: Sequence[Tensor]) -> list[Tensor | None]:
            double = next(twin.parameters()).dtype is torch.float64
            goal = objective(twin, _run(twin, _copied(call, double)), loss, target)
            return _differentiate(goal, its_parameters, [])

        factors = {u.leaf.name for u in usages if u.role in STOPS}
        if probing:
            parameters = probe(model, again, parameters, axes, factors, not_checked)
    parameters = lost_writes(model, parameters, not_checked if build is None else [])
    if build is not None:
        parameters = rebuild(build, parameters, not_checked)
    found = Measurements(
        model=type(model).__name__,
        layers=layers,
        parameters=parameters,
        loss=measured_loss,
        classes=classes,
        batch=recorder.samples.count,
        not_checked=tuple(not_checked),
        inputs=given,
        prior=prior,
        claimed=claimed,
        jacobian=singular,
        values=values,
    )
    return found, graph


def _forward(
    model: nn.Module, owned: list[OwnedTensor], call: Call, loss: Any
) -> tuple[Recorder, Any, Graph]:
    """Run the model under a recorder."""
    tensors: list[Tensor] = []
    call.map(lambda t: tensors.append(t) or t)  # type: ignore[func-returns-value]
    recorder = Recorder(samples_of(tensors[0] if tensors else None))
    tracer = recorder.tracer
    values = adopt_leaves(tracer, owned, {id(e.tensor): e.tensor for e in owned})
    inputs = tuple(tracer.adopt(t) for t in tensors)
    names = {id(m): public_name(f"{n}._")[:-2] for n, m in model.named_modules()}
    try:
        with module_scopes(model, tracer, names), tracer:
            output = _run(model, call)
    except Exception as error:  # a model may raise anything
        raise failed_run(model, call, error) from error
    recorder.settle()
    graph = Graph(
        model=type(model).__name__,
        nodes=tuple(tracer.nodes),
        values=tracer.values,
        leaves=leaves_of(owned, values),
        inputs=inputs,
        outputs={k: tracer.value_of(t) for k, t in float_outputs(output).items()},
        loss=loss_kind(model, loss),
        how="real",
    )
    return recorder, output, graph


def _copied(call: Call, double: bool = False) -> Call:
    """Inputs of its own: a model may write into them."""

    def copied(t: Tensor) -> Tensor:
        dtype = torch.float64 if double and t.is_floating_point() else t.dtype
        return t.detach().to(dtype, copy=True).requires_grad_(t.requires_grad)

    return call.map(copied)


def _inputs(call: Call, graph: Graph) -> tuple[InputMeasurement, ...]:
    """The floating-point inputs, in the order of the graph's."""
    tensors: list[Tensor] = []
    call.map(lambda t: tensors.append(t) or t)  # type: ignore[func-returns-value]
    return tuple(
        InputMeasurement(
            value,
            tuple(t.shape),
            float(t.double().nanmean()),
            *moment(t),
            zeros=float((t == 0).double().mean()),
            pairs=pair_moments(t),
        )
        for value, t in zip(graph.inputs, (t.detach() for t in tensors), strict=True)
        if t.is_floating_point() and t.numel() and t.layout is torch.strided
    )


def _run(model: nn.Module, call: Call) -> Any:
    """Call the model; what it draws at random is the same every time."""
    torch.manual_seed(SEED)
    random.seed(SEED)
    np.random.seed(SEED)
    with batched_experts(model):
        return model(*call.args, **call.kwargs)


def _differentiate(
    goal: Objective, parameters: Sequence[Tensor], not_checked: list[NotChecked]
) -> list[Tensor | None]:
    """The gradient of the objective by each parameter; None where it has none."""
    none: list[Tensor | None] = [None] * len(parameters)
    ends = [(t, g) for t, g in zip(goal.tensors, goal.gradients, strict=True) if t.requires_grad]
    if not ends or not parameters:
        not_checked.append(NotChecked("gradients", "no output depends on a parameter that trains"))
        return none
    tensors, gradients = zip(*ends, strict=True)
    try:
        found = torch.autograd.grad(tensors, parameters, gradients, allow_unused=True)
    except Exception as error:  # an operation without a derivative, or the model's own
        not_checked.append(NotChecked("gradients", f"the backward pass failed: {error}"))
        return none
    return [g.to_dense() if g is not None and g.is_sparse else g for g in found]


def _draw(model: nn.Module) -> Call | None:
    """Inputs of our own: a batch of 32, less where that would take long."""
    try:
        call = draw_inputs(model, batch=2)
    except Exception as error:  # a config with values that nothing here expects
        raise TraceError(
            f"no inputs could be made up for {type(model).__name__} ({type(error).__name__}: "
            f"{error}); pass inputs: a tensor, a tuple of positional or a dict of keyword arguments"
        ) from error
    if call is None:
        return None
    shapes: list[torch.Size] = []
    call.map(lambda t: shapes.append(t.shape) or t)  # type: ignore[func-returns-value]
    positions = max(_positions(shape) for shape in shapes)
    work = positions * sum(p.numel() for p in model.parameters())
    batch = 32 if work <= 1e9 else 8 if work <= 8e9 else 2
    call = draw_inputs(model, batch=batch)
    device = next(model.parameters()).device
    return None if call is None else call.map(lambda t: t.to(device))


def _positions(shape: torch.Size) -> int:
    """About how often a weight is used for one sample of this shape."""
    if len(shape) > 3:
        return max(1, shape[2:].numel() // 256)
    return max(shape[1:], default=1) if len(shape) == 3 else max(1, shape[-1] // 320)
