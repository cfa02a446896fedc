"""A plan as a table, repeats folded: `blocks.{0-11}.attn.c_attn.weight` is one row."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable, Sequence

from rich import box
from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from isometry.report._console import to_text
from isometry.report._text import count, number, shape
from isometry.types import (
    Block,
    CenteredOrthogonal,
    Constant,
    Decision,
    DeltaOrthogonal,
    Keep,
    Law,
    MirroredOrthogonal,
    Plan,
    TruncatedNormal,
)

__all__ = ["fold", "render"]

Part = str | frozenset[int]
Row = tuple[tuple[Part, ...], Decision, tuple[str, ...]]  # name, what was decided, for whom
NAME_WIDTH = 28
EXPECTED = "what the theory expects of their outputs, first … last where layers are folded"
SHORT = {
    TruncatedNormal: "truncated", DeltaOrthogonal: "delta", MirroredOrthogonal: "mirrored",
    CenteredOrthogonal: "centered",
}  # fmt: skip


def render(plan: Plan, width: int = 100, color: bool = False) -> str:
    """The plan as text: a row for each decision, identical ones of numbered modules folded.

    Args:
        plan: what `isometry.plan` returned.
        width: columns.
        color: write the terminal's colour codes.

    Returns:
        The text, which ends in a newline.
    """
    title = f"{plan.model}: recipe {plan.recipe!r}, {count(len(plan), 'tensor')}"
    notes = [Text(f"note: {note}") for note in plan.notes]
    parts: list[RenderableType] = [Text(title, style="bold"), _table(plan)]
    if plan.predictions:
        parts += [Text(EXPECTED, style="bold"), _expected(plan)]
    return to_text([*parts, *notes], width, color)


def _table(plan: Plan) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1), collapse_padding=True)
    table.add_column("tensor", overflow="fold", no_wrap=True)
    table.add_column("shape", overflow="fold", max_width=14, style="dim")
    table.add_column("scheme", overflow="fold", max_width=19)
    table.add_column("law (std)", overflow="fold", max_width=15)
    table.add_column("gain", justify="right", no_wrap=True)
    table.add_column("reason", overflow="fold", style="dim")
    for name, decision in fold(plan):
        style = "dim" if decision.keeps else ""
        table.add_row(Text(_broken(name)), *(Text(c, style=style) for c in _cells(decision)))
    return table


def _expected(plan: Plan) -> Table:
    """The mean square, the cosine of two samples and the gradient behind each matrix."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1), collapse_padding=True)
    table.add_column("output of", overflow="fold", no_wrap=True)
    for head in ("q", "c", "grad² (output 1)"):
        table.add_column(head, no_wrap=True)
    found = {p.name: p for p in plan.predictions}
    for name, _, members in _folded(plan):
        seen = [found[m] for m in members if m in found]
        if seen:
            values = ((p.q for p in seen), (p.c for p in seen), (p.grad for p in seen))
            table.add_row(Text(_broken(name)), *(_range(tuple(v)) for v in values))
    return table


def _range(values: Sequence[float | None]) -> str:
    """One number, or the first and the last; a dash for what is not known."""
    first, last = (number(None if v is None else _rounded(v)) for v in (values[0], values[-1]))
    return first if first == last else f"{first} … {last}"


def _rounded(value: float) -> float:
    """0 for what is only left by rounding."""
    return 0.0 if abs(value) < 1e-12 else value


def fold(plan: Plan) -> list[tuple[str, Decision]]:
    """(name, decision) in the plan's order, one for each set of decisions that are the same.

    Decisions are the same where they read the same; their names fold where they differ in whole
    numbers between dots, `layers.0` and `layers.1`.

    Example:
        >>> from isometry.types import Constant, Plan
        >>> def bias(i):
        ...     return Decision(f"layers.{i}.bias", (), "parameter", (8,), "float32", "bias",
        ...                     None, None, "zeros", None, Constant(0.0), (), "no bias", "")
        >>> [name for name, _ in fold(Plan("MLP", "auto", (bias(0), bias(2), bias(4))))]
        ['layers.{0-4:2}.bias']
    """
    return [(name, decision) for name, decision, _ in _folded(plan)]


