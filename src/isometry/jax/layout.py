"""One parameter in PyTorch's layout: what the tables of layers are written with."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from isometry.graph import Hint, Range
from isometry.types import Axes, Fans, Stored

__all__ = ["GATES", "Layout", "flat", "gate_bias", "gate_blocks", "numbers", "same", "table"]

GATES = {
    "OptimizedLSTMCell": ("i", "f", "g", "o"), "LSTMCell": ("i", "f", "g", "o"),
    "GRUCell": ("r", "z", "n"),
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Layout:
    """A parameter in PyTorch's layout: its shape, how the array lies, and what its class says; the
    `owner` and the `slot` that PyTorch has for the biases of gates."""

    shape: tuple[int, ...]
    stored: Stored | None = None
    hint: Hint | None = None
    owner: str = ""
    slot: str = ""


def same(shape: tuple[int, ...]) -> Stored:
    """An array that lies as PyTorch's does, said as such."""
    return Stored(shape, tuple(range(len(shape))))


def flat(shape: tuple[int, ...], axes: int) -> Layout:
    """A bias, whose last axes are one of PyTorch's."""
    at = max(0, len(shape) - axes)
    whole = (*shape[:at], math.prod(shape[at:]))
    return Layout(whole, same(shape), Hint("bias"))


def table(shape: tuple[int, ...]) -> Layout:
    axes = Axes((), (len(shape) - 1,), (len(shape) - 2,))
    fans = Fans(1.0, float(shape[-1]))
    return Layout(shape, same(shape), Hint("embedding", axes, fans))


def numbers(value: Any, count: int) -> tuple[int, ...]:
    """One number an axis, of one for all or none (which is 1)."""
    if value is None:
        return (1,) * count
    return tuple(value) if isinstance(value, (tuple, list)) else (int(value),) * count


def gate_blocks(gates: tuple[str, ...], rows: int) -> tuple[Range, ...]:
    size = rows // max(len(gates), 1)
    return tuple(Range(n, 0, i * size, (i + 1) * size) for i, n in enumerate(gates))


def gate_bias(found: Layout, gates: tuple[str, ...], cell: str) -> Layout:
    """The one bias of some gates, which is PyTorch's first of two."""
    hint = Hint("bias", blocks=gate_blocks(gates, found.shape[-1]), recurrent=bool(gates))
    owner = cell.removeprefix("Optimized")
    return Layout(found.shape, found.stored, hint, owner, "bias_ih" if gates else "")
