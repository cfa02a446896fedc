"""An array that a model holds, and what a model of JAX's is to isometry."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import jax
import jax.numpy as jnp

from isometry.errors import ModelError
from isometry.jax.layers import Layout, is_norm, layout_of
from isometry.jax.scopes import Scopes
from isometry.types.names import canonical

__all__ = ["Held", "Mode", "Model", "check_parameters", "is_abstract"]

# As the model is; for evaluation; so, but with batch normalisation by the batch.
Mode = Literal["given", "evaluation", "calibration"]


@dataclass(slots=True)
class Held:
    """One array: where it lies in the model, and every path that leads to it."""

    index: int  # in the model's arrays
    array: Any
    kind: str  # "parameter" | "buffer"
    paths: list[str]  # as the framework writes them
    owner: str  # the path of the module that holds it, dotted
    slot: str
    module: Any = None
    parent: Any = None  # the module that holds the module
    owned: bool = True  # False: nothing is known of how it lies

    @property
    def names(self) -> list[str]:
        """PyTorch's form of each path, then the paths themselves."""
        norm = self.module is not None and is_norm(self.module)
        return list(dict.fromkeys((*(canonical(p, norm=norm) for p in self.paths), *self.paths)))

    @property
    def layout(self) -> Layout:
        """The array in PyTorch's layout, as its layer has it."""
        place = self.owner.rpartition(".")[2]
        shape = tuple(self.array.shape)
        if self.kind == "buffer" or self.module is None:
            return Layout(shape)
        return layout_of(self.module, self.slot, shape, self.parent, place)


class Model(Protocol):
    """A model as a function of its arrays."""

    name: str
    arrays: list[Any]
    held: list[Held]
    in_place: bool
    runs: bool  # has it a call of its own?

    def call(
        self, arrays: Sequence[Any], args: tuple[Any, ...], kwargs: dict[str, Any],
        scopes: Scopes, *, mode: Mode,
    ) -> Any:  # fmt: skip
        """Run the model on other arrays, in a mode where it has one."""
        ...

    def replaced(self, arrays: Mapping[int, Any]) -> Any:
        """The model with other arrays in these places: itself where it can be written."""
        ...


def is_abstract(array: Any) -> bool:
    """A shape without values?"""
    return isinstance(array, jax.ShapeDtypeStruct)


def check_parameters(model: Model) -> None:
    """Raise ModelError where a parameter is of a kind that cannot be initialised."""
    parameters = [h for h in model.held if h.kind == "parameter"]
    if not parameters:
        raise ModelError(
            f"{model.name} has no parameters; isometry initialises a model that has some (is it the "
            "right object, and is it built?)"
        )
    for held in parameters:
        if not jnp.issubdtype(held.array.dtype, jnp.floating):
            complex_ = jnp.issubdtype(held.array.dtype, jnp.complexfloating)
            raise ModelError(
                f"{held.names[0]} is {'complex' if complex_ else 'quantised or integer'} "
                f"({held.array.dtype}); isometry initialises floating-point parameters: initialise "
                "before quantising, or hold it as a variable that is no parameter"
            )
