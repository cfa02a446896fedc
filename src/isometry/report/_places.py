"""Where things lie along a network: the place of a finding, and the modules as they are crossed.

A place is a row of the table of layers: an index into the measurements, in execution order.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from isometry.types import SEVERITIES, Finding, Measurement

__all__ = ["Pin", "Stretch", "modules", "pinned", "stretch"]

FEW_MODULES, MOST_MODULES = 24, 48  # whose names can be read; that can be told apart


@dataclass(frozen=True, slots=True)
class Stretch:
    """A run of rows, both ends included, and what it is called."""

    first: int
    last: int
    name: str = ""


@dataclass(frozen=True, slots=True)
class Pin:
    """A finding, its name on the page, and the rows that it concerns, where it can be placed."""

    id: str
    finding: Finding
    at: Stretch | None


def pinned(findings: Sequence[Finding], layers: Sequence[Measurement]) -> list[Pin]:
    """The findings, the worst first, each with its place."""
    ordered = sorted(findings, key=lambda f: SEVERITIES.index(f.severity))
    return [Pin(f"finding-{n}", f, stretch(f, layers)) for n, f in enumerate(ordered, 1)]


def stretch(finding: Finding, layers: Sequence[Measurement]) -> Stretch | None:
    """The rows at which a finding starts and ends: by its nodes, else by the layer it names.

    Example:
        >>> layers = [Measurement("fc", "linear", 3, (8, 2), 8, 0.0, 1.0)]
        >>> stretch(Finding("ISO901", "zero-by-design", "info", "fc.bias", "", "", ""), layers)
        Stretch(first=0, last=0, name='')
    """
    rows = {m.node: row for row, m in enumerate(layers)}
    named = finding.where.split(", ")[0].partition(" … ")
    first = rows.get(_node(finding, "first"))
    if first is None:
        first = _row_of(named[0], layers)
    if first is None:
        return None
    last = rows.get(_node(finding, "last"))
    if last is None:
        last = _row_of(named[2], layers, from_the_end=True) if named[2] else first
    return Stretch(first, max(first, first if last is None else last))


def _node(finding: Finding, key: str) -> int:
    node = finding.data.get(key)
    return node if isinstance(node, int) else -1


def _row_of(name: str, layers: Sequence[Measurement], from_the_end: bool = False) -> int | None:
    """The row of a layer, or of the layer that a parameter belongs to; None for neither."""
    order = range(len(layers) - 1, -1, -1) if from_the_end else range(len(layers))
    while name:
        for row in order:
            if layers[row].layer == name or layers[row].layer.startswith(f"{name}."):
                return row
        name = name.rpartition(".")[0]
    return None


def modules(layers: Sequence[Measurement]) -> list[Stretch]:
    """The modules in the order they are crossed, as deep as their number stays readable.

    Example:
        >>> layers = [Measurement(n, "linear", i, (8, 2), 8, 0.0, 1.0) for i, n in
        ...           enumerate(["net.0.fc", "net.0.fc", "net.1.fc"])]
        >>> [s.name for s in modules(layers)]
        ['0.fc', '1.fc']
    """
    chosen: list[Stretch] = []
    deepest = max((m.layer.count(".") + 1 for m in layers), default=0)
    for depth in range(1, deepest + 1):
        found = _runs(layers, depth)
        if len(found) > (FEW_MODULES if chosen else MOST_MODULES):
            break
        chosen = found
    shared = _shared([s.name.split(".") for s in chosen])
    return [Stretch(s.first, s.last, ".".join(s.name.split(".")[shared:])) for s in chosen]


def _runs(layers: Sequence[Measurement], depth: int) -> list[Stretch]:
    """Neighbours with the same first `depth` names; what a parent does itself joins its child."""
    runs: list[Stretch] = []
    for row, m in enumerate(layers):
        name = ".".join(m.layer.split(".")[:depth])
        if runs and f"{runs[-1].name}.".startswith(f"{name}." if name else ""):
            runs[-1] = Stretch(runs[-1].first, row, runs[-1].name)
        else:
            runs.append(Stretch(row, row, name))
    return runs


def _shared(paths: Sequence[Sequence[str]]) -> int:
    """How many leading names all paths have in common, leaving each at least one."""
    shared = 0
    most = min((len(p) for p in paths), default=1) - 1
    while shared < most and all(a[shared] == b[shared] for a, b in pairwise(paths)):
        shared += 1
    return shared
