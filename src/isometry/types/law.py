"""What every law is: a frozen value with a variance, that can be written down exactly."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from typing import ClassVar

from isometry.errors import ArgumentError

__all__ = ["SCALE_MAX", "SCALE_MIN", "Law", "number", "scale"]

SCALE_MIN, SCALE_MAX = 2.0**-80, 2.0**80


def number(owner: object, field: str, value: object) -> float:
    """A finite number, for a field of a law."""
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        raise ArgumentError(
            f"{type(owner).__name__}({field}={value!r}): {field} must be a finite number"
        )
    return float(value)


def scale(owner: object, field: str, value: object) -> float:
    """A scale that float32 can carry without touching a subnormal: [2^-80, 2^80]."""
    found = number(owner, field, value)
    if not SCALE_MIN <= found <= SCALE_MAX:
        hint = "; for zeros write Constant(0.0)" if found == 0 else ""
        raise ArgumentError(
            f"{type(owner).__name__}({field}={value!r}): {field} must lie in [2^-80, 2^80]{hint}"
        )
    return found


@dataclass(frozen=True, slots=True)
class Law:
    """The distribution of one tensor's elements. Use a subclass."""

    random: ClassVar[bool] = False  # does it draw from the stream?
    elementwise: ClassVar[bool] = True  # is element i a function of word i alone?

    @property
    def variance(self) -> float:
        """The variance of one element."""
        raise ArgumentError(f"{type(self).__name__} has no variance of its own: it keeps values")

    def to_dict(self) -> dict[str, object]:
        """A JSON-ready form; floats in hex, so that nothing is lost on the way."""
        out: dict[str, object] = {"law": type(self).__name__}
        for field in fields(self):
            value = getattr(self, field.name)
            out[field.name] = value.hex() if isinstance(value, float) else value
        return out

    def __str__(self) -> str:
        parts = []
        for place, field in enumerate(fields(self)):
            value = getattr(self, field.name)
            if value is None or (value == field.default and place > 0):
                continue
            parts.append(f"{value:.4g}" if isinstance(value, float) else str(value))
        return f"{type(self).__name__}({', '.join(parts)})"
