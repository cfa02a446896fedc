"""A Lightning callback that checks a module before its first step.

from isometry.torch.callbacks.lightning import CheckInitialization

Trainer(callbacks=[CheckInitialization(loss="cross_entropy")]).fit(module, loader)

For `lightning.pytorch` and for `pytorch_lightning`.
"""

from __future__ import annotations

import importlib
import inspect
import sys
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any

from torch import nn

from isometry.errors import ArgumentError, BackendError
from isometry.torch.callbacks._first_step import FirstStep, say

__all__ = ["CheckInitialization"]


def _framework() -> Any:
    """`lightning.pytorch` or `pytorch_lightning`: the one that is in use, else that is there."""
    names = sorted(("lightning.pytorch", "pytorch_lightning"), key=lambda n: n not in sys.modules)
    for name in names:
        try:
            return importlib.import_module(name)
        except ImportError as error:
            reason = error
    raise BackendError(
        f"neither lightning nor pytorch_lightning can be imported ({reason}); "
        "pip install 'isometry[lightning]'"
    ) from reason


if TYPE_CHECKING:
    from lightning.pytorch import Callback, LightningModule, Trainer
else:
    Callback = _framework().Callback


class CheckInitialization(Callback):
    """Check a LightningModule on the batch of its first step, before that step.

    The batch is the one that the training loop has fetched, moved and is about to use; the check
    leaves no trace, so the training is the same to the bit. Where a checkpoint is resumed nothing
    is checked: its weights are no initialisation. Each process judges its own batch, and the
    first one prints.

    What the module reads: a tensor is its input; a tuple or list is (input, target, ...); a dict
    gives the keyword arguments that its forward accepts.

    Args:
        on_error: "raise", "warn", or "ignore" (print, and train on), where the check finds an
            error or cannot be made.
        inputs: batch -> inputs, where the rule above does not fit.
        target: batch -> target of the loss, likewise.
        model: module -> the torch.nn.Module to check, such as `lambda module: module.net`, where
            the module itself has no forward.
        loss: "cross_entropy", ... or a callable loss(output, target), as for `isometry.check`.
        select: only rules whose code begins with one of these.
        ignore: no rule whose code begins with one of these; "ISO401:blocks.3.*" only there.

    Raises:
        ArgumentError: one of them is not such.

    Example:
        >>> CheckInitialization(on_error="warn", loss="cross_entropy", ignore=["ISO901"]).on_error
        'warn'
    """

    def __init__(
        self,
        on_error: str = "raise",
        *,
        inputs: Callable[[Any], Any] | None = None,
        target: Callable[[Any], Any] | None = None,
        model: Callable[[LightningModule], nn.Module] | None = None,
        loss: Any = None,
        select: Iterable[str] = (),
        ignore: Iterable[str] = (),
    ) -> None:
        self.on_error = on_error
        self._model = model
        self._first_step = FirstStep(
            on_error=on_error, inputs=inputs, target=target, loss=loss, select=select, ignore=ignore
        )

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Say that nothing is checked where training goes on from a checkpoint."""
        if not _fresh(trainer):
            say(
                f"isometry: {type(pl_module).__name__} goes on from step {trainer.global_step}; "
                "its weights are no initialisation, and not checked",
                trainer.is_global_zero,
            )

    def on_train_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Check, if this is the first batch of all."""
        if batch_idx == 0 and trainer.current_epoch == 0 and _fresh(trainer):
            model = pl_module if self._model is None else self._model(pl_module)
            self._first_step(model, batch, read, aloud=trainer.is_global_zero)


def _fresh(trainer: Trainer) -> bool:
    return trainer.global_step == 0 and trainer.ckpt_path is None


def read(model: nn.Module, batch: Any) -> tuple[Any, Any]:
    """(inputs, target) of a batch, by its form.

    Example:
        >>> read(nn.Identity(), ("x", "y", "weights"))
        ('x', 'y')
    """
    if type(model).forward.__qualname__ == "LightningModule.forward":  # which only raises
        child = next(
            (name for name, m in model.named_children() if any(True for _ in m.parameters())), "net"
        )
        raise ArgumentError(
            f"{type(model).__name__} has no forward; say what is to be checked: "
            f"CheckInitialization(model=lambda module: module.{child})"
        )
    if isinstance(batch, Mapping):
        return _accepted(model, batch), None
    if isinstance(batch, (tuple, list)) and batch:
        return batch[0], batch[1] if len(batch) > 1 else None
    return batch, None


def _accepted(model: nn.Module, batch: Mapping[str, Any]) -> dict[str, Any]:
    """What of a dict the model's forward takes as keyword arguments."""
    parameters = inspect.signature(model.forward).parameters
    if any(p.kind is p.VAR_KEYWORD for p in parameters.values()):
        return dict(batch)
    taken = {key: value for key, value in batch.items() if key in parameters}
    if not taken:
        first = next(iter(batch), "x")
        raise ArgumentError(
            f"the batch is a dict of {', '.join(map(repr, batch))}, and the forward of "
            f"{type(model).__name__} takes ({', '.join(parameters)}); say what it reads: "
            f"CheckInitialization(inputs=lambda batch: batch[{first!r}])"
        )
    return taken
