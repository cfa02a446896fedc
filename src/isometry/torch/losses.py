"""What is differentiated: a loss by name or function, or random unit gradients."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from isometry.errors import ArgumentError
from isometry.measuring import losses
from isometry.measuring.losses import LOSSES
from isometry.torch.read import loss_kind
from isometry.torch.trace import float_outputs

__all__ = ["Objective", "objective", "prior_and_claim"]

SEED = 0x150_BACC


@dataclass(frozen=True, slots=True)
class Objective:
    """What to differentiate: sum of <tensors, gradients>; and the loss, where there is one."""

    tensors: tuple[Tensor, ...]
    gradients: tuple[Tensor | None, ...]
    loss: float | None = None
    classes: int | None = None


def objective(model: nn.Module, output: Any, loss: Any, target: Any) -> Objective:
    """Turn a model's output into what is differentiated.

    Args:
        model: whose class may declare a cross-entropy.
        output: what its forward returned.
        loss: None, one of LOSSES, or a callable loss(output, target).
        target: for the loss; drawn where a named loss has none.

    Raises:
        ArgumentError: a loss of another kind, or one that fails on this output.
    """
    found = float_outputs(output)
    if loss is None:
        return _unit_gradients(model, found)
    main = _main(found)
    if not (isinstance(loss, str) or callable(loss)):
        raise ArgumentError(
            f"loss is {loss!r}; expected None, one of {', '.join(map(repr, LOSSES))}, or a "
            "callable loss(output, target)"
        )
    if isinstance(loss, str) and loss not in LOSSES:
        raise ArgumentError(f"loss={loss!r}; expected one of {', '.join(map(repr, LOSSES))}")
    classes = None
    try:
        if isinstance(loss, str):
            value, classes = _named(loss, _required(main, loss), target)
        else:
            softmax = loss_kind(model, loss) == "classification" and main is not None
            if softmax and main is not None and main.dim() > 1:
                logits, flat, classes = _classified(main, target)
                if target is None:
                    output, target = logits, flat
            value = loss(output, target)
    except ArgumentError:
        raise
    except Exception as error:
        shape = None if main is None else tuple(main.shape)
        raise ArgumentError(
            f"the loss failed on an output of shape {shape}: {type(error).__name__}: {error}; pass "
            "target= as your loss expects it, or a loss(output, target) that takes this output"
        ) from error
    if not isinstance(value, Tensor) or value.numel() == 0 or value.is_complex():
        raise ArgumentError(f"the loss returned {value!r}; expected a real tensor with one number")
    value = value.mean()
    return Objective((value,), (None,), float(value.detach()), classes)


def prior_and_claim(output: Any, target: Any) -> tuple[float | None, float | None]:
    """The share of ones in a target of zeros and ones, and the mean probability that the output
    gives them: its sigmoid, or itself where it is one already. None, None for any other target."""
    main = _main(float_outputs(output))
    if main is None or not isinstance(target, Tensor) or target.shape != main.shape:
        return None, None
    if not bool(((target == 0) | (target == 1)).all()):
        return None, None
    host = {"output": main.detach().cpu().double().numpy()}
    return losses.prior_and_claim(host, target.detach().cpu().double().numpy())


def _required(main: Tensor | None, loss: str) -> Tensor:
    if main is None:
        raise ArgumentError(f"loss={loss!r} needs a floating-point output; the model has none")
    return main


def _main(found: dict[str, Tensor]) -> Tensor | None:
    return found.get("logits", next(iter(found.values()), None))


def _generator() -> torch.Generator:
    return torch.Generator().manual_seed(SEED)


def _unit_gradients(model: nn.Module, found: dict[str, Tensor]) -> Objective:
    """Gaussian gradients of mean square 1/numel: of length 1 for each output."""
    generator = _generator()
    tensors = tuple(t for t in found.values() if t.requires_grad and t.numel())
    gradients = tuple(
        (torch.randn(t.shape, generator=generator) / t.numel() ** 0.5).to(t.device, t.dtype)
        for t in tensors
    )
    loss = classes = None
    logits = found.get("logits")
    if loss_kind(model, None) == "classification" and logits is not None and logits.dim() > 1:
        value, classes = _named("cross_entropy", logits.detach(), None)
        loss = float(value)
    return Objective(tensors, gradients, loss, classes)


def _named(name: str, output: Tensor, target: Any) -> tuple[Tensor, int | None]:
    if name == "cross_entropy":
        logits, flat, classes = _classified(output, target)
        return F.cross_entropy(logits.float(), flat), classes
    draw: Callable[..., Tensor] = torch.randn
    if name == "bce_with_logits":
        target_like = torch.rand(output.shape, generator=_generator()).round()
    else:
        target_like = draw(output.shape, generator=_generator())
    if target is None:
        target = target_like.to(output.device, output.dtype)
    if name == "mse":
        return F.mse_loss(output, target), None
    return F.binary_cross_entropy_with_logits(output, target.to(output.dtype)), None


def _classified(output: Tensor, target: Any) -> tuple[Tensor, Tensor, int]:
    """Logits and target as torch's cross_entropy takes them, and the number of classes.

    Classes lie along axis 1, as torch has it; a sequence (batch, tokens, classes) whose target is
    (batch, tokens), or is drawn, is flattened.
    """
    if output.dim() < 2:
        raise ArgumentError(
            f"cross_entropy needs logits (batch, classes, ...); the output is {tuple(output.shape)}"
        )
    last = output.dim() == 3
    if isinstance(target, Tensor):
        torch_way = (
            target.shape == (output.shape[0], *output.shape[2:]) or target.shape == output.shape
        )
        last = not torch_way and target.shape[: output.dim() - 1] == output.shape[:-1]
    if last:
        classes = output.shape[-1]
        output = output.reshape(-1, classes)
        if isinstance(target, Tensor):
            target = target.reshape(-1, *target.shape[output.dim() + 1 :])
    classes = output.shape[1]
    if target is None:
        shape = (output.shape[0], *output.shape[2:])
        target = torch.randint(classes, shape, generator=_generator()).to(output.device)
    return output, target, classes
