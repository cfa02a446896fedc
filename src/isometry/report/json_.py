"""The report as strict JSON, for machines. Format 1; its schema is docs/schema/report-1.json:

    format        1; raised when a key changes its meaning or goes
    model         the model's name
    ok            true where no finding is an error
    judged        false where the weights look trained: nothing is said of them
    seeds         how many further builds were judged, where a factory was given
    loss          the initial loss, or null where none was asked for
    findings      [{code, name, severity, where, evidence, cause, fix, data, parameters, laws,
                  location}], worst first
    not_checked   [{what, why}]: what could not be judged, which is not the same as passed
    layers        one object an operation, in execution order, with the fields of
                  `isometry.types.Measurement`: layer, op, node, shape, samples, mean, q, std, c,
                  zeros, saturated, dead, nonfinite, grad, grad_nonfinite, tokens, predicted,
                  predicted_c, predicted_grad
    parameters    one object a parameter, with the fields of `ParameterMeasurement`
    histograms    [{layer, what, name, edges, counts}] of what findings concern
    jacobian      {values, inputs, outputs, exact}: the singular values from input to output, the
                  largest first, or null where they were not asked for

Keys are sorted. What was not measured is null. JSON has no NaN and no infinity: they are the
strings "nan", "inf" and "-inf".
"""

from __future__ import annotations

from isometry.report._json import dump, plain_fields
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
    return dump({"format": FORMAT, "ok": report.ok, **plain_fields(report)})
