"""What a loss is: by name, a Keras loss, a function, or what the model was compiled with."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import keras

from isometry.errors import ArgumentError

__all__ = ["LOSSES", "as_loss", "loss_kind"]

LOSSES = ("cross_entropy", "mse", "bce_with_logits")  # by name
CROSS_ENTROPIES = (
    "categorical_crossentropy", "sparse_categorical_crossentropy", "cross_entropy",
    "CategoricalCrossentropy", "SparseCategoricalCrossentropy", "CategoricalFocalCrossentropy",
    "categorical_focal_crossentropy",
)  # fmt: skip


def as_loss(model: Any, loss: Any) -> tuple[Any, str]:
    """(a name of ours, a function loss(output, target) or None; where it is from).

    A model's own loss takes the target first, as Keras has it; the same loss under one of our names
    is called by that.

    Raises:
        ArgumentError: a loss that is neither a known name nor callable.
    """
    if loss is None:
        own = getattr(model, "loss", None) if getattr(model, "compiled", False) else None
        return (None, "") if own is None else (_from_keras(own), "compiled")
    if isinstance(loss, str) and loss in LOSSES:
        return loss, "given"
    if isinstance(loss, keras.losses.Loss):
        return _from_keras(loss), "given"
    if callable(loss):
        return loss, "given"
    if isinstance(loss, str) and (found := _by_name(loss)) is not None:
        return _from_keras(found), "given"
    raise ArgumentError(
        f"loss={loss!r}; expected None, one of {', '.join(map(repr, LOSSES))}, a Keras loss, or a "
        "callable loss(output, target)"
    )


def loss_kind(model: Any, loss: Any) -> str | None:
    """ "classification" where the loss, or the one that the model was compiled with, is a softmax
    cross-entropy; "other" where another was given; None where nothing is known."""
    as_loss(model, loss)  # refuses what is no loss
    if loss is None and getattr(model, "compiled", False):
        loss = getattr(model, "loss", None)
    if loss is None:
        return None
    while isinstance(loss, partial):
        loss = loss.func
    name = loss if isinstance(loss, str) else getattr(loss, "__name__", type(loss).__name__)
    return "classification" if name in CROSS_ENTROPIES else "other"


def _by_name(name: str) -> Any:
    try:
        return keras.losses.get(name)
    except (ValueError, TypeError):
        return None


def _from_keras(loss: Any) -> Any:
    """Keras's loss as one of ours where it is the same, else as a function (output, target)."""
    if isinstance(loss, (list, tuple, dict)):
        return partial(_several, loss)
    found = _by_name(loss) if isinstance(loss, str) else loss
    if found is None:
        raise ArgumentError(
            f"the model is compiled with loss={loss!r}, which Keras does not know; pass loss="
        )
    return partial(_keras_order, found)


def _keras_order(loss: Callable[..., Any], output: Any, target: Any) -> Any:
    return loss(target, output)


def _several(losses: Any, output: Any, target: Any) -> Any:
    """A loss an output, summed as Keras sums them."""
    if isinstance(losses, dict):
        triples = [(losses[k], output[k], target[k]) for k in losses]
    else:
        triples = list(zip(losses, output, target, strict=True))
    parts = [keras.losses.get(fn)(t, o) for fn, o, t in triples if fn is not None]
    return sum(keras.ops.mean(p) for p in parts)
