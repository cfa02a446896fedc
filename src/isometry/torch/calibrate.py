"""Measure, in one forward pass, by how much each weight misses the second moment it aims at.

A dispatch mode sees every product as it executes. At a weight's first, it measures the product,
rescales weight and product in place, and lets the run go on: what comes later reads what it would
read under the final weights, so that one pass is enough. (LSUV, Mishkin & Matas 2016, runs the
network once a layer and attempt.)
"""

from __future__ import annotations

import math
import random
from collections import Counter
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from isometry.calibration import lost
from isometry.errors import IsometryError
from isometry.recipe.base import significant
from isometry.torch.apply import apply_plan
from isometry.torch.guard import as_if_never_run, measuring_mode
from isometry.torch.inputs import Call, as_call
from isometry.torch.leaves import owned_tensors
from isometry.torch.ops import OPS
from isometry.torch.read import batched_experts, failed_run
from isometry.torch.statistics import moment
from isometry.types import Plan

__all__ = ["calibrate"]

PRODUCTS = ("matmul", "matmul_t", "conv", "bilinear")


def calibrate(
    plan: Plan,
    model: nn.Module,
    inputs: Any,
    aims: Mapping[str, float],
    *,
    seed: int,
    include: tuple[str, ...] | None = None,
    exclude: tuple[str, ...] | None = None,
) -> dict[str, float]:
    """The factor that brings each weight's product to its aim; the model is left as it was.

    The plan is applied and the model run once, in evaluation mode, batch normalisation by the
    batch; then every value is put back.

    Args:
        plan: what is calibrated.
        model: on any device, or on meta.
        inputs: a tensor, a tuple (positional arguments) or a dict (keyword arguments): real data.
        aims: weight -> the second moment that its product should have, before its bias.
        seed, include, exclude: as for `Plan.apply`; what is not written is not calibrated.

    Returns:
        weight -> factor, of the weights that the run multiplied by.

    Raises:
        ModelError: a product is zero everywhere, or not finite; it names the weight.
        TraceError: the model's own forward failed.
    """
    own: dict[int, Tensor] = {}  # a model may write into its inputs, and ask whether two are one
    call = as_call(inputs).map(lambda t: own.setdefault(id(t), t.detach().clone()))
    written = {d.name for d in (plan if include is None else plan.select(include))}
    written -= {d.name for d in plan.select(exclude or ())}
    with as_if_never_run(model), measuring_mode(model), torch.no_grad():
        apply_plan(plan, model, seed=seed, include=include, exclude=exclude)
        named = {e.names[0]: e.tensor for e in owned_tensors(model)}
        rescaling = _Rescaling({n: (named[n], q) for n, q in aims.items() if n in written})
        _run(model, call, rescaling)
        rescaling.settle()
    return rescaling.factors


def _run(model: nn.Module, call: Call, rescaling: _Rescaling) -> None:
    """Call the model; what it draws at random is the same every time."""
    torch.manual_seed(0)
    random.seed(0)
    np.random.seed(0)
    try:
        with batched_experts(model), rescaling:
            model(*call.args, **call.kwargs)
    except IsometryError:
        raise
    except Exception as error:  # a model may raise anything
        raise failed_run(model, call, error) from error


class _Rescaling(TorchDispatchMode):
    """Rescales each of `weights` (name -> tensor, aim) at its first product, while active."""

    def __init__(self, weights: Mapping[str, tuple[Tensor, float]]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.factors: dict[str, float] = {}
        self._weights = weights
        self._silent: set[str] = set()  # all their products so far are zero
        memory = Counter(_memory(tensor) for tensor, _ in weights.values())
        # Where several lie in one memory, which of them an operation reads is not asked.
        self._waiting = {
            key: name for name, (t, _) in weights.items() if memory[key := _memory(t)] == 1
        }

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        kwargs = kwargs or {}
        out = func(*args, **kwargs)
        if self._waiting and isinstance(out, Tensor) and not func._schema.is_mutable:
            make = OPS.get(func.overloadpacket.__name__)
            found = [n for a in args if (n := self._waiting.get(_memory(a))) is not None]
            if make is not None and len(found) == 1:
                op = make(args, kwargs, out)
                if op.op in PRODUCTS and any(_memory(t) in self._waiting for t in op.operands):
                    shift = op.then[0][1] * kwargs.get("beta", 1) if op.then else None
                    if shift is not None and op.op == "conv":
                        shift = shift.view(-1, *(1,) * (out.dim() - 2))
                    self._rescale(found[0], out, shift)
        return out

    def settle(self) -> None:
        """Raise where a weight has made nothing but zeros."""
        for name in self._silent:
            raise lost(name, "zero everywhere", self._weights[name][1])

    def _rescale(self, name: str, out: Tensor, shift: Tensor | None) -> None:
        weight, aim = self._weights[name]
        if shift is not None and not shift.any():
            shift = None
        q, nonfinite = moment(out if shift is None else out - shift)
        if nonfinite or not math.isfinite(q):
            raise lost(name, "not finite", aim)
        if q == 0.0:  # a state that starts at zero: the next product tells
            self._silent.add(name)
            return
        self._silent.discard(name)
        del self._waiting[_memory(weight)]
        factor = significant(math.sqrt(aim / q))
        weight.mul_(factor)
        out.mul_(factor)
        if shift is not None:
            out.add_(shift, alpha=1.0 - factor)
        self.factors[name] = factor


def _memory(value: Any) -> int | None:
    """What tells whether a tensor shows a weight's memory; None for what is no plain tensor."""
    if not isinstance(value, Tensor) or value.layout is not torch.strided:
        return None
    return int(value.untyped_storage()._cdata)
