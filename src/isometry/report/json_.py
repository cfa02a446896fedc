"""The report as strict JSON, for machines. Format 1:

    format        1; raised when a key changes its meaning or goes
    model         the model's name
    ok            true where no finding is an error
    loss          the initial loss, or null where none was asked for
    findings      [{code, name, severity, where, evidence, cause, fix, data}], worst first as given
    not_checked   [{what, why}]: what could not be judged, which is not the same as passed
    layers        one object an operation, in execution order, with the fields of
                  `isometry.types.Measurement`: layer, op, node, shape, samples, mean, q, std, c,
                  zeros, saturated, dead, nonfinite, grad, grad_nonfinite
    parameters    one object a parameter, with the fields of `ParameterMeasurement`

Keys are sorted. What was not measured is null. JSON has no NaN and no infinity: they are the
strings "nan", "inf" and "-inf".
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import fields, is_dataclass

from isometry.types import Report

__all__ = ["FORMAT", "render"]

FORMAT = 1


def render(report: Report) -> str:
    """The report as JSON, indented by one space; see the module for its keys.

    Args:
        report: what `isometry.check` returned.

    Returns:
        One JSON object as text. No newline at the end.

    Example:
        >>> import json
        >>> from isometry.types import Report
        >>> json.loads(render(Report("MLP", (), (), (), ())))["ok"]
        True
    """
    data = {"format": FORMAT, "ok": report.ok, **_plain_fields(report)}
    return json.dumps(data, indent=1, sort_keys=True, allow_nan=False)


def _plain_fields(value: object) -> dict[str, object]:
    return {f.name: _plain(getattr(value, f.name)) for f in fields(value)}  # type: ignore[arg-type]


def _plain(value: object) -> object:
    """What `json` can write: dataclasses as objects, tuples as lists, non-finite as strings."""
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if is_dataclass(value):
        return _plain_fields(value)
    if isinstance(value, Mapping):
        return {str(k): _plain(v) for k, v in value.items()}
    if isinstance(value, (tuple, list)):
        return [_plain(v) for v in value]
    return value
