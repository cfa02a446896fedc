"""What a loss is: by name, a Keras loss, a function, or what the model was compiled with."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import keras
import numpy as np

from isometry.errors import ArgumentError
from isometry.measuring.losses import LOSSES

__all__ = ["Loss", "as_loss", "drawn_target", "loss_kind"]

SEED = 0x150_BACC

CROSS_ENTROPIES = (
    "categorical_crossentropy", "sparse_categorical_crossentropy", "cross_entropy",
    "CategoricalCrossentropy", "SparseCategoricalCrossentropy", "CategoricalFocalCrossentropy",
    "categorical_focal_crossentropy",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Loss:
    """A loss: by a `name` of ours, or a `function` of (output, target). Both, where the name is that
    of the loss on what goes into the model's last softmax or sigmoid (`before`), and Keras's takes
    what comes out of it."""

    name: str | None = None
    function: Callable[[Any, Any], Any] | None = None
    before: str = ""


def as_loss(model: Any, loss: Any) -> Loss | None:
    """What is differentiated; None where no loss is given and the model was compiled with none.

    A model's own loss takes the target first, as Keras has it; the same loss under one of our names
    is called by that.

    Raises:
        ArgumentError: a loss that is neither a known name nor callable.
    """
    if loss is None:
        own = getattr(model, "loss", None) if getattr(model, "compiled", False) else None
        return None if own is None else _from_keras(own)
    if isinstance(loss, str) and loss in LOSSES:
        return Loss(loss)
    if isinstance(loss, keras.losses.Loss):
        return _from_keras(loss)
    if callable(loss):
        own_kind = getattr(loss, "__module__", "") or ""
        return _from_keras(loss) if own_kind.startswith("keras.") else Loss(None, loss)
    if isinstance(loss, str) and (found := _by_name(loss)) is not None:
        return _from_keras(found)
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


def _from_keras(loss: Any) -> Loss:
    """Keras's loss as one of ours where it is the same, else as a function (output, target)."""
    if isinstance(loss, (list, tuple, dict)):
        return Loss(None, partial(_several, loss))
    found = _by_name(loss) if isinstance(loss, str) else loss
    if found is None:
        raise ArgumentError(
            f"the model is compiled with loss={loss!r}, which Keras does not know; pass loss="
        )
    name, before = _ours(found)
    function = partial(_keras_order, found)
    return Loss(name, None if name and not before else function, before)


def _ours(loss: Any) -> tuple[str | None, str]:
    """The name of ours that a Keras loss is the same as, a mean over all places; and the operation
    whose output it takes, where that is no logits."""
    name, logits = _name(loss), getattr(loss, "from_logits", False)
    plain = getattr(loss, "reduction", "mean") in ("sum_over_batch_size", "mean")
    plain = plain and not getattr(loss, "label_smoothing", 0) and getattr(loss, "axis", -1) == -1
    if not plain or getattr(loss, "ignore_class", None) is not None:
        return None, ""
    if name in ("mean_squared_error", "MeanSquaredError"):
        return "mse", ""
    if name in CROSS_ENTROPIES[:5] and name != "cross_entropy":
        return "cross_entropy", "" if logits else "Softmax"
    if name in ("binary_crossentropy", "BinaryCrossentropy"):
        return "bce_with_logits", "" if logits else "Sigmoid"
    return None, ""


def drawn_target(loss: Any, output: Any) -> Any:
    """A target at random for a loss of Keras's; None for any other."""
    if (
        not isinstance(loss, partial)
        or loss.func is not _keras_order
        or not hasattr(output, "shape")
    ):
        return None
    rng, shape, name = np.random.default_rng(SEED), tuple(output.shape), _name(loss.args[0]).lower()
    if "sparse" in name:
        return rng.integers(shape[-1], size=shape[:-1])
    if "categorical" in name or name.startswith("kl"):
        return np.eye(shape[-1], dtype=np.float32)[rng.integers(shape[-1], size=shape[:-1])]
    normal = rng.standard_normal(shape).astype(np.float32)
    return (normal > 0).astype(np.float32) if "binary" in name or "hinge" in name else normal


def _name(loss: Any) -> str:
    return str(getattr(loss, "__name__", type(loss).__name__))


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
