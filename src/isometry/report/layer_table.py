"""The layers of a report as a table that PyTorch users know: a tree of modules, a row each.

Long models are folded: of siblings that repeat (blocks.0, blocks.1, ...) the first and the last
are shown, with a count of what lies between; if that is not enough, the deepest levels go, and a
module shows what it puts out.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace

from rich import box
from rich.table import Table
from rich.text import Text

from isometry.report._text import count, number, shape
from isometry.types import SEVERITIES, Finding, Measurement, Report

__all__ = ["COLOURS", "layer_tree", "worst_layers"]

COLOURS = {"error": "bold red", "warning": "yellow", "info": "cyan"}
COLUMNS = (("q", "÷th"), ("c", "th"), ("std", ""), ("grad²", "÷th"))  # and the theory's, beside
OWN = "·"  # what a module does itself, between its modules
FOLD_FROM = 4  # repeats; three rows of three are not shorter folded
LONGEST_PERIOD = 6  # modules of a repeating unit written flat: conv, norm, relu, conv, norm, add


@dataclass(slots=True)
class Branch:
    """A module: its own operations, and the modules inside it."""

    name: str
    path: str = ""
    rows: list[Measurement] = field(default_factory=list)
    children: dict[str, Branch] = field(default_factory=dict)

    @property
    def signature(self) -> tuple[object, ...]:
        """Equal for modules that do the same: their operations and shapes, without names."""
        return (
            tuple((m.op, m.shape) for m in self.rows),
            tuple(c.signature for c in self.children.values()),
        )

    def items(self) -> list[Row | Branch]:
        """Its modules and, where there are modules or several of them, its own operations."""
        own = self.rows if len(self.rows) > 1 or not self.path else []
        items: list[Row | Branch] = [Row(OWN, m) for m in own]
        items += self.children.values()
        return sorted(items, key=lambda item: min(m.node for m in _measured(item)))

    def everything(self) -> list[Measurement]:
        """All operations inside, in execution order."""
        inside = [*self.rows, *(m for c in self.children.values() for m in c.everything())]
        return sorted(inside, key=lambda m: m.node)


@dataclass(frozen=True, slots=True)
class Row:
    """A line of the table: a label, and the operation measured there (or a remark)."""

    label: str
    measured: Measurement | None = None
    remark: str = ""
    hidden: tuple[Measurement, ...] = ()


def layer_tree(report: Report, max_rows: int = 40) -> Table:
    """The report's layers in execution order, as a tree, folded to about `max_rows` lines."""
    root = _grow(report.layers)
    depth = _depth(root)
    rows = list(_lines(root, depth, fold=False))
    if len(rows) > max_rows:
        rows = list(_lines(root, depth, fold=True))
    while len(rows) > max_rows and depth > 1:
        depth -= 1
        rows = list(_lines(root, depth, fold=True))
    return _table("module", rows, _marks(report))


def worst_layers(report: Report, most: int = 6) -> Table | None:
    """The operations that the findings name, the worst first; None where there are none."""
    marks = _marks(report)
    marked = [m for m in report.layers if marks.get(m.node)]
    if not marked:
        return None

    def badness(m: Measurement) -> tuple[float, ...]:
        severity = min(SEVERITIES.index(f.severity) for f in marks[m.node])
        return (severity, -m.nonfinite, m.std if m.std is not None else m.q, m.node)

    marked.sort(key=badness)
    rows = [Row(m.layer or "(model)", m) for m in marked[:most]]
    if len(marked) > most:
        rows.append(Row(f"… {len(marked) - most} more", hidden=tuple(marked[most:])))
    return _table("worst layers", rows, marks)


def _grow(layers: Iterable[Measurement]) -> Branch:
    root = Branch("")
    for m in layers:
        branch = root
        for part in filter(None, m.layer.split(".")):
            path = f"{branch.path}.{part}".lstrip(".")
            branch = branch.children.setdefault(part, Branch(part, path))
        branch.rows.append(m)
    return root


def _depth(branch: Branch) -> int:
    return 1 + max((_depth(c) for c in branch.children.values()), default=0)


def _lines(branch: Branch, depth: int, fold: bool, indent: str = "") -> Iterable[Row]:
    """The rows below a module, in execution order; at depth 1 a module's inside is counted."""
    shown = _folded(branch.items()) if fold else branch.items()
    for position, item in enumerate(shown):
        last = position == len(shown) - 1
        twig, beyond = ("└─ ", "   ") if last else ("├─ ", "│  ")
        if isinstance(item, Row):
            yield replace(item, label=indent + twig + item.label)
            continue
        name = item.name
        while not item.rows and len(item.children) == 1:  # a.b with nothing else in a
            (item,) = item.children.values()
            name += f".{item.name}"
        inside = item.everything()
        if depth <= 1 and len(inside) > 1:
            label = f"{indent}{twig}{name} ({count(len(inside), 'operation')})"
            yield Row(label, inside[-1], hidden=tuple(inside))
            continue
        yield Row(indent + twig + name, item.rows[0] if len(item.rows) == 1 else None)
        yield from _lines(item, depth - 1, fold, indent + beyond)