def _folded(plan: Plan) -> list[tuple[str, Decision, tuple[str, ...]]]:
    """`fold`, with the names that each row stands for."""
    rows: list[Row] = [(_parts(d.name), d, (d.name,)) for d in plan]
    longest = max((len(parts) for parts, _, _ in rows), default=0)
    for position in range(longest):
        rows = _fold_at(position, rows)
    return [
        (".".join(p if isinstance(p, str) else _ranges(p) for p in parts), d, names)
        for parts, d, names in rows
    ]


def _parts(name: str) -> tuple[Part, ...]:
    return tuple(frozenset({int(p)}) if p.isdecimal() else p for p in name.split("."))


def _fold_at(position: int, rows: Iterable[Row]) -> list[Row]:
    """Join the rows that differ in the numbers at one position and in nothing else."""
    joined: dict[object, Row] = {}
    for parts, decision, names in rows:
        here = parts[position] if position < len(parts) else ""
        if isinstance(here, str):
            joined[parts, decision] = (parts, decision, names)
            continue
        before, after = parts[:position], parts[position + 1 :]
        key = (before, after, _cells(decision))
        if key in joined:
            others, decision, earlier = joined[key]
            other = others[position]
            assert not isinstance(other, str)
            here, names = here | other, earlier + names
        joined[key] = ((*before, here, *after), decision, names)
    return list(joined.values())


def _ranges(numbers: frozenset[int]) -> str:
    """{0,1,2,3} as {0-3}, {0,2,4} as {0-4:2}, {0,1,5} as {0,1,5}; a single number as itself."""
    ordered = sorted(numbers)
    if len(ordered) == 1:
        return str(ordered[0])
    steps = {b - a for a, b in itertools.pairwise(ordered)}
    if len(ordered) > 2 and len(steps) == 1:
        (step,) = steps
        return f"{{{ordered[0]}-{ordered[-1]}{f':{step}' if step > 1 else ''}}}"
    runs: list[list[int]] = []
    for n in ordered:
        if runs and n == runs[-1][-1] + 1:
            runs[-1].append(n)
        else:
            runs.append([n])
    texts = [f"{r[0]}-{r[-1]}" if len(r) > 2 else ",".join(map(str, r)) for r in runs]
    if len(texts) > 6:
        return f"{{{texts[0]},{texts[1]} … {texts[-1]}: {len(ordered)}}}"
    return "{" + ",".join(texts) + "}"


def _cells(decision: Decision) -> tuple[str, ...]:
    """What a row says after the name."""
    laws = _law(decision.law)
    if decision.blocks:
        laws = "\n".join(f"{label} {_law(law)}" for label, law in _by_law(decision.blocks))
    gain = "" if decision.gain is None else number(decision.gain)
    return shape(decision.shape), decision.scheme, laws, gain, decision.reason


def _by_law(blocks: Sequence[Block]) -> list[tuple[str, Law]]:
    """("q k v", law) where blocks share a law; (name, law) where they do not."""
    names: dict[Law, list[str]] = {}
    for block in blocks:
        names.setdefault(block.law, []).append(block.name)
    return [(" ".join(n) if len(n) < 5 else f"{n[0]} … {n[-1]}", law) for law, n in names.items()]


def _law(law: Law) -> str:
    """A law by its name and its std; a constant by its value."""
    if isinstance(law, Keep):
        return "as it is"
    if isinstance(law, Constant):
        return number(law.value)
    if not law.random:
        return str(law)
    return f"{SHORT.get(type(law), type(law).__name__.lower())} {number(law.variance**0.5)}"


def _broken(name: str) -> str:
    """A long name on several lines, broken after a dot."""
    lines = [""]
    for part in re.findall(r"[^.]*\.?", name):
        if lines[-1] and len(lines[-1]) + len(part) > NAME_WIDTH:
            lines.append("")
        lines[-1] += part
    return "\n".join(lines)
