"""`isometry check --fix`: draw anew what the findings concern, check again, show both."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from isometry import checkpoint
from isometry.cli.screen import heading, show, wide
from isometry.cli.target import Target
from isometry.errors import PlanError
from isometry.types import Plan, Report

__all__ = ["Mended", "mended", "tell", "write"]

LONGEST = 1000  # characters of names in a file's header


@dataclass(frozen=True, slots=True)
class Mended:
    """The verdict before and after, and what was drawn anew; `why` where that was nothing."""

    before: Report
    after: Report
    plan: Plan | None = None
    why: str = ""


def mended(
    target: Target, before: Report, judge: Callable[[Callable[[], Any] | None], Report], seed: int
) -> Mended:
    """Fix the target's model in place and judge it again, and so every further build of it."""
    if all(f.severity == "info" for f in before.findings):
        return Mended(before, before, why="nothing to fix")
    try:
        plan = before.fix(target.model, seed=seed)
    except PlanError as error:
        return Mended(before, before, why=str(error))
    factory = target.build

    def build() -> Any:
        assert factory is not None
        model = factory()
        before.fix(model, seed=seed)
        return model

    return Mended(before, judge(build if factory else None), plan)


def write(model: Any, plan: Plan, seed: int, out: Path) -> None:
    """The weights, with what was drawn anew in the file's header."""
    names = ",".join(d.name for d in plan)
    header = {
        "seed": str(seed),
        "recipe": plan.recipe,
        "plan": plan.digest,
        "fixed": names if len(names) <= LONGEST else f"{len(plan)} parameters",
    }
    checkpoint.save(model.state_dict(), out, header)


def tell(result: Mended, seed: int, out: Path, full: bool) -> None:
    """Before, what was done and after, for a person; a line on standard error beside a format
    for machines."""
    if result.plan is None:
        print(f"isometry: {result.why}; {out} was not written", file=sys.stderr)
        return
    wrote = f"wrote {out} (seed {seed}, plan {result.plan.digest})"
    if not full:
        counts = [sum(f.severity == "error" for f in r) for r in (result.before, result.after)]
        print(
            f"isometry: errors before the fix {counts[0]}, after it {counts[1]}; parameters drawn "
            f"anew: {len(result.plan)}; {wrote}",
            file=sys.stderr,
        )
        return

    from isometry.report import plan_table, terminal

    brief = replace(result.before, not_checked=())  # said once, at the end
    for title, text in (
        ("Before", terminal.render(brief, layers=False, **wide())),
        ("Drawn anew", plan_table.render(result.plan, **wide())),
        ("After", terminal.render(result.after, layers=False, **wide())),
    ):
        show(f"{heading(title)}\n{text.rstrip()}\n\n")
    show(f"{wrote}\n")
