"""Outputs of a function and the gradients of an objective, by whatever the backend differentiates with."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from isometry.errors import BackendError

__all__ = ["Forward", "Pulled", "differentiated", "on_host", "value_and_gradients"]

Array = NDArray[Any]
# tensors, what to add at each tap -> outputs by name, taps
Forward = Callable[[Sequence[Any], Mapping[int, Any]], "tuple[dict[str, Any], dict[int, Any]]"]
Wanted = Callable[[dict[str, Array]], "tuple[float | None, Mapping[str, Array]]"]
# loss, outputs, taps, the gradient by each tensor, by each tap
Pulled = tuple["float | None", dict[str, Array], dict[int, Any], list[Any], dict[int, Any]]


def on_host(tensor: Any) -> Array:
    """In NumPy; numbers that NumPy does not know as float32."""
    if hasattr(tensor, "detach"):
        tensor = tensor.detach()
    own = np.asarray(keras.ops.convert_to_numpy(tensor))
    return own if own.dtype.kind in "fiub" else own.astype(np.float32)


def differentiated(
    forward: Forward, tensors: Sequence[Any], taps: Mapping[int, Any], goal: Wanted
) -> Pulled:
    """One run forward and backward.

    Args:
        forward: what is run.
        tensors: by which to differentiate.
        taps: a symbol for each value inside, by which to differentiate too.
        goal: outputs -> loss, and the gradient of the objective by each of them.
    """
    backend = keras.backend.backend()
    if backend not in _BY_BACKEND:
        raise BackendError(
            f"Keras runs on {backend}, which has no gradients; set KERAS_BACKEND to jax, torch or "
            "tensorflow before Keras is imported"
        )
    return _BY_BACKEND[backend](forward, tensors, taps, goal)


def value_and_gradients(
    function: Callable[[dict[str, Any]], Any],
    arrays: Mapping[str, Array],
    dtypes: Mapping[str, str],
) -> tuple[float, dict[str, Array]]:
    """A function's one number, and its gradient by each array."""
    names = list(arrays)
    tensors = [keras.ops.convert_to_tensor(arrays[n], dtype=dtypes[n]) for n in names]

    def forward(given: Sequence[Any], add: Mapping[int, Any]) -> Any:
        value = keras.ops.mean(function(dict(zip(names, given, strict=True))))
        return {"value": value}, {}

    def goal(outputs: dict[str, Array]) -> Any:
        value = outputs["value"]
        return float(value), {"value": np.ones_like(value)}

    loss, _, _, gradients, _ = differentiated(forward, tensors, {}, goal)
    found = {n: on_host(g) for n, g in zip(names, gradients, strict=True) if g is not None}
    return float(loss or 0.0), found


def _jax(forward: Forward, tensors: Sequence[Any], taps: Mapping[int, Any], goal: Wanted) -> Pulled:
    """The gradient by a zero that is added at a value is the gradient there."""
    import jax

    zeros = {k: keras.ops.zeros(t.shape, dtype=t.dtype) for k, t in taps.items()}
    outputs, pull, made = jax.vjp(forward, list(tensors), zeros, has_aux=True)
    hosts = {n: on_host(o) for n, o in outputs.items()}
    loss, wanted = goal(hosts)
    cotangents = {
        n: keras.ops.convert_to_tensor(wanted[n], dtype=o.dtype)
        if n in wanted
        else keras.ops.zeros_like(o)
        for n, o in outputs.items()
    }
    by_tensor, by_tap = pull(cotangents)
    return loss, hosts, made, list(by_tensor), by_tap


def _torch(
    forward: Forward, tensors: Sequence[Any], taps: Mapping[int, Any], goal: Wanted
) -> Pulled:
    import torch

    with torch.enable_grad():
        leaves = [t.detach().clone().requires_grad_(True) for t in tensors]
        outputs, made = forward(leaves, {})
        hosts = {n: on_host(o) for n, o in outputs.items()}
        loss, wanted = goal(hosts)
        ends = [(o, wanted[n]) for n, o in outputs.items() if n in wanted and o.requires_grad]
        inner = {k: t for k, t in made.items() if k in taps and t.requires_grad}
        sources = [*leaves, *inner.values()]
        if not ends:
            return loss, hosts, made, [None] * len(leaves), {}
        found = torch.autograd.grad(
            [o for o, _ in ends], sources,
            [torch.as_tensor(w, dtype=o.dtype, device=o.device) for o, w in ends],
            allow_unused=True,
        )  # fmt: skip
    by_tap = dict(zip(inner, found[len(leaves) :], strict=True))
    kept = {k: g for k, g in by_tap.items() if g is not None}
    return loss, hosts, made, list(found[: len(leaves)]), kept


def _tensorflow(
    forward: Forward, tensors: Sequence[Any], taps: Mapping[int, Any], goal: Wanted
) -> Pulled:
    import tensorflow as tf

    with tf.GradientTape(watch_accessed_variables=False) as tape:
        leaves = [tf.identity(t) for t in tensors]
        tape.watch(leaves)
        outputs, made = forward(leaves, {})
    hosts = {n: on_host(o) for n, o in outputs.items()}
    loss, wanted = goal(hosts)
    ends = [(o, tf.cast(wanted[n], o.dtype)) for n, o in outputs.items() if n in wanted]
    inner = {k: t for k, t in made.items() if k in taps}
    found = tape.gradient(
        [o for o, _ in ends], [*leaves, *inner.values()], [w for _, w in ends]
    )  # fmt: skip
    dense = [None if g is None else tf.convert_to_tensor(g) for g in found]
    by_tap = dict(zip(inner, dense[len(leaves) :], strict=True))
    kept = {k: g for k, g in by_tap.items() if g is not None}
    return loss, hosts, made, dense[: len(leaves)], kept


_BY_BACKEND = {"jax": _jax, "torch": _torch, "tensorflow": _tensorflow}
