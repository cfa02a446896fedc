"""What kind of model an object is, and the model as a function of its arrays."""

from __future__ import annotations

from typing import Any

from isometry.errors import ArgumentError, ModelError
from isometry.jax.held import Model
from isometry.jax.inputs import Call
from isometry.jax.tree_model import EquinoxModel, TreeModel

__all__ = ["is_written_in_place", "model_of"]


def _comes_from(obj: Any, package: str) -> bool:
    return any(
        c.__name__ == "Module" and c.__module__.startswith(package) for c in type(obj).__mro__
    )


def is_written_in_place(obj: Any) -> bool:
    """A Flax NNX module is; all others are values."""
    return _comes_from(obj, "flax.nnx")


def model_of(obj: Any, call: Call | None = None) -> Model:
    """The model that an object is.

        nnx.Module                       written in place
        linen.Module                     its variables are those that `init` would make for the call
        (linen.Module, variables)        and a bound module
        equinox.Module
        (function, tree of arrays)       function(tree, *inputs)
        a tree of arrays                 that no function reads

    Raises:
        ArgumentError: a pair of other things.
        ModelError: a Linen module without variables, and no call to make them for.
    """
    if _comes_from(obj, "flax.nnx"):
        from isometry.jax.nnx_model import NNXModel

        return NNXModel(obj)
    if _comes_from(obj, "flax.linen"):
        from isometry.jax.linen_model import LinenModel, init_variables

        if obj.scope is not None:
            module, variables = obj.unbind()
            return LinenModel(module, variables)
        if call is None:
            raise ModelError(
                f"{type(obj).__name__} has no variables without inputs; pass inputs, or the module "
                "with its variables: (module, variables)"
            )
        return LinenModel(obj, init_variables(obj, call), call)
    if _comes_from(obj, "equinox"):
        return EquinoxModel(obj)
    if isinstance(obj, tuple) and len(obj) == 2 and not hasattr(obj, "_fields"):
        first, tree = obj
        if _comes_from(first, "flax.linen"):
            from isometry.jax.linen_model import LinenModel

            return LinenModel(first, tree)
        if callable(first) and not hasattr(first, "shape"):
            return TreeModel(tree, first)
    if callable(obj) and not hasattr(obj, "__iter__"):
        raise ArgumentError(
            f"received {obj!r}; expected a Flax or Equinox module, or (function, tree of arrays)"
        )
    return TreeModel(obj)
