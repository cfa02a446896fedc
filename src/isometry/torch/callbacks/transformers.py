"""A transformers `TrainerCallback` that checks a model before its first step.

from isometry.torch.callbacks.transformers import CheckInitialization

Trainer(model, args, train_dataset=data, callbacks=[CheckInitialization()]).train()

It waits for the trainer's first call of the model.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
from torch import nn
from torch.utils.hooks import RemovableHandle

from isometry.errors import BackendError
from isometry.torch.callbacks._first_step import FirstStep, say

try:
    from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments
except ImportError as error:
    raise BackendError(
        f"transformers cannot be imported ({error}); pip install 'transformers[torch]'"
    ) from error

__all__ = ["CheckInitialization"]

# What the trainer adds for the loss alone.
LOSS_ONLY = ("labels", "num_items_in_batch", "return_loss")


class CheckInitialization(TrainerCallback):
    """Check a model on the batch of its first step, before that step.

    The model is checked when the trainer first calls it to train, with what it is called with:
    no data loader is touched and the check leaves no trace, so the training is the same to the
    bit. Where a checkpoint is resumed nothing is checked; weights that look trained are
    recognised, and not judged. Each process judges its own batch, and the first one prints.

    The model is called without its labels, which are the target of `loss`.

    Args:
        on_error: "raise", "warn", or "ignore" (print, and train on), where the check finds an
            error or cannot be made.
        inputs: batch (a dict) -> inputs, where they are others.
        target: batch -> target of the loss, likewise.
        loss: as for `isometry.check`; None: what the model's class declares.
        select: only rules whose code begins with one of these.
        ignore: no rule whose code begins with one of these; "ISO401:blocks.3.*" only there.

    Raises:
        ArgumentError: one of them is not such.

    Example:
        >>> CheckInitialization(on_error="warn", ignore=["ISO901"]).on_error
        'warn'
    """

    def __init__(
        self,
        on_error: str = "raise",
        *,
        inputs: Callable[[Any], Any] | None = None,
        target: Callable[[Any], Any] | None = None,
        loss: Any = None,
        select: Iterable[str] = (),
        ignore: Iterable[str] = (),
    ) -> None:
        self.on_error = on_error
        self._hook: RemovableHandle | None = None
        self._first_step = FirstStep(
            on_error=on_error, inputs=inputs, target=target, loss=loss, select=select, ignore=ignore
        )

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Wait for the model to be called; or say that nothing is checked."""
        model: nn.Module = kwargs["model"]
        aloud = state.is_world_process_zero
        if state.global_step > 0:
            say(
                f"isometry: {type(model).__name__} goes on from step {state.global_step}; "
                "its weights are no initialisation, and not checked",
                aloud,
            )
            return

        def first_call(called: nn.Module, args: tuple[Any, ...], batch: dict[str, Any]) -> None:
            # An evaluation before the first step is not it, nor is a replica on another device.
            if called is model and model.training:
                self._stop_waiting()
                self._first_step(model, batch, read, aloud=aloud)

        if "torch._dynamo" in sys.modules:  # the model may be compiled, its check must not be
            first_call = torch.compiler.disable(first_call)
        self._hook = model.register_forward_pre_hook(first_call, with_kwargs=True)

    def on_train_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Say so where the trainer never called the model itself."""
        if self._stop_waiting():
            say(
                "isometry: the trainer did not call the model itself; it was not checked",
                state.is_world_process_zero,
            )

    def _stop_waiting(self) -> bool:
        """Take the hook away; was there one?"""
        hook, self._hook = self._hook, None
        if hook is not None:
            hook.remove()
        return hook is not None


def read(model: Any, batch: Mapping[str, Any]) -> tuple[dict[str, Any], Any]:
    """(inputs, target) of what a trainer calls a model with."""
    inputs = {key: value for key, value in batch.items() if key not in LOSS_ONLY}
    labels = batch.get("labels")
    make = getattr(model, "prepare_decoder_input_ids_from_labels", None)
    if make is not None and labels is not None and "decoder_input_ids" not in inputs:
        inputs["decoder_input_ids"] = make(labels=labels)  # what it would make of them itself
    return inputs, labels
