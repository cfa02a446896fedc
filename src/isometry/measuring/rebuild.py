"""Two builds of a model from one seed: what differs was set by another source, or never."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from isometry.types import NotChecked, ParameterMeasurement

__all__ = ["compare_builds"]


def equal_or_different(first: Any, second: Any) -> str:
    """Bit for bit, NaN being equal to itself."""
    a, b = np.asarray(first), np.asarray(second)
    return "equal" if a.dtype == b.dtype and a.tobytes() == b.tobytes() else "different"


def compare_builds(
    measured: tuple[ParameterMeasurement, ...],
    first: Mapping[str, Any],
    second: Mapping[str, Any],
    not_checked: list[NotChecked],
    *,
    verdict: Callable[[Any, Any], str] = equal_or_different,
) -> tuple[ParameterMeasurement, ...]:
    """Note for each parameter whether two builds agree.

    Args:
        measured: of the model that is checked.
        first, second: name -> array, of two models that a factory built from one seed; in any
            layout.
        not_checked: told where they are not the same model, or not the one that is checked.
        verdict: what to say of two arrays.

    Example:
        >>> one = ParameterMeasurement("w", (2,), 0.0, 1.0, 0.0, None, 0.0, "")
        >>> compare_builds((one,), {"w": np.ones(2)}, {"w": np.zeros(2)}, [])[0].rebuilt
        'different'
    """
    if {n: a.shape for n, a in first.items()} != {n: a.shape for n, a in second.items()}:
        why = "build() does not return the same model twice"
        not_checked.append(NotChecked("what two builds share", why))
        return measured
    out = []
    for m in measured:
        if m.name not in first or math.prod(first[m.name].shape) != math.prod(m.shape):
            not_checked.append(NotChecked(m.name, "build() returns a model without it"))
            out.append(m)
        else:
            out.append(replace(m, rebuilt=verdict(first[m.name], second[m.name])))
    return tuple(out)
