"""Which adapter a model needs: found by its class, imported when first needed."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Protocol

from isometry.errors import ArgumentError, BackendError
from isometry.graph import Graph
from isometry.types import Fans, Location, Measurements, Plan

__all__ = ["FrameworkAdapter", "adapter_for", "framework_of", "on_arrays"]

# The root package of a model's class -> where its adapter is, and what installs it. Keras comes
# first: on its PyTorch backend a Keras layer is an nn.Module too.
_TORCH = ("isometry.torch.adapter", "pip install 'isometry[torch]'")
_KERAS = ("isometry.keras.adapter", "pip install 'isometry[keras]'")
_JAX = ("isometry.jax.adapter", "pip install 'isometry[jax]'")
ADAPTERS = {
    "keras": _KERAS, "flax": _JAX, "equinox": _JAX, "jax": _JAX, "jaxlib": _JAX, "torch": _TORCH,
}  # fmt: skip
# What the frameworks call the class that every model of theirs descends from.
MODELS = ("Module", "Layer")


class FrameworkAdapter(Protocol):
    """What the core asks of a framework."""

    def read(self, model: Any, inputs: Any, loss: Any) -> Graph:
        """The graph of one call of the model."""
        ...

    def in_place(self, model: Any) -> bool:
        """Can the model be written, or is it a value?"""
        ...

    def apply(
        self, plan: Plan, model: Any, *, seed: int,
        include: tuple[str, ...] | None, exclude: tuple[str, ...] | None,
        part: bool | Mapping[str, str] = False, verify: Any = None,
    ) -> Any:  # fmt: skip
        """Write a plan into a model, in place where it can be; the model."""
        ...

    def withdraw(self, model: Any, verify: Any, error: Exception) -> None:
        """Nothing will be applied here: tell the other processes that wait to compare plans."""
        ...

    def calibrate(
        self, plan: Plan, model: Any, inputs: Any, aims: Mapping[str, float], *, seed: int,
        include: tuple[str, ...] | None, exclude: tuple[str, ...] | None, verify: Any = None,
    ) -> dict[str, float]:  # fmt: skip
        """The factor that brings each weight's product to its aim on the inputs."""
        ...

    def measure(
        self,
        model: Any,
        inputs: Any,
        *,
        loss: Any,
        target: Any,
        build: Any,
        probing: bool = True,
        jacobian: bool = False,
    ) -> tuple[Measurements, Graph]:
        """Run the model once, forward and backward, and measure every operation."""
        ...

    def build(self, factory: Callable[[], Any], seed: int) -> Any:
        """A model from a factory, all generators at this seed and put back as they were."""
        ...

    def locate(self, model: Any, names: Iterable[str]) -> Mapping[str, Location]:
        """The line of source that makes each of these layers or parameters."""
        ...

    def fans(self, layer: Any) -> Fans | Mapping[str, Fans]:
        """The fans of a layer's weights."""
        ...

    def function(self, activation: Callable[..., Any]) -> Callable[[Any], Any]:
        """A function of one tensor, on NumPy arrays."""
        ...


def adapter_for(model: object) -> FrameworkAdapter:
    """The adapter of a model (or layer), by the packages its classes come from.

    Raises:
        ArgumentError: it is not a model of a supported framework.
        BackendError: its framework cannot be imported.
    """
    if isinstance(model, type):
        raise ArgumentError(
            f"received the class {model.__name__}, expected a model; write {model.__name__}(...)"
        )
    framework = framework_of(model)
    if framework is not None:
        return _load(*ADAPTERS[framework])
    if _is_tree(model):
        return _load(*_JAX)
    what = getattr(model, "__name__", None) or type(model).__name__
    raise ArgumentError(
        f"received {type(model).__name__} ({what}), expected a model: an instance of "
        "torch.nn.Module, a Keras model, a Flax or Equinox module, or a tree of JAX arrays"
    )


def framework_of(model: object) -> str | None:
    """The root package of the class that makes a value a model; None where it is none."""
    for cls in type(model).__mro__:
        root = cls.__module__.partition(".")[0]
        if root in ADAPTERS and any(c.__name__ in MODELS for c in cls.__mro__):
            return root
    return None


def _load(path: str, install: str) -> FrameworkAdapter:
    try:
        return importlib.import_module(path).adapter  # type: ignore[no-any-return]
    except ImportError as error:
        raise BackendError(f"{path} could not be imported ({error}); {install}") from error


def _is_tree(model: object) -> bool:
    """Is it what JAX computes with: a container of its arrays, or a module with its variables?"""
    jax = sys.modules.get("jax")  # nobody else can have made such arrays
    if jax is None or isinstance(model, str) or not isinstance(model, Iterable):
        return False
    kinds = (jax.Array, jax.ShapeDtypeStruct)
    return any(isinstance(leaf, kinds) for leaf in jax.tree_util.tree_leaves(model))


def on_arrays(activation: Callable[..., Any]) -> Callable[[Any], Any]:
    """A framework's function on NumPy arrays; a NumPy function as it is."""
    roots = {type(activation).__module__, getattr(activation, "__module__", None) or ""}
    roots |= {c.__module__ for c in type(activation).__mro__}
    for root, (path, _) in ADAPTERS.items():
        if root in sys.modules and any(m.partition(".")[0] == root for m in roots):
            return importlib.import_module(path).adapter.function(activation)  # type: ignore[no-any-return]
    return activation
