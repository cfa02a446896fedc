"""Record a model's own call: one symbolic run, in which every layer runs its own `call`.

Keras sends a symbolic argument round the layer's `call` and asks for the shape of the output alone.
Here the call itself runs on the symbols, so that each `keras.ops` function in it is seen, whatever
the backend. What symbols cannot follow (a function of the backend's own) is one step, a layer.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import keras

from isometry.keras.structure import Owned, layer_paths
from isometry.keras.symbols import Swapped, Weight, as_if_never_run
from isometry.keras.whole_layers import rule_for

__all__ = ["Program", "Step", "is_symbol", "traced"]


@dataclass(slots=True, eq=False)
class Step:
    """One call of an operation, or of a layer that runs as a whole."""

    operation: Any
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    outputs: list[Any]
    structure: Any  # the outputs as they were returned
    scope: str
    dtypes: dict[int, str]  # of the weights among its arguments, as the layer computes with them

    @property
    def name(self) -> str:
        return type(self.operation).__name__

    @property
    def is_layer(self) -> bool:
        return isinstance(self.operation, keras.layers.Layer)


@dataclass(slots=True)
class Program:
    """The steps of one call; symbols are told apart by their id and live as long as this does."""

    weights: Mapping[int, Weight]  # id(variable) -> its symbol
    inputs: list[Any] = field(default_factory=list)
    steps: list[Step] = field(default_factory=list)
    output: Any = None  # as the model returned it
    notes: list[str] = field(default_factory=list)


class _Tracer:
    """What Keras's two doors lead to while a trace runs."""

    def __init__(self, program: Program, swapped: Swapped, paths: Mapping[int, str], steps: int) -> None:  # fmt: skip
        self.program = program
        self.swapped = swapped
        self.steps = steps  # of a recurrent layer that are seen
        self.running = True
        self._paths = paths
        self._scopes = [""]

    def record(self, operation: Any, args: Any, kwargs: Any, structure: Any) -> Any:
        flat = [x for x in keras.tree.flatten((args, kwargs)) if isinstance(x, Weight)]
        outputs = [x for x in keras.tree.flatten(structure) if is_symbol(x)]
        self.program.steps.append(
            Step(
                operation,
                tuple(args),
                dict(kwargs),
                outputs,
                structure,
                self._scopes[-1],
                {id(x): x.dtype for x in flat},
            )
        )
        return structure

    def call(self, layer: Any, args: Any, kwargs: Any) -> Any:
        """A layer's own call; where it cannot run on symbols, the layer is one step."""
        self._scopes.append(self._paths.get(id(layer), self._scopes[-1]))
        mark = len(self.program.steps)
        try:
            rule = rule_for(layer)
            if getattr(layer, "quantization_mode", None) is not None:
                return layer.quantized_call(*args, **kwargs)
            if rule is None:
                return layer.call(*args, **kwargs)
            return rule(layer, self.steps, *args, **kwargs)
        except Exception as error:  # a layer may do anything
            if not any(is_symbol(x) for x in keras.tree.flatten((args, kwargs))):
                raise
            del self.program.steps[mark:]
            return self._whole(layer, args, kwargs, error)
        finally:
            self._scopes.pop()

    def _whole(self, layer: Any, args: Any, kwargs: Any, error: Exception) -> Any:
        self.running = False
        try:
            with self.swapped.paused():
                structure = layer.compute_output_spec(*args, **kwargs)
        finally:
            self.running = True
        self.program.notes.append(
            f"{self._scopes[-1] or type(layer).__name__} is planned from its type: its call cannot be "
            f"followed ({type(error).__name__})"
        )
        return self.record(layer, args, kwargs, structure)


def is_symbol(value: Any) -> bool:
    return isinstance(value, keras.KerasTensor)


def traced(
    model: Any, owned: Sequence[Owned], args: tuple[Any, ...], kwargs: dict[str, Any],
    *, steps: int,
) -> Program:  # fmt: skip
    """One symbolic call of a model, as it runs in inference.

    Args:
        model: built.
        owned: its variables.
        args, kwargs: tensors as symbols, of known shapes.
        steps: how many steps of a recurrent layer to follow at most; the last one stands for the
            rest.

    Returns:
        What was recorded; nothing of the model is changed.
    """
    with as_if_never_run(model):
        swapped = Swapped(model, [o.variable for o in owned])
        program = Program(swapped.weights)
        program.inputs = [x for x in keras.tree.flatten((args, kwargs)) if is_symbol(x)]
        tracer = _Tracer(program, swapped, layer_paths(model), steps)
        with _doors(tracer):
            swapped.enter()
            try:
                program.output = model(*args, **kwargs)
            finally:
                swapped.leave()
    return program


def _spec(operation: Any, args: Any, kwargs: Any) -> Any:
    """What an operation gives, as symbols. (Keras refuses a grouped convolution of symbols, whose
    kernel reads fewer channels than there are: it is shown one that reads them all.)"""
    if type(operation).__name__ == "Conv" and not kwargs:
        x, kernel = args
        own = operation.data_format or keras.config.image_data_format()
        channels = x.shape[-1 if own == "channels_last" else 1]
        shape = (*kernel.shape[:-2], channels, kernel.shape[-1])
        args = (x, keras.KerasTensor(shape, dtype=x.dtype))
    return operation.compute_output_spec(*args, **kwargs)


@contextmanager
def _doors(tracer: _Tracer) -> Iterator[None]:
    """Lead the calls of layers and the symbolic calls of operations to a tracer."""
    call, symbolic = keras.Operation.__call__, keras.Operation.symbolic_call

    def new_call(self: Any, *args: Any, **kwargs: Any) -> Any:
        if tracer.running and isinstance(self, keras.layers.Layer):
            return tracer.call(self, args, kwargs)
        return call(self, *args, **kwargs)

    def new_symbolic(self: Any, *args: Any, **kwargs: Any) -> Any:
        if not tracer.running:
            return symbolic(self, *args, **kwargs)
        return tracer.record(self, args, kwargs, _spec(self, args, kwargs))

    bidirectional = keras.layers.Bidirectional
    replaced: list[tuple[Any, str, Callable[..., Any]]] = [
        (keras.Operation, "__call__", new_call),
        (keras.Operation, "symbolic_call", new_symbolic),
        (keras.layers.Layer, "add_loss", lambda self, loss: None),
        # What Keras notes of a call of symbols; it takes no call that returns a plain number.
        (sys.modules[keras.layers.Layer.__module__], "Node", lambda *args, **kwargs: None),
        *(
            (bidirectional, name, lambda self, *args: False)
            for name in ("_can_attempt_fused_lstm", "_can_attempt_fused_gru")
            if hasattr(bidirectional, name)
        ),
    ]
    before = [(owner, name, owner.__dict__[name]) for owner, name, _ in replaced]
    # A JAX array asks a symbol for its values before it lets the symbol multiply it.
    before.append((keras.KerasTensor, "__jax_array__", keras.KerasTensor.__jax_array__))
    del keras.KerasTensor.__jax_array__
    for owner, name, function in replaced:
        setattr(owner, name, function)
    try:
        yield
    finally:
        for owner, name, function in before:
            setattr(owner, name, function)
