"""Values as strict JSON: what two machine formats share."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import fields, is_dataclass

from isometry.types import Law

__all__ = ["dump", "plain", "plain_fields"]


def dump(data: Mapping[str, object]) -> str:
    """JSON with sorted keys, indented by one space. No newline at the end."""
    return json.dumps(data, indent=1, sort_keys=True, allow_nan=False)


def plain(value: object) -> object:
    """What `json` can write: dataclasses as objects, tuples as lists, non-finite as strings.

    Example:
        >>> plain((1.0, float("inf"), float("nan")))
        [1.0, 'inf', 'nan']
    """
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if isinstance(value, Law):
        return value.to_dict()
    if is_dataclass(value):
        return plain_fields(value)
    if isinstance(value, Mapping):
        return {str(k): plain(v) for k, v in value.items()}
    if isinstance(value, (tuple, list)):
        return [plain(v) for v in value]
    return value


def plain_fields(value: object) -> dict[str, object]:
    """The fields of a dataclass; those that take no part in a comparison are no values."""
    return {f.name: plain(getattr(value, f.name)) for f in fields(value) if f.compare}  # type: ignore[arg-type]
