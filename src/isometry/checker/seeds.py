"""A verdict over several builds of one model: what is chance, and what is not."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

from isometry.graph import Graph
from isometry.types import SEVERITIES, Finding, Report

__all__ = ["SEEDS", "affordable", "over_seeds"]

# What is judged by the run alone, without the steps on a copy and without a second build.
CHANCE = ("ISO2", "ISO3", "ISO4", "ISO5", "ISO70")

SEEDS = 20
# In multiplications: what 20 builds may cost by default, and what measuring an operation does.
BUDGET, OPERATION = 1e12, 4e7


def affordable(graph: Graph) -> int:
    """How many further builds to judge where nobody says it: 20, fewer where they would take long.

    By the work that the graph holds and not by the clock, so that two runs give one report.
    """
    work = 0.0
    for node in graph:
        work += OPERATION
        if node.op in ("linear", "conv", "bilinear"):
            out = math.prod(graph.values[node.output].shape)
            weight = graph.values[node.inputs[-1 if node.op == "bilinear" else 1]].shape
            work += 6.0 * out * math.prod(weight) / max(1, max(weight, default=1))
    parameters = sum(math.prod(leaf.shape) for leaf in graph.leaves)
    return int(min(SEEDS, BUDGET / (work + 100.0 * parameters + 1.0)))


def over_seeds(report: Report, others: Sequence[Report]) -> Report:
    """The report, each finding with the number of other builds that have it too.

    An error that this model is spared, and that other builds have, becomes a warning: the next
    seed may bring it.

    Args:
        report: of the model itself.
        others: of builds from other seeds.
    """
    n = len(others)
    if n == 0:
        return report
    findings = [
        _counted(f, _having(others, f.code, f.severity), n) if f.code.startswith(CHANCE) else f
        for f in report.findings
    ]
    for code, finding in _spared(report, others).items():
        k = _having(others, code, "error")
        chance = replace(finding, severity="warning", parameters=(), laws={})
        findings.append(_counted(chance, k, n, "here not, but "))
    # Errors before warnings before remarks, each as it was found.
    findings.sort(key=lambda f: SEVERITIES.index(f.severity))
    return replace(report, findings=tuple(findings), seeds=n)


def _having(reports: Sequence[Report], code: str, severity: str) -> int:
    """How many reports have a finding of this code that is as severe."""
    enough = SEVERITIES[: SEVERITIES.index(severity) + 1]
    return sum(any(f.code == code and f.severity in enough for f in r.findings) for r in reports)


def _spared(report: Report, others: Sequence[Report]) -> dict[str, Finding]:
    """Code -> the first error of other builds whose like this model does not have at all."""
    has = {f.code for f in report.findings}
    found: dict[str, Finding] = {}
    for other in others:
        for f in other.findings:
            if f.severity == "error" and f.code not in has and f.code.startswith(CHANCE):
                found.setdefault(f.code, f)
    return found


def _counted(finding: Finding, k: int, n: int, here: str = "") -> Finding:
    return replace(
        finding,
        evidence=f"{finding.evidence} ({here}in {k} of {n} other seeds)"
        if not here
        else f"{here}in {k} of {n} seeds: {finding.evidence}",
        data={**finding.data, "seeds": n, "seeds_with_it": k},
    )
