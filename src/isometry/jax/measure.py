"""Measure one forward and backward of a model, by what every framework shares."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray

from isometry.errors import ArgumentError, ModelError, TraceError
from isometry.graph import Graph
from isometry.jax.build import built
from isometry.jax.held import check_parameters, is_abstract
from isometry.jax.inputs import as_call
from isometry.jax.models import model_of
from isometry.jax.read import Reading, reading
from isometry.jax.run import JaxRunner
from isometry.measuring import measured
from isometry.measuring.losses import kind_of
from isometry.types import Measurements, NotChecked, ParameterMeasurement

__all__ = ["measure"]


def measure(
    target_model: Any,
    inputs: Any = None,
    *,
    loss: Any = None,
    target: Any = None,
    build: Callable[[], Any] | None = None,
    probing: bool = True,
    jacobian: bool = False,
) -> tuple[Measurements, Graph]:
    """Measure a model as it is given; it is left as it was.

    Args:
        target_model: an NNX module, (Linen module, variables), a bound Linen module, an Equinox
            module, or (function, tree of arrays).
        inputs, loss, target, build, probing, jacobian: as for `isometry.check`.

    Returns:
        What was measured, and the graph of the run.

    Raises:
        ModelError: no parameters, or parameters without values.
        TraceError: no inputs, or the model's own call failed.
        ArgumentError: the loss is not one, or failed.
    """
    kind_of(loss)
    if inputs is None:
        raise TraceError(
            f"no inputs were given for {type(target_model).__name__}; pass inputs: an array, a tuple "
            "of positional or a dict of keyword arguments"
        )
    call = as_call(inputs)
    model = model_of(target_model, call)
    check_parameters(model)
    empty = [h.names[0] for h in model.held if is_abstract(h.array)]
    if empty:
        raise ModelError(
            f"{empty[0]} has a shape and no values to measure; isometry.jax.initialize(model, inputs) "
            "gives a model its values"
        )
    read = reading(model, call, loss, mode="given")
    runner = JaxRunner(model, call, read)
    goal = _goal(read, loss, target) if callable(loss) else None
    not_checked: list[NotChecked] = []
    found = measured(
        runner, model=model.name, loss=None if callable(loss) else loss, target=target, goal=goal,
        probing=probing, jacobian=jacobian, not_checked=not_checked,
    )  # fmt: skip
    if build is not None:
        parameters = _rebuilt(build, found.parameters, not_checked)
        found = replace(found, parameters=parameters, not_checked=tuple(not_checked))
    return found, read.graph


def _rebuilt(
    build: Callable[[], Any], measurements: tuple[ParameterMeasurement, ...],
    not_checked: list[NotChecked],
) -> tuple[ParameterMeasurement, ...]:  # fmt: skip
    """Note for each parameter whether two builds agree: JAX's arrays are never left unset, but a
    factory may draw from a clock."""
    if not callable(build) or hasattr(build, "__dataclass_fields__"):
        raise ArgumentError(
            f"build is {type(build).__name__}; expected a factory: a callable that takes nothing "
            "and returns a new model, such as build=lambda: Net(rngs=nnx.Rngs(0))"
        )
    first, second = ({h.names[0]: h.array for h in model_of(built(build, 0)).held} for _ in "ab")
    out = []
    for m in measurements:
        a, b = first.get(m.name), second.get(m.name)
        if a is None or b is None or a.shape != b.shape:
            not_checked.append(NotChecked(m.name, "build() returns a model without it"))
            out.append(m)
        else:
            same = np.array_equal(np.asarray(a), np.asarray(b))
            out.append(replace(m, rebuilt="equal" if same else "different"))
    return tuple(out)


def _goal(read: Reading, loss: Callable[..., Any], target: Any) -> Any:
    """The objective of a loss that is a function: loss(output, target), differentiated by JAX."""
    names, shapes = read.outputs, [read.program.shapes[v] for v in read.program.outputs]

    def goal(outputs: Mapping[str, NDArray[Any]]) -> tuple[float | None, dict[str, NDArray[Any]]]:
        arrays = {n: jnp.asarray(outputs[n], s.dtype) for n, s in zip(names, shapes, strict=True) if n}  # fmt: skip

        def value(arrays: Mapping[str, Any]) -> Any:
            whole = [arrays[n] if n else jnp.zeros(s.shape, s.dtype) for n, s in zip(names, shapes, strict=True)]  # fmt: skip
            return jnp.mean(loss(read.rebuild(whole), target))

        try:
            found, gradients = jax.value_and_grad(value)(arrays)
        except Exception as error:  # the loss's own
            raise ArgumentError(
                f"the loss failed: {type(error).__name__}: {error}; pass target= as your loss expects "
                "it, or a loss(output, target) that takes this output"
            ) from error
        return float(found), {n: np.asarray(g) for n, g in gradients.items()}

    return goal
