"""Measurements, Graph -> Report: the rules' findings, one for each cause, the worst first."""

from __future__ import annotations

from collections.abc import Iterable

from isometry.checker.reading import Reading
from isometry.checker.rules import RULES
from isometry.errors import ArgumentError
from isometry.graph import Graph
from isometry.types import SEVERITIES, Finding, Measurements, NotChecked, Report

__all__ = ["judge"]

FEWEST = 32  # samples, below which no unit is called dead


def judge(
    measurements: Measurements,
    graph: Graph,
    ignore: Iterable[str] = (),
    select: Iterable[str] = (),
) -> Report:
    """Apply the rules to what was measured.

    A finding that follows from another is left out: one finding for one cause, where it starts.

    Args:
        measurements: of one run of a model.
        graph: of the same run.
        ignore: codes or their beginnings ("ISO901", "ISO3"): not reported.
        select: codes or their beginnings: only these rules run. None given: all.

    Returns:
        The report, errors first, each severity in the order of execution.

    Raises:
        ArgumentError: a code that is the beginning of no rule's.
    """
    ignore, select = _prefixes(ignore), _prefixes(select)
    reading = Reading(measurements, graph)
    found = [
        finding
        for code, rule in RULES.items()
        if not select or code.startswith(select)
        for finding in rule.check(reading)
    ]
    kept: list[Finding] = []
    for finding in found:  # in the order of RULES: causes come before what follows from them
        if not any(_explains(cause, finding) for cause in kept):
            kept.append(finding)
    shown = [f for f in kept if not (ignore and f.code.startswith(ignore))]
    shown.sort(key=lambda f: (SEVERITIES.index(f.severity), *_origin(f)))
    return Report(
        model=measurements.model,
        findings=tuple(shown),
        layers=measurements.layers,
        parameters=measurements.parameters,
        not_checked=(*measurements.not_checked, *_not_checked(reading)),
        loss=measurements.loss,
    )


def _prefixes(codes: Iterable[str]) -> tuple[str, ...]:
    codes = (codes,) if isinstance(codes, str) else tuple(codes)
    for code in codes:
        if not isinstance(code, str) or not code or not any(c.startswith(code) for c in RULES):
            raise ArgumentError(
                f"{code!r} is the beginning of no rule's code; expected one of {', '.join(RULES)}, "
                "or the beginning of some, such as 'ISO2'"
            )
    return codes


def _origin(finding: Finding) -> tuple[int, int]:
    """Where a finding starts, then which rule is asked first."""
    return (_node(finding, "first"), list(RULES).index(finding.code))


def _node(finding: Finding, key: str) -> int:
    return int(finding.data.get(key, 0))


def _explains(cause: Finding, finding: Finding) -> bool:
    """Does one finding follow from another: of a family that it brings about, no worse, and in
    the layers it concerns or, for some, after them?"""
    rule = RULES[cause.code]
    if not finding.code.startswith(rule.EXPLAINS or ("-",)):
        return False
    if SEVERITIES.index(cause.severity) > SEVERITIES.index(finding.severity):
        return False
    if rule.DOWNSTREAM:
        return _node(finding, "last") >= _node(cause, "first")
    return _node(finding, "first") <= _node(cause, "last") and _node(finding, "last") >= _node(
        cause, "first"
    )


def _not_checked(reading: Reading) -> Iterable[NotChecked]:
    """What the run did not allow to judge."""
    found = reading.measurements
    if found.loss is None or found.classes is None:
        yield NotChecked("initial loss", 'no cross-entropy is known; pass loss="cross_entropy"')
    if found.batch < FEWEST and any(m.dead is None and m.zeros > 0 for m in found.layers):
        yield NotChecked(
            "dead units", f"{found.batch} samples; fewer than {FEWEST} tell too little"
        )
    if not any(m.std is not None for m in found.layers):
        yield NotChecked(
            "signal across samples", "no sample axis could be told; pass a larger batch"
        )
    if all(p.rebuilt_equal is None for p in found.parameters):
        yield NotChecked("values that are never set", "no factory was given; pass build=")
