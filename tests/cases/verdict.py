"""What the checker makes of a case: the one definition of "found", "quiet" and "mended"."""

from __future__ import annotations

import re
from dataclasses import dataclass
from fnmatch import fnmatchcase

import torch

import isometry as iso
from isometry.types import SEVERITIES, Finding, Report

from .case import Case, Trap
from .zoo import DEFENDED, ZOO

__all__ = ["Diagnosis", "Practice", "Silence", "diagnose", "listen", "look", "serious"]


@dataclass(frozen=True)
class Diagnosis:
    """What was found in a case; `faults` says what is off, in words: empty where nothing is."""

    case: Case
    report: Report
    found: Finding | None  # the finding of an expected family, at its layer where there is one
    placed: bool  # at the right layer
    graded: bool  # of the right severity, and nothing of another family is worse
    said: bool  # its evidence says what it must
    after: Report | None  # on the mended model; None where nothing was found
    mended: bool

    @property
    def elsewhere(self) -> bool:
        """Something was found, and in no family that is right."""
        return self.found is None and bool(serious(self.report))

    @property
    def beside(self) -> tuple[str, ...]:
        """Codes of other families that are found as well."""
        others = (f.code for f in serious(self.report) if not f.code.startswith(self.case.codes))
        return tuple(dict.fromkeys(others))

    @property
    def faults(self) -> list[str]:
        if self.found is None:
            seen = ", ".join(f.code for f in serious(self.report)) or "nothing"
            return [f"expected {' or '.join(self.case.codes)}, found {seen}\n{self.report}"]
        wrong = []
        if not self.placed:
            wrong.append(f"expected at {' or '.join(self.case.where)}, found at {self.found.where}")
        if not self.graded:
            wrong.append(f"expected {' or '.join(self.case.severity)} and nothing worse")
        if not self.said:
            wrong.append(f"expected evidence like {self.case.says!r}")
        if not self.mended:
            wrong.append(f"not gone after the fix:\n{self.after}")
        return [*wrong, f"before:\n{self.report}"] if wrong else []


@dataclass(frozen=True)
class Silence:
    """What was said about a trap; `faults` says what is off: empty where nothing is."""

    trap: Trap
    report: Report

    @property
    def alarms(self) -> tuple[str, ...]:
        return tuple(f.code for f in self.report.findings if f.severity == "error")

    @property
    def warnings(self) -> tuple[str, ...]:
        return tuple(f.code for f in self.report.findings if f.severity == "warning")

    @property
    def faults(self) -> list[str]:
        wrong = [f"false alarm {code}" for code in self.alarms]
        if set(self.warnings) != set(self.trap.warns):
            wrong.append(f"expected warnings {sorted(self.trap.warns)}, found {self.warnings}")
        steps = {f.data["step"] for f in self.report.findings if f.code == "ISO901"}
        if self.trap.steps is not None and steps != self.trap.steps:
            wrong.append(f"expected zeros to move at {set(self.trap.steps)}, they do at {steps}")
        reasons = " ".join(f"{n.what}: {n.why}" for n in self.report.not_checked)
        if not re.search(self.trap.says, reasons):
            wrong.append(f"expected not_checked like {self.trap.says!r}")
        return [*wrong, str(self.report)] if wrong else []


@dataclass(frozen=True)
class Practice:
    """What was said about a class of transformers as its authors initialise it."""

    name: str
    report: Report

    @property
    def faults(self) -> list[str]:
        if not self.report.layers:
            return [f"nothing was measured\n{self.report}"]
        if self.report.ok != (self.name not in DEFENDED):
            said = "an error" if self.name not in DEFENDED else "no error, and one is defended"
            return [f"{said}\n{self.report}"]
        return []


def diagnose(case: Case) -> Diagnosis:
    """Check a case, mend it, and check it again."""
    torch.manual_seed(0)
    model, x = case.build(), case.inputs()
    target = None if case.target is None else case.target()
    build = case.build if case.factory else None
    report = iso.check(model, x, loss=case.loss, target=target, build=build)
    right = [f for f in serious(report) if f.code.startswith(case.codes)]
    if not right:
        return Diagnosis(case, report, None, False, False, False, None, False)
    found = max(right, key=lambda f: (_said(case, f), _placed(case, f), f.severity == "error"))
    others = [f for f in serious(report) if not f.code.startswith(case.codes)]
    if case.mend is not None:
        model, x, build = case.mend(model, x, report)
    else:
        iso.initialize(model, x, seed=0, loss=case.loss)
    build = build if case.factory else None
    after = iso.check(model, x, loss=case.loss, target=target, build=build)
    remain = [
        f
        for f in serious(after)
        if f.severity == "error" or (f.code.startswith(case.codes) and f.severity not in case.left)
    ]
    return Diagnosis(
        case, report, found, _placed(case, found),
        found.severity in case.severity and all(_no_worse(f, found) for f in others),
        _said(case, found), after, not remain,
    )  # fmt: skip


def listen(trap: Trap) -> Silence:
    """Check a trap."""
    torch.manual_seed(0)
    target = None if trap.target is None else trap.target()
    build = trap.build if trap.factory else None
    return Silence(
        trap, iso.check(trap.build(), trap.inputs(), loss=trap.loss, target=target, build=build)
    )


def look(name: str) -> Practice:
    """Check a class of the zoo."""
    build, inputs = ZOO[name]
    torch.manual_seed(0)
    return Practice(name, iso.check(build(), None if inputs is None else inputs()))


def serious(report: Report) -> list[Finding]:
    """Errors and warnings."""
    return [f for f in report.findings if f.severity != "info"]


def _no_worse(finding: Finding, than: Finding) -> bool:
    return SEVERITIES.index(finding.severity) >= SEVERITIES.index(than.severity)


def _placed(case: Case, finding: Finding) -> bool:
    return any(fnmatchcase(finding.where, pattern) for pattern in case.where)


def _said(case: Case, finding: Finding) -> bool:
    return re.search(case.says, finding.evidence) is not None
