"""Measurements, Graph -> Report: the rules' findings, one for each cause, the worst first."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from isometry.checker.histograms import histograms
from isometry.checker.prediction import parted, predictions
from isometry.checker.reading import Reading
from isometry.checker.rules import RULES
from isometry.checker.trained import looks_trained
from isometry.errors import ArgumentError
from isometry.graph import Graph
from isometry.theory import Expectation
from isometry.types import (
    SEVERITIES,
    Finding,
    Measurement,
    Measurements,
    NotChecked,
    Report,
    matches,
)

__all__ = ["judge", "parse_ignore", "start_of"]

DECISIVE = ("ISO104", "ISO602", "ISO704")  # whatever follows is their doing, however bad
WHOLE, FEW = "iso.initialize(model, inputs, seed=0)", 4  # parameters that a line has room for
FEWEST = 32  # samples, below which no unit is called dead


def judge(
    measurements: Measurements,
    graph: Graph,
    ignore: Iterable[str] = (),
    select: Iterable[str] = (),
) -> Report:
    """Apply the rules to what was measured.

    A finding that follows from another is left out: one finding for one cause, where it starts.
    Weights that look trained are not judged.

    Args:
        measurements: of one run of a model.
        graph: of the same run.
        ignore: codes or their beginnings ("ISO901", "ISO3"): not reported; or only where they
            concern some parameters or layers, "CODE:PATTERN" ("ISO401:blocks.3.*").
        select: codes or their beginnings: only these rules run. None given: all.

    Returns:
        The report, errors first, each severity in the order of execution.

    Raises:
        ArgumentError: a code that is the beginning of no rule's.
    """
    ignored, selected = parse_ignore(ignore), _prefixes(select)
    reading = Reading(measurements, graph)
    trained = looks_trained(reading)
    findings, follows = ((), ()) if trained else _findings(reading, ignored, selected)
    predicted = predictions(reading)
    beyond = parted(measurements.layers, predicted)
    not_checked = [*measurements.not_checked, *follows, *_not_checked(reading)]
    not_checked += [beyond] if beyond is not None else []
    if trained:
        not_checked = [NotChecked("everything", f"the weights look trained: {trained}")]
    return Report(
        model=measurements.model,
        findings=findings,
        layers=tuple(_beside(m, predicted.get(m.node)) for m in measurements.layers),
        parameters=measurements.parameters,
        not_checked=tuple(not_checked),
        loss=measurements.loss,
        judged=trained is None,
        histograms=histograms(reading, findings),
        jacobian=measurements.jacobian,
    )


def _beside(measured: Measurement, expected: Expectation | None) -> Measurement:
    """A measurement with what the theory expects."""
    if expected is None:
        return measured
    return replace(
        measured, predicted=expected.q, predicted_c=expected.c, predicted_grad=expected.grad
    )


def _findings(
    reading: Reading, ignored: tuple[tuple[str, str], ...], select: tuple[str, ...]
) -> tuple[tuple[Finding, ...], tuple[NotChecked, ...]]:
    """What the rules find, without what follows from other findings or is ignored; and behind
    which findings more was found, that may follow from them or not."""
    found: list[Finding] = []
    hidden: list[Finding] = []
    for code, rule in RULES.items():
        if select and not code.startswith(select):
            continue
        findings = list(rule.check(reading))
        patterns = tuple(p for prefix, p in ignored if code.startswith(prefix))
        if findings and patterns:
            rest = [] if "*" in patterns else list(rule.check(reading.without(patterns)))
            rest = [f for f in rest if not matches(start_of(f), patterns)]
            hidden += [f for f in findings if f not in rest]
            findings += [f for f in rest if f not in findings]
        found += findings
    kept: list[Finding] = []
    behind: dict[tuple[str, str], None] = {}
    for finding in found:  # in the order of RULES: causes come before what follows from them
        causes = [i for i, cause in enumerate(kept) if _explains(cause, finding)]
        if not causes:
            kept.append(finding)
            continue
        cause = kept[causes[0]]
        if _node(finding, "first") > _node(cause, "last"):
            behind[cause.code, start_of(cause)] = None
        if _worse(finding, cause):
            kept[causes[0]] = replace(cause, severity=finding.severity)
    concealed = [
        replace(f, severity="") for f in hidden
    ]  # whose severity a cause may have taken on
    shown = [f for f in kept if replace(f, severity="") not in concealed]
    shown = [_narrowed(f, reading) for f in shown]
    shown.sort(key=lambda f: (SEVERITIES.index(f.severity), *_origin(f)))
    why = "it was laid to {}: check again once that is mended"
    follows = tuple(NotChecked(f"what comes after {w}", why.format(c)) for c, w in behind)
    return tuple(shown), follows


def _narrowed(finding: Finding, reading: Reading) -> Finding:
    """The finding; its fix, where that draws a whole model anew for a few parameters, only them."""
    every = sum(p.constant is None for p in reading.measurements.parameters)
    few = 0 < len(finding.parameters) <= FEW and len(finding.parameters) < every
    if not few or finding.fix != WHOLE or finding.laws:
        return finding
    return replace(finding, fix=f"{WHOLE[:-1]}, include={list(finding.parameters)!r})")


def start_of(finding: Finding) -> str:
    """The layer or parameter at which a finding starts, by its name."""
    return finding.where.split(" … ")[0].split(", ")[0]


def parse_ignore(entries: Iterable[str]) -> tuple[tuple[str, str], ...]:
    """(code or its beginning, pattern of names) of each entry; "*" where none is given.

    Raises:
        ArgumentError: a code that is the beginning of no rule's, or a pattern that is empty.
    """
    found = []
    for entry in (entries,) if isinstance(entries, str) else entries:
        code, colon, pattern = entry.partition(":") if isinstance(entry, str) else (entry, "", "")
        _prefixes((code,))
        if colon and not pattern.strip():
            raise ArgumentError(
                f"{entry!r} has no pattern after the colon; expected CODE:PATTERN, such as "
                "'ISO401:blocks.3.*'"
            )
        found.append((code, pattern.strip() or "*"))
    return tuple(found)


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


def _worse(finding: Finding, other: Finding) -> bool:
    return SEVERITIES.index(finding.severity) < SEVERITIES.index(other.severity)


def _explains(cause: Finding, finding: Finding) -> bool:
    """Does one finding follow from another: of a family that it brings about, no worse (what is
    decisive takes on the severity of what it does), and in the layers it concerns or, for some,
    after them?"""
    rule = RULES[cause.code]
    if not finding.code.startswith(rule.EXPLAINS or ("-",)):
        return False
    if _worse(finding, cause) and not cause.code.startswith(DECISIVE):
        return False
    if rule.DOWNSTREAM:
        return _node(finding, "last") >= _node(cause, "first")
    return _node(finding, "first") <= _node(cause, "last") and _node(finding, "last") >= _node(
        cause, "first"
    )


def _not_checked(reading: Reading) -> Iterable[NotChecked]:
    """What the run did not allow to judge."""
    found = reading.measurements
    if reading.inputs_not_finite:
        yield NotChecked("signal", "the inputs hold infinities or NaN; pass finite ones")
    fused = [u.leaf for u in reading.usages.values() if u.leaf.hint and u.leaf.hint.recurrent]
    for layer in dict.fromkeys(leaf.owner_name or leaf.name for leaf in fused):
        yield NotChecked(f"gates of {layer}", "they open and shut inside one operation")
    if reading.loss_not_finite:
        yield NotChecked(
            "loss and gradients", "the loss of finite outputs is not finite: look at the target"
        )
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
    if all(p.rebuilt is None for p in found.parameters):
        yield NotChecked("values that are never set", "no factory was given; pass build=")
