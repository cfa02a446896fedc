"""Check every case and print who was taken for what: `make cases`. Exits with 1 where anything
is off; the same cases are tests, in test_cases.py."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.progress import track
from rich.table import Table

if not __package__:  # run as a script: the folders above it are its packages
    sys.path[0] = str(Path(__file__).resolve().parents[2])
    __package__ = "tests.cases"

from .tables import FAMILIES, FAULTS, TRAPS
from .verdict import Diagnosis, Practice, Silence, diagnose, listen, look
from .zoo import DEFENDED, ZOO

console = Console()


def table(title: str, *columns: str) -> Table:
    made = Table(
        title=title,
        title_justify="left",
        title_style="bold",
        box=None,
        pad_edge=False,
        collapse_padding=True,
    )
    made.add_column(columns[0], no_wrap=True)
    for column in columns[1:]:
        made.add_column(column, justify="right")
    return made


def row(to: Table, name: str, *counts: object, style: str = "") -> None:
    to.add_row(name, *(str(c) if c != 0 else "·" for c in counts), style=style)


def of_faults(found: Sequence[tuple[str, Diagnosis]]) -> Table:
    """For each family, the first that is expected of a case."""
    made = table(
        "Faults", "family", "cases", "found", "missed", "other family", "other layer",
        "grade", "mended", "besides",
    )  # fmt: skip
    groups = {code: f"{code}xx {name}" for code, name in FAMILIES.items()}
    for key, name in {**groups, "injected": "injected in a comparison"}.items():
        row(made, name, *_counts([d for group, d in found if group == key]))
    row(made, "all", *_counts([d for _, d in found]), style="bold")
    return made


def _counts(group: Sequence[Diagnosis]) -> tuple[int, ...]:
    hits = [d for d in group if d.found is not None]
    return (
        len(group), len(hits),
        sum(d.found is None and not d.elsewhere for d in group), sum(d.elsewhere for d in group),
        sum(not d.placed for d in hits), sum(not d.graded for d in hits),
        sum(d.mended for d in hits), sum(bool(d.beside) for d in hits),
    )  # fmt: skip


def of_traps(heard: Sequence[tuple[str, Silence]]) -> Table:
    made = table("Traps", "", "traps", "quiet", "warned", "of which defended", "false alarms")
    for name in (*TRAPS, "all"):
        group = [s for key, s in heard if name in (key, "all")]
        warned = [s for s in group if s.warnings and not s.alarms]
        alarms = sum(bool(s.alarms) for s in group)
        defended = sum(set(s.warnings) == set(s.trap.warns) for s in warned)
        quiet = len(group) - len(warned) - alarms
        row(made, name, len(group), quiet, len(warned), defended, alarms,
            style="bold" if name == "all" else "")  # fmt: skip
    return made


def of_zoo(seen: Sequence[Practice]) -> Table:
    made = table("Classes of transformers", "", "classes", "quiet", "warned", "errors", "defended")
    errors = [p for p in seen if not p.report.ok]
    warned = [p for p in seen if p.report.ok and _codes(p)]
    defended = sum(p.name in DEFENDED for p in errors)
    quiet = len(seen) - len(errors) - len(warned)
    row(made, "as their authors initialise them", len(seen), quiet, len(warned),
        f"{len(errors)} ({len(errors) / len(seen):.1%})", defended)  # fmt: skip
    return made


def _codes(practice: Practice) -> set[str]:
    return {f.code for f in practice.report.findings if f.severity != "info"}


def family(key: str, diagnosis: Diagnosis) -> str:
    return key if key != "reported" else diagnosis.case.codes[0][:4]


def main() -> int:
    warnings.simplefilter("ignore", FutureWarning)
    cases = [(key, case) for key, group in FAULTS.items() for case in group]
    traps = [(key, trap) for key, group in TRAPS.items() for trap in group]
    steps = {"console": console, "transient": True}
    found = [(key, diagnose(c)) for key, c in track(cases, "faults", **steps)]
    heard = [(key, listen(t)) for key, t in track(traps, "traps", **steps)]
    seen = [look(name) for name in track(list(ZOO), "transformers", **steps)]

    console.print(of_faults([(family(key, d), d) for key, d in found]), "")
    console.print(of_traps(heard), "")
    console.print(of_zoo(seen), "")
    for practice in seen:
        if practice.name in DEFENDED and not practice.report.ok:
            console.print(f"  {practice.name}: {DEFENDED[practice.name]}", highlight=False)
    warned = [f"{p.name} {' '.join(sorted(_codes(p)))}" for p in seen if p.report.ok and _codes(p)]
    console.print("  warned:", ", ".join(warned), highlight=False)

    off = [
        *((d.case.name, d.faults) for _, d in found if d.faults),
        *((s.trap.name, s.faults) for _, s in heard if s.faults),
        *((p.name, p.faults) for p in seen if p.faults),
    ]
    for name, faults in off:
        console.print(f"\n[bold red]{name}[/]")
        console.print("\n".join(faults), markup=False, highlight=False)
    console.print(f"\n{len(found)} faults, {len(heard)} traps, {len(seen)} classes: {len(off)} off")
    return 1 if off else 0


if __name__ == "__main__":
    sys.exit(main())
