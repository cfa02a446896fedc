"""What all initializers that draw have in common: a law for a shape, a seed and a count of calls."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import Any, Self, TypeVar

import keras
from keras.src.backend import in_stateless_scope, in_symbolic_scope
from keras.src.utils.naming import to_snake_case

from isometry.errors import ArgumentError
from isometry.keras.initializer_calls import COUNTING, Calls, Seed, living
from isometry.keras.tensors import empty, laid_out, to_tensor
from isometry.stream import write
from isometry.stream.index import shape_of
from isometry.stream.request import validate
from isometry.types import Axes, Law

__all__ = ["Drawn", "positive", "real", "registered"]

Class = TypeVar("Class", bound=type)


def registered(cls: Class) -> Class:
    """Make a class known to Keras as "isometry>HeNormal" and as "isometry>he_normal"."""
    keras.saving.register_keras_serializable(package="isometry")(cls)
    keras.saving.get_custom_objects()[f"isometry>{to_snake_case(cls.__name__)}"] = cls
    return cls


class Drawn(keras.initializers.Initializer):  # type: ignore[misc]
    """An initializer that draws from the stream.

        value[i] = law(word i of the stream (seed, "call:shape")),  i row-major in the array

    The third call, for shape (256, 128), draws the stream named "2:256x128": each call of one
    initializer gives values of its own, and the next run gives them again. Where Keras asks for a
    placeholder (inside `keras.StatelessScope`) no call is counted.
    """

    def __init__(self, seed: Any = None) -> None:
        self._calls = Calls(type(self), seed)

    @property
    def seed(self) -> Seed:
        """The integer or SeedGenerator in use; of `seed=None`, the integer that was drawn."""
        return self._calls.seed

    @abstractmethod
    def _law(self, shape: tuple[int, ...]) -> Law:
        """The law of a tensor of this shape."""

    def _axes(self, shape: tuple[int, ...]) -> Axes | None:
        """What its axes are for, where the law is one of whole matrices."""
        return None

    def __call__(self, shape: Sequence[int], dtype: Any = None, layout: Any = None) -> Any:
        """A tensor of Keras's backend with values of its own.

        Args:
            shape: of the tensor.
            dtype: float32, float64, float16, bfloat16, float8_e4m3fn or float8_e5m2; None is
                `keras.config.floatx()`. Each is the float32 value, rounded once or widened.
            layout: on JAX a `keras.distribution.TensorLayout` or `jax.sharding.Sharding`: every
                device is given its part of the same whole, and the whole lies nowhere.

        Raises:
            ArgumentError: the law cannot have the shape or the dtype. No call is then counted.
        """
        sizes = shape_of(shape)
        kind = keras.backend.standardize_dtype(dtype)
        law, axes = self._law(sizes), self._axes(sizes)
        validate(law, sizes, 0, "", kind, None, axes, ())
        if in_symbolic_scope():  # only shape and dtype are looked at
            return keras.ops.zeros(sizes, dtype=kind)
        seed, call = self._calls.next(take=not in_stateless_scope())
        name = f"{call}:{'x'.join(map(str, sizes)) or 'scalar'}"

        def draw(part: tuple[int, ...], index: Any) -> Any:
            out = empty(part, kind)
            write(out, law, sizes, seed=seed, name=name, dtype=kind, index=index, axes=axes)
            return out

        if layout is not None:
            return laid_out(draw, sizes, kind, layout)
        return to_tensor(draw(sizes, None), kind)

    def get_config(self) -> dict[str, Any]:
        """The arguments that make it again, the seed in use among them, ready for JSON."""
        return {"seed": keras.saving.serialize_keras_object(self.seed)}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Self:
        """An initializer of this configuration, which counts on with the living one of its seed.

        Keras makes an initializer for each weight of a layer in this way. One that is to begin
        again at call 0 is written out: `HeNormal(seed=0)`.
        """
        with COUNTING:
            shared = living(cls, config.get("seed"))
            made = cls(**config)
            if shared is not None:
                made._calls = shared
                shared.remember()
        return made


def real(owner: object, name: str, value: Any) -> float:
    """A number that JSON can hold, of a number or of a scalar tensor."""
    try:
        found = float(value)
    except (TypeError, ValueError):
        found = float("nan")
    if isinstance(value, (bool, str)) or not abs(found) < float("inf"):
        raise ArgumentError(
            f"{type(owner).__name__}({name}={value!r}): expected a finite number, or a scalar tensor"
        )
    return found


def positive(owner: object, name: str, value: Any) -> float:
    """The same, above zero."""
    found = real(owner, name, value)
    if found <= 0.0:
        raise ArgumentError(
            f"{type(owner).__name__}({name}={value!r}): expected a positive number; for zeros write "
            "Zeros()"
        )
    return found
