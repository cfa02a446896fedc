"""What a Keras model is called with, as arrays and as symbols; inputs made up from what it says."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import keras
import numpy as np

from isometry.errors import ArgumentError, ModelError

__all__ = ["BATCH", "Call", "as_call", "build", "known_inputs"]

BATCH = 32  # of inputs made up
LENGTH = 32  # of an axis that the model leaves open
SEED = 0


@dataclass(frozen=True, slots=True)
class Call:
    """The arguments of a model, and where they came from."""

    args: tuple[Any, ...] = ()
    kwargs: Mapping[str, Any] = field(default_factory=dict)
    origin: str = "given"

    @property
    def arrays(self) -> list[Any]:
        """Its tensors, in order."""
        return [x for x in keras.tree.flatten((self.args, dict(self.kwargs))) if is_array(x)]

    def map(self, change: Callable[[Any], Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """(args, kwargs) with every tensor changed."""
        both = (self.args, dict(self.kwargs))
        return keras.tree.map_structure(lambda x: change(x) if is_array(x) else x, both)  # type: ignore[no-any-return]

    def __str__(self) -> str:
        shapes = (f"{tuple(a.shape)} {dtype_of(a)}" for a in self.arrays)
        return ", ".join(shapes) or "no tensor"


def is_array(value: Any) -> bool:
    """A tensor of any kind: NumPy's, the backend's, or a symbol."""
    return isinstance(value, (np.ndarray, keras.KerasTensor)) or keras.ops.is_tensor(value)


def dtype_of(array: Any) -> str:
    """As Keras names it; of what NumPy makes by itself, what Keras makes of it."""
    dtype = str(keras.backend.standardize_dtype(array.dtype))
    if dtype == "float64" and isinstance(array, np.ndarray):
        return str(keras.config.floatx())
    if keras.backend.backend() == "jax" and dtype.endswith("64"):
        import jax

        return dtype if jax.config.read("jax_enable_x64") else dtype.replace("64", "32")
    return dtype


def as_call(inputs: Any, model: Any) -> Call:
    """A tensor is one positional argument, a tuple several, a dict keyword arguments; a list is one
    argument of several tensors, as Keras takes them. So are a dict whose keys are no arguments of
    the model's call (the names of its inputs), and a tuple given to a functional model.

    Raises:
        ArgumentError: inputs of another kind.
    """
    if is_array(inputs):
        return Call((inputs,))
    functional = getattr(model, "_inputs_struct", None) is not None
    if isinstance(inputs, Mapping):
        taken = inspect.signature(model.call).parameters
        open_ended = any(p.kind is p.VAR_KEYWORD for p in taken.values()) and not functional
        if open_ended or set(inputs) <= set(taken):
            return Call((), dict(inputs))
        return Call((dict(inputs),))
    if isinstance(inputs, tuple):
        return Call((list(inputs),)) if functional and len(inputs) > 1 else Call(inputs)
    if isinstance(inputs, list) and any(is_array(x) for x in inputs):
        return Call((inputs,))
    raise ArgumentError(
        f"inputs is {type(inputs).__name__}; expected a tensor, a tuple (positional arguments) or a "
        "dict (keyword arguments)"
    )


def build(model: Any, call: Call | None) -> None:
    """Give a model its variables where it has none yet, by one symbolic call of it.

    Raises:
        ModelError: the model is not built, and no inputs say with what to build it.
    """
    if model.built and all(x.built for x in model._flatten_layers()):
        return
    if call is None:
        if model.built:
            return
        raise ModelError(
            f"{type(model).__name__} is not built: it has no variables yet; pass inputs, a tensor (or "
            "a tuple, or a dict) that it can be called with, or call model.build(input_shape)"
        )
    args, kwargs = call.map(lambda x: keras.KerasTensor(tuple(x.shape), dtype_of(x)))
    model(*args, **kwargs)


def known_inputs(model: Any) -> Call | None:
    """Random inputs for a model that says what it takes; None where it does not.

    Tensors of floating-point numbers are Gaussian; whole numbers lie below the rows of the smallest
    table that the model has. Open axes are 32 long.
    """
    try:
        given = model.inputs if isinstance(model, keras.Model) else None
        tensors = keras.tree.flatten(given) if given else []
        structure = getattr(model, "_inputs_struct", None)
    except (AttributeError, ValueError):
        return None
    if not tensors:
        return None
    rng = np.random.default_rng(SEED)
    tables = [x for x in model._flatten_layers() if isinstance(x, keras.layers.Embedding)]
    rows = min((x.input_dim for x in tables), default=2)
    # Tokens are declared as floats where nothing was said of them.
    looked_up = {
        id(t) for x in tables for node in x._inbound_nodes for t in node.arguments.keras_tensors
    }

    def drawn(x: Any) -> Any:
        shape = (BATCH, *(n or LENGTH for n in x.shape[1:]))
        dtype = keras.backend.standardize_dtype(x.dtype)
        if dtype.startswith(("float", "bfloat")) and id(x) not in looked_up:
            return rng.standard_normal(shape, dtype=np.float32)
        if dtype == "bool":
            return np.ones(shape, dtype=bool)
        return rng.integers(0, rows, shape, dtype=np.int32)

    if structure is None or isinstance(structure, keras.KerasTensor):
        return Call((drawn(tensors[0]),), {}, "made up")
    return Call((keras.tree.map_structure(drawn, structure),), {}, "made up")
