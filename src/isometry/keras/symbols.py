"""Symbols in the place of a model's variables, so that what a layer does with them is seen.

Keras computes at once what is asked of variables alone (a bias reshaped, a kernel cut into gates);
a symbol is followed instead. It stands where the variable stands among the layer's attributes, for
as long as a trace runs.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import keras

from isometry.keras.structure import parts_of

__all__ = ["Swapped", "Weight", "as_if_never_run"]


class Weight(keras.KerasTensor):  # type: ignore[misc]
    """The symbol of a variable; its dtype is the one in which the running layer computes."""

    def __init__(self, variable: Any) -> None:
        super().__init__(tuple(variable.shape), dtype=variable._dtype, name=variable.name)
        self.variable = variable

    @property
    def dtype(self) -> str:
        return str(self.variable.dtype)

    @property
    def value(self) -> Weight:
        return self

    @property
    def trainable(self) -> bool:
        return bool(self.variable.trainable)

    @property
    def path(self) -> str:
        return str(self.variable.path)

    def assign(self, value: Any) -> Any:
        """Statistics that a run would move stay where they are."""
        return value

    def assign_add(self, value: Any) -> Any:
        return value

    def assign_sub(self, value: Any) -> Any:
        return value


class Swapped:
    """A model whose variables are symbols, between `enter` and `leave`."""

    def __init__(self, model: Any, variables: Sequence[Any]) -> None:
        self.weights = {id(v): Weight(v) for v in variables}
        self._layers = model._flatten_layers()
        self._undo: list[tuple[Any, Any, Any]] = []

    def enter(self) -> None:
        for layer in self._layers:
            for name, value in parts_of(layer).items():
                if id(value) in self.weights:
                    self._put(vars(layer), name, self.weights[id(value)])
                else:
                    self._enter_inside(value)

    def leave(self) -> None:
        while self._undo:
            table, key, value = self._undo.pop()
            _set(table, key, value)

    @contextmanager
    def paused(self) -> Iterator[None]:
        """The variables in their places again, for a layer that runs as a whole."""
        self.leave()
        try:
            yield
        finally:
            self.enter()

    def _enter_inside(self, value: Any) -> None:
        if not isinstance(value, (list, dict)):
            return
        items = list(value.items() if isinstance(value, dict) else enumerate(value))
        for key, item in items:
            if id(item) in self.weights:
                self._put(value, key, self.weights[id(item)])
            elif not isinstance(item, keras.layers.Layer):
                self._enter_inside(item)

    def _put(self, table: Any, key: Any, symbol: Weight) -> None:
        self._undo.append((table, key, table[key]))
        _set(table, key, symbol)


def _set(table: Any, key: Any, value: Any) -> None:
    """Without what a tracked list or dict does when it is written."""
    kind = list if isinstance(table, list) else dict
    kind.__setitem__(table, key, value)


@contextmanager
def as_if_never_run(model: Any) -> Iterator[None]:
    """Put back what a call moves even in inference: the states of generators."""
    weights = {id(v) for v in model.weights}
    states = [
        (v, keras.ops.convert_to_numpy(v.value).copy())
        for v in model.variables
        if id(v) not in weights
    ]
    try:
        yield
    finally:
        for variable, value in states:
            variable.assign(value)
