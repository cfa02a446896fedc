"""Run a model and leave no trace: whatever the run changed is put back, also when it raises."""

from __future__ import annotations

import random
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import nn

__all__ = ["as_if_never_run", "measuring_mode"]


@contextmanager
def as_if_never_run(model: nn.Module) -> Iterator[None]:
    """Restore parameters, buffers, gradients, attributes, train flags and random states.

    Module attributes are restored, and the tables among them (parameters, buffers, children,
    hooks) entry by entry: a cache or a hook that a forward leaves on its module is gone.
    Buffers are restored by value, parameters by identity (a forward does not write to them) and
    their gradients by identity.
    """
    modules = [
        (m, dict(m.__dict__), {k: dict(v) for k, v in m.__dict__.items() if isinstance(v, dict)})
        for m in model.modules()
    ]
    buffers = [(b, b.clone()) for b in model.buffers() if not b.is_meta]
    gradients = [(p, p.grad) for p in model.parameters()]
    python_state, numpy_state = random.getstate(), np.random.get_state()
    fastpath = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)  # it would hide the layers it fuses
    try:
        with torch.random.fork_rng(devices=range(torch.cuda.device_count())), _not_compiled():
            for parameter, _ in gradients:
                parameter.grad = None
            yield
    finally:
        torch.backends.mha.set_fastpath_enabled(fastpath)
        random.setstate(python_state)
        np.random.set_state(numpy_state)
        for module, attributes, tables in modules:
            _restore(module.__dict__, attributes)
            for table, entries in tables.items():
                _restore(module.__dict__[table], entries)
        with torch.no_grad():
            for buffer, before in buffers:
                if not torch.equal(buffer, before):
                    buffer.copy_(before)
        for parameter, gradient in gradients:
            parameter.grad = gradient


@contextmanager
def _not_compiled() -> Iterator[None]:
    """Run the model's own code where torch.compile would run another: its operations are hidden."""
    if "torch._dynamo" not in sys.modules:  # then nothing is compiled, and importing it is slow
        yield
        return
    with warnings.catch_warnings(), torch.compiler.set_stance("force_eager"):
        # Its module fires the hooks that say which module runs once more: no harm is done.
        warnings.filterwarnings("ignore", "Using `torch.compile", UserWarning)
        yield


def _restore(now: dict[str, Any], before: dict[str, Any]) -> None:
    if now.keys() != before.keys() or any(now[k] is not v for k, v in before.items()):
        now.clear()
        now.update(before)


@contextmanager
def measuring_mode(model: nn.Module) -> Iterator[None]:
    """Evaluation mode, but normalisation by the batch as in training: what a first step sees,
    without the noise of dropout and of skipped layers."""
    flags = [(m, m.training) for m in model.modules()]
    model.eval()
    for module, _ in flags:
        if isinstance(
            module, (nn.modules.batchnorm._BatchNorm, nn.modules.instancenorm._InstanceNorm)
        ):
            module.training = True
    try:
        yield
    finally:
        for module, training in flags:
            module.training = training