def _folded(items: Sequence[Row | Branch]) -> list[Row | Branch]:
    """The items, with the middle of every repetition replaced by a count."""
    out: list[Row | Branch] = []
    start = 0
    while start < len(items):
        period, repeats = _repetition(items[start:])
        end = start + period * repeats
        if repeats < FOLD_FROM:
            out.append(items[start])
            start += 1
            continue
        between = items[start + period : end - period]
        names = [b.name if isinstance(b, Branch) else b.label for b in between]
        out += items[start : start + period]
        out.append(
            Row(
                " … ".join(dict.fromkeys((names[0], names[-1]))),
                remark=f"{len(between)} alike",
                hidden=tuple(m for b in between for m in _measured(b)),
            )
        )
        out += items[end - period : end]
        start = end
    return out


def _measured(item: Row | Branch) -> Sequence[Measurement]:
    if isinstance(item, Branch):
        return item.everything()
    return (item.measured,) if item.measured else ()


def _repetition(items: Sequence[Row | Branch]) -> tuple[int, int]:
    """The shortest period with which the items repeat from the first on, and how often."""
    signatures = [_signature(item) for item in items]
    for period in range(1, LONGEST_PERIOD + 1):
        unit, repeats = signatures[:period], 1
        if None in unit:
            break
        while signatures[repeats * period : (repeats + 1) * period] == unit:
            repeats += 1
        if repeats >= FOLD_FROM:
            return period, repeats
    return 1, 1


def _signature(item: Row | Branch) -> object:
    """Equal for items that do the same; None for a module that is not one of a numbered list."""
    if isinstance(item, Branch):
        return item.signature if item.name.isdigit() else None
    return (item.measured.op, item.measured.shape) if item.measured else None


def _marks(report: Report) -> dict[int, list[Finding]]:
    """node -> the findings that name it; "a … b" names everything executed from a to b."""
    marks: dict[int, list[Finding]] = {}
    for finding in report.findings:
        if finding.severity == "info":
            continue
        for stretch in finding.where.split(", "):
            first, _, last = stretch.partition(" … ")
            begin = [m.node for m in report.layers if m.layer == first]
            end = [m.node for m in report.layers if m.layer == (last or first)]
            if begin and end:
                for m in report.layers:
                    if min(begin) <= m.node <= max(end):
                        marks.setdefault(m.node, []).append(finding)
    return marks


def _named(row: Row, marks: dict[int, list[Finding]]) -> dict[str, str]:
    """code -> severity of what was found in a row, or in the rows that it hides."""
    measured = row.hidden or _measured(row)
    return dict(sorted((f.code, f.severity) for m in measured for f in marks.get(m.node, ())))


def _table(title: str, rows: Sequence[Row], marks: dict[int, list[Finding]]) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1), collapse_padding=True)
    table.add_column(title, no_wrap=True, overflow="ellipsis", ratio=1, min_width=20)
    table.add_column("operation", no_wrap=True, overflow="ellipsis", max_width=18)
    table.add_column("output", no_wrap=True, overflow="ellipsis", max_width=16, style="dim")
    found = [_named(row, marks) for row in rows]
    expected = any(row.measured and row.measured.predicted is not None for row in rows)
    # A line that names a finding has no room for the cosine's expectation as well.
    shown = [
        bool(beside) and expected and not (name == "c" and any(found)) for name, beside in COLUMNS
    ]
    for (name, beside), too in zip(COLUMNS, shown, strict=True):
        table.add_column(name, no_wrap=True, justify="right", min_width=7)
        if too:
            table.add_column(beside, no_wrap=True, justify="right", min_width=4, style="dim")
    table.add_column("", no_wrap=True, min_width=max(len(" ".join(f)) + 2 for f in found))
    for row, codes in zip(rows, found, strict=True):
        m = row.measured
        worst = min(codes.values(), key=SEVERITIES.index, default=None)
        style = COLOURS[worst] if worst else ""
        numbers = _numbers(m, style, shown) if m else [""] * (4 + sum(shown))
        table.add_row(
            Text(row.label, style="dim" if m is None else ""),
            Text(
                m.op.removeprefix("pointwise:") if m else row.remark,
                style="dim" if m is None else "",
            ),
            shape(m.shape) if m else "",
            *numbers,
            Text("◀ " + " ".join(codes) if codes else "", style=style),
        )
    return table


def _numbers(m: Measurement, style: str, shown: Sequence[bool]) -> list[Text | str]:
    """What was measured; beside it what the theory makes of that."""
    beside = (
        _over(m.q, m.predicted), "" if m.predicted_c is None else f"{m.predicted_c:.2f}", "",
        _over(m.grad, m.predicted_grad),
    )  # fmt: skip
    cells: list[Text | str] = []
    for measured, theory, too in zip((m.q, m.c, m.std, m.grad), beside, shown, strict=True):
        cells += [Text(number(measured), style=style), *([theory] if too else [])]
    return cells


def _over(measured: float | None, expected: float | None) -> str:
    """A measurement over what is expected, to two figures; "" where there is none."""
    if measured is None or not expected or not math.isfinite(measured / expected):
        return ""
    ratio = measured / expected
    return f"{ratio:.2f}" if 0.095 < ratio < 9.95 else f"{ratio:.2g}"
