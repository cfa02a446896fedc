"""How a framework stores a tensor that PyTorch lays out in another order."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

__all__ = ["Stored"]


@dataclass(frozen=True, slots=True)
class Stored:
    """Where the elements of a tensor lie in a framework's own array.

    A plan speaks of tensors as PyTorch lays them out. The array, its axes put into `order`, is that
    tensor, element for element in row-major order: a Dense kernel (in, out) has order (1, 0), and one of
    shape (in, heads, size) has order (1, 2, 0), heads and size being one axis of PyTorch's.

    Attributes:
        shape: of the framework's array.
        order: the array's axes as the stream runs through them, the slowest first.
        flipped: axes of the array along which it runs backwards, such as the kernel of a
            transposed convolution that is written as a convolution of its own.
        gates: block b of `gate_axis` is PyTorch's block gates[b], where they are stacked otherwise.
        gate_axis: the array's axis along which gates are stacked.
    """

    shape: tuple[int, ...]
    order: tuple[int, ...]
    flipped: tuple[int, ...] = ()
    gates: tuple[int, ...] = ()
    gate_axis: int = 0

    def to_dict(self) -> dict[str, Any]:
        """A JSON-ready form."""
        return {field: getattr(self, field) for field in self.__slots__}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Stored:
        """What `to_dict` wrote."""
        lists = {k: tuple(v) for k, v in data.items() if k != "gate_axis"}
        return cls(**lists, gate_axis=int(data["gate_axis"]))
