"""What a model will be on a mesh, as tables: what each rank holds, how each tensor is cut, the proof."""

from __future__ import annotations

import re

from rich import box
from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from isometry.foresight.values import Foresight, Proof, Span, Speed, StageForesight
from isometry.report._console import to_text
from isometry.report._text import count, shape

__all__ = ["render"]

LARGE = ((1e12, "T"), (1e9, "B"), (1e6, "M"), (1e3, "k"))
HOLDS = 30  # columns of what a stage holds
HEADS = ("", "shape", "cut by, along", "a rank's part")
BYTES = ((1e12, "TB"), (1e9, "GB"), (1e6, "MB"), (1e3, "kB"))


def render(seen: Foresight, width: int = 100, color: bool = False) -> str:
    """The foresight as text.

    Args:
        seen: what `isometry.foresight.foresee` returned.
        width: columns.
        color: write the terminal's colour codes.

    Returns:
        The text, which ends in a newline.
    """
    title = f"{seen.model} on {count(seen.world, 'rank')}: {seen.mesh}"
    parts: list[RenderableType] = [
        Text(title, style="bold"),
        Text("\nwhat a rank holds"),
        _stages(seen),
        Text(_whole(seen)),
        Text(_speed(seen.speed)),
        Text(f"\ncut {seen.rule}"),
        _rows(seen, width),
    ]
    parts += [Text(f"note: {note}") for note in seen.notes]
    if seen.proof is not None:
        style = "bold red" if seen.proof.unequal else "bold green"
        parts.append(Text(_proof(seen.proof), style=style))
    return to_text(parts, width, color)


def _stages(seen: Foresight) -> Table:
    """A row a stage; without stages, the one row of all ranks."""
    table, several = _table(), len(seen.stages) > 1
    if several:
        table.add_column("stage", justify="right", no_wrap=True)
        table.add_column("holds", overflow="fold", style="dim")
        table.add_column("ranks", justify="right", no_wrap=True)
    for head in ("parameters", "bytes", "time to fill", "peak memory"):
        table.add_column(head, justify="right", no_wrap=True)
    for number, stage in enumerate(seen.stages):
        holds = "\n".join(_broken(name, HOLDS) for name in stage.holds)
        where = [str(number), holds, str(stage.ranks)] if several else []
        table.add_row(*(Text(cell) for cell in (*where, *_cells(stage))))
    return table


def _cells(stage: StageForesight) -> tuple[str, ...]:
    return (
        _span(stage.parameters, LARGE, ""),
        _span(stage.bytes, BYTES, "B"),
        _seconds(stage.seconds.high),
        _number(stage.peak.high, BYTES, "B"),
    )


def _whole(seen: Foresight) -> str:
    """The model, and how evenly it lies."""
    fullest = max(seen.stages, key=lambda s: s.bytes.high)
    even = (
        f"rank {fullest.worst} holds the most, {seen.imbalance:.2f} x the mean"
        if seen.imbalance >= 1.005
        else "all ranks hold the same, to half a percent"
    )
    return (
        f"{_number(seen.parameters, LARGE, '')} parameters in {seen.dtype}, "
        f"{_number(seen.bytes, BYTES, 'B')} with buffers; {even}"
    )


def _rows(seen: Foresight, width: int) -> Table:
    """How each tensor is cut, long names broken where they must be."""
    table = _table()
    table.add_column("tensor", no_wrap=True)
    table.add_column("", justify="right", no_wrap=True, style="dim")
    table.add_column("shape", no_wrap=True, style="dim")
    table.add_column("cut by, along", no_wrap=True)
    table.add_column("a rank's part", no_wrap=True)
    cells = [
        (f"x {r.count}" * (r.count > 1), shape(r.shape), r.cut or "whole", shape(r.shard))
        for r in seen.rows
    ]
    taken = sum(
        max(map(len, (*column, head)))
        for column, head in zip(zip(*cells, strict=True), HEADS, strict=True)
    )
    room = max(width - taken - 6, 24)
    for row, rest in zip(seen.rows, cells, strict=True):
        style = "" if row.cut else "dim"
        table.add_row(*(Text(cell, style=style) for cell in (_broken(row.name, room), *rest)))
    return table


def _broken(name: str, room: int) -> str:
    """A name on several lines where it has to be, broken after a dot."""
    lines = [""]
    for part in re.findall(r"[^.]*\.?", name):
        if lines[-1] and len(lines[-1]) + len(part) > room:
            lines.append("")
        lines[-1] += part
    return "\n".join(lines)


def _table() -> Table:
    return Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1), collapse_padding=True)


def _speed(speed: Speed) -> str:
    text = (
        f"filled at {speed.bytes / 1e9:.2g} GB/s ({speed.numbers / 1e9:.2g} G numbers of {speed.dtype} a "
        f"second), measured here on {count(speed.threads, 'thread')}"
    )
    if speed.operations is not None:
        text += f"; orthogonal matrices at {speed.operations / 1e9:.2g} GFLOP/s"
    return text


def _proof(proof: Proof) -> str:
    pairs = f"{count(proof.shards, 'shard')} of {count(proof.ranks, 'rank')}"
    if proof.unequal:
        return f"NOT EQUAL: {len(proof.unequal)} of {pairs}: {', '.join(proof.unequal)}"
    if not proof.shards:
        return "proved: nothing; no tensor is drawn number by number, or no rank that was tried holds any"
    return (
        f"proved: {pairs}, each made alone, are what the NumPy reference cuts out of the whole: "
        f"{_number(proof.numbers, LARGE, '')} numbers equal to the bit, in {_seconds(proof.seconds)}"
    )


def _number(value: float, units: tuple[tuple[float, str], ...], one: str) -> str:
    for size, unit in units:
        if value >= size:
            scaled = value / size
            return f"{scaled:.{0 if scaled >= 100 else 1 if scaled >= 10 else 2}f} {unit}"
    return f"{value:.0f} {one}".rstrip()


def _span(span: Span, units: tuple[tuple[float, str], ...], one: str) -> str:
    """One number, or from the smallest to the largest, their unit once where it is the same."""
    low, high = (_number(v, units, one) for v in (span.low, span.high))
    if low == high:
        return high
    unit = f" {high.rpartition(' ')[2]}"
    return f"{low.removesuffix(unit)} … {high}"


def _seconds(value: float) -> str:
    if value >= 120:
        return f"{value / 60:.1f} min"
    if value >= 0.01:
        return f"{value:.1f} s" if value >= 10 else f"{value:.2f} s"
    return f"{value * 1e3:.2g} ms" if value >= 0.001 else "< 1 ms"
