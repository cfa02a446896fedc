"""What is differentiated: a loss by name, in closed form, or random unit gradients."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from isometry.errors import ArgumentError
from isometry.measuring.runner import Goal

__all__ = ["LOSSES", "Objective", "kind_of", "objective", "prior_and_claim"]

Array = NDArray[Any]
Wide = NDArray[np.float64]

LOSSES = ("cross_entropy", "mse", "bce_with_logits")  # by name
# What PyTorch and optax call a softmax cross-entropy of logits.
CROSS_ENTROPIES = (
    "cross_entropy",
    "nll",
    "nll_loss",
    "CrossEntropyLoss",
    "NLLLoss",
    "softmax_cross_entropy",
    "softmax_cross_entropy_with_integer_labels",
)
SEED = 0x150_BACC
# The losses run under errstate: an output that is not finite is measured and said, not warned of.


@dataclass(frozen=True, slots=True)
class Objective:
    """A goal, and the number of classes where it is a cross-entropy."""

    goal: Goal
    classes: int | None = None


def kind_of(loss: Any) -> str | None:
    """ "classification" where a loss is a softmax cross-entropy of logits, "other" where it is
    another; None where there is none.

    Raises:
        ArgumentError: a loss that is neither a known name nor callable.
    """
    if loss is None:
        return None
    if not (callable(loss) or (isinstance(loss, str) and loss in LOSSES)):
        raise ArgumentError(
            f"loss={loss!r}; expected None, one of {', '.join(map(repr, LOSSES))}, or a callable "
            "loss(output, target)"
        )
    while isinstance(loss, partial):
        loss = loss.func
    name = loss if isinstance(loss, str) else getattr(loss, "__name__", type(loss).__name__)
    return "classification" if name in CROSS_ENTROPIES else "other"


def objective(outputs: Mapping[str, Array], loss: str | None, target: Any) -> Objective:
    """What to differentiate of these outputs.

    Args:
        outputs: the model's, by name.
        loss: one of LOSSES; None sends Gaussian gradients of length 1 back from every output.
        target: for the loss; drawn where it is None. Classes are integers, one for each place of
            the output but its last axis, or probabilities of the output's shape.

    Raises:
        ArgumentError: another loss, or an output or target that it does not take.
    """
    if loss is None:
        return Objective(_unit_gradients)
    if loss not in LOSSES:
        raise ArgumentError(f"loss={loss!r}; expected one of {', '.join(map(repr, LOSSES))}")
    name, main = _main(outputs, loss)
    shape = main.shape
    given = None if target is None else np.asarray(target)
    generator = np.random.default_rng(SEED)
    if loss == "cross_entropy":
        if len(shape) < 2:
            raise ArgumentError(
                f"cross_entropy needs logits (batch, ..., classes); the output is {shape}"
            )
        classes = shape[-1]
        wanted = _classes(given, shape, generator)
        return Objective(lambda o: _cross_entropy(o, name, wanted), classes)
    if given is None:
        drawn = generator.normal(size=shape)
        given = drawn if loss == "mse" else (drawn > 0).astype(np.float64)
    if given.shape != shape:
        raise ArgumentError(
            f"target has shape {given.shape}, the output {shape}; {loss} compares them element by "
            "element"
        )
    wide = np.asarray(given, np.float64)
    if loss == "mse":
        return Objective(lambda o: _mse(o, name, wide))
    return Objective(lambda o: _bce(o, name, wide))


def prior_and_claim(outputs: Mapping[str, Array], target: Any) -> tuple[float | None, float | None]:
    """The share of ones in a target of zeros and ones, and the mean probability that the output
    gives them: its sigmoid, or itself where it is one already. None, None for any other target."""
    main = outputs.get("logits", next(iter(outputs.values()), None))
    if main is None or tuple(getattr(target, "shape", ())) != main.shape or not main.ndim:
        return None, None
    given = np.asarray(target, np.float64)
    if not ((given == 0) | (given == 1)).all():
        return None, None
    wide = np.asarray(main, np.float64)
    squashed = bool(((wide >= 0) & (wide <= 1)).all())
    return float(given.mean()), float((wide if squashed else _sigmoid(wide)).mean())


def _main(outputs: Mapping[str, Array], loss: str) -> tuple[str, Array]:
    if not outputs:
        raise ArgumentError(f"loss={loss!r} needs a floating-point output; the model has none")
    name = "logits" if "logits" in outputs else next(iter(outputs))
    return name, outputs[name]


def _unit_gradients(outputs: Mapping[str, Array]) -> tuple[None, dict[str, Array]]:
    """Gaussian gradients of mean square 1/size: of length 1 for each output."""
    generator = np.random.default_rng(SEED)
    return None, {
        name: (generator.normal(size=o.shape) / max(o.size, 1) ** 0.5).astype(o.dtype)
        for name, o in outputs.items()
    }


def _classes(target: Array | None, shape: tuple[int, ...], generator: np.random.Generator) -> Wide:
    """The probabilities wanted, one row for each place."""
    classes = shape[-1]
    if target is None:
        target = generator.integers(classes, size=shape[:-1])
    if target.shape == shape and target.dtype.kind == "f":
        return np.asarray(target, np.float64).reshape(-1, classes)
    flat = target.reshape(-1)
    if flat.size != int(np.prod(shape[:-1])) or target.dtype.kind not in "iuf":
        raise ArgumentError(
            f"target has shape {target.shape} and dtype {target.dtype}; cross_entropy on an output "
            f"of shape {shape} expects integers of shape {shape[:-1]}, or probabilities of the "
            "output's shape"
        )
    index = flat.astype(np.int64)
    if index.size and not (index.min() >= 0 and index.max() < classes):
        raise ArgumentError(
            f"target has the class {int(index.max() if index.max() >= classes else index.min())}; "
            f"expected integers in [0, {classes})"
        )
    return np.eye(classes)[index]


@np.errstate(all="ignore")
def _cross_entropy(
    outputs: Mapping[str, Array], name: str, wanted: Wide
) -> tuple[float, dict[str, Array]]:
    logits = np.asarray(outputs[name], np.float64).reshape(wanted.shape)
    with np.errstate(invalid="ignore"):  # of infinite logits there is no loss: it is NaN
        shifted = logits - logits.max(axis=1, keepdims=True)
        log_p = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
        gradient = (np.exp(log_p) * wanted.sum(axis=1, keepdims=True) - wanted) / len(wanted)
        loss = float(-(wanted * log_p).sum() / len(wanted))
    return loss, _only(outputs, name, gradient)


@np.errstate(all="ignore")
def _mse(outputs: Mapping[str, Array], name: str, target: Wide) -> tuple[float, dict[str, Array]]:
    apart = np.asarray(outputs[name], np.float64) - target
    return float(np.square(apart).mean()), _only(outputs, name, 2 * apart / apart.size)


@np.errstate(all="ignore")
def _bce(outputs: Mapping[str, Array], name: str, target: Wide) -> tuple[float, dict[str, Array]]:
    x = np.asarray(outputs[name], np.float64)
    with np.errstate(invalid="ignore"):
        value = np.maximum(x, 0) - x * target + np.log1p(np.exp(-np.abs(x)))
        loss = float(value.mean())
    return loss, _only(outputs, name, (_sigmoid(x) - target) / x.size)


@np.errstate(all="ignore")
def _sigmoid(x: Wide) -> Wide:
    with np.errstate(invalid="ignore"):
        return np.exp(-np.logaddexp(0.0, -x))


def _only(outputs: Mapping[str, Array], name: str, gradient: Wide) -> dict[str, Array]:
    output = outputs[name]
    with np.errstate(over="ignore", invalid="ignore"):  # half precision
        return {name: gradient.reshape(output.shape).astype(output.dtype)}
