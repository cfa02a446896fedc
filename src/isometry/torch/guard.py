"""Run a model and leave no trace: whatever the run changed is put back, also when it raises."""

from __future__ import annotations

import random
import sys
import warnings
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

__all__ = ["as_if_never_run", "measuring_mode"]

TABLES = (dict, OrderedDict, list, set)  # of which a module's own are put back entry by entry


@contextmanager
def as_if_never_run(model: nn.Module) -> Iterator[None]:
    """Restore parameters, buffers, gradients, attributes, train flags and random states.

    Module attributes are restored, and the tables and lists among them (parameters, buffers,
    children, hooks, whatever a forward collects) entry by entry: a cache or a hook that a forward
    leaves on its module is gone. Parameters and buffers are restored by value (a forward may keep
    a moving average in one, or clip its weights), gradients by identity.
    """
    modules = [
        (m, dict(m.__dict__), {k: v.copy() for k, v in m.__dict__.items() if type(v) in TABLES})
        for m in model.modules()
    ]
    held = (*model.parameters(), *model.buffers())
    values = [(t, t.detach().clone(), t.requires_grad, _version(t)) for t in held if not t.is_meta]
    gradients = [(p, p.grad) for p in model.parameters()]
    dtype = torch.get_default_dtype()
    own = [(g, _state(g)) for m in model.modules() for g in vars(m).values() if _state(g)]
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
        for generator, state in own:
            _set_state(generator, state)
        random.setstate(python_state)
        np.random.set_state(numpy_state)
        torch.set_default_dtype(dtype)
        for module, attributes, tables in modules:
            _restore(module.__dict__, attributes)
            for table, entries in tables.items():
                _restore_table(module.__dict__[table], entries)
        for tensor, before, trainable, version in values:
            _restore_value(tensor, before, trainable, version)
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


def _state(value: Any) -> Any:
    """The state of a random generator that a module keeps; None for anything else."""
    if isinstance(value, torch.Generator):
        return (value.get_state(),)
    if isinstance(value, np.random.Generator):
        return (value.bit_generator.state,)
    return (value.getstate(),) if isinstance(value, random.Random) else None


def _set_state(generator: Any, state: Any) -> None:
    if isinstance(generator, torch.Generator):
        generator.set_state(*state)
    elif isinstance(generator, np.random.Generator):
        (generator.bit_generator.state,) = state
    else:
        generator.setstate(*state)


def _restore_table(now: Any, before: Any) -> None:
    """The entries of a dict, list or set, whose identity others may hold on to."""
    if isinstance(now, dict):
        _restore(now, before)
    elif len(now) != len(before) or any(a is not b for a, b in zip(now, before, strict=True)):
        now.clear()
        (now.update if isinstance(now, set) else now.extend)(before)


def _version(tensor: Tensor) -> int | None:
    """How often a tensor was written to, but for writes through `.data`."""
    return None if tensor.is_inference() else tensor._version


def _restore_value(tensor: Tensor, before: Tensor, trainable: bool, version: int | None) -> None:
    if tensor.requires_grad != trainable:
        tensor.requires_grad_(trainable)
    same = tensor.shape == before.shape and tensor.dtype == before.dtype
    if not same:
        tensor.data = before
    elif _version(tensor) != version or not _identical(tensor.detach(), before):
        with torch.no_grad():
            tensor.copy_(before)


def _identical(first: Tensor, second: Tensor) -> bool:
    """Equal, where NaN in the same place is."""
    if first.is_floating_point() or first.is_complex():
        return torch.equal(first, second) or bool(
            torch.where(first.isnan(), second.isnan(), first == second).all()
        )
    return torch.equal(first, second)


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
