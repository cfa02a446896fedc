"""What an experiment is: a claim about initialisation, run, measured and drawn.

    @experiment(title=..., teaches=..., source=...)
    def glorot2010(lab: Lab) -> Result: ...

The decorator makes a function that people call, `iso.lab.glorot2010(full=False, store=None)`, and
puts it on the list that `isometry lab` runs.
"""

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol

from isometry.lab.store import Store, Watch

__all__ = ["EXPERIMENTS", "Claim", "Experiment", "Figure", "Lab", "Result", "Run", "experiment"]


@dataclass(frozen=True, slots=True)
class Claim:
    """One thing that theory or a paper says, and what was measured."""

    what: str  # "the signal's std at layer 5, Glorot"
    expected: str  # ".3216 (Glorot & Bengio 2010, fig. 6, by theory)"
    measured: str  # ".3218 over 8 seeds"
    holds: bool


@dataclass(frozen=True, slots=True)
class Figure:
    """A picture: a Vega-Lite specification with its data inline, without colours of its own."""

    title: str
    caption: str
    spec: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Result:
    """What an experiment found. `numbers` is what the figures are drawn from, ready for JSON."""

    claims: tuple[Claim, ...]
    figures: tuple[Figure, ...]
    numbers: Mapping[str, Any]
    name: str = ""
    full: bool = False
    seconds: float = 0.0

    @property
    def holds(self) -> bool:
        """Did every claim hold?"""
        return all(claim.holds for claim in self.claims)

    def __str__(self) -> str:
        from isometry.lab.text import render

        return render(self)


@dataclass(frozen=True, slots=True)
class Lab:
    """What an experiment is given: the papers' sizes or small ones, and where cells are kept.

    `cells.get(key, compute)` computes a cell once: what was done before an interruption is read
    back, so that a long experiment can be resumed. `cells.expect(n)` says how many there will be,
    where that is known, for a progress bar.
    """

    full: bool = False
    cells: Store = field(default_factory=Store)


class Run(Protocol):
    """What people call: `iso.lab.glorot2010()`.

    Args:
        full: the papers' sizes, in place of those that take less than a minute.
        store: a folder where finished cells are kept, so that what was interrupted goes on.
        watch: told of each cell before it is computed: its key, how many are done, of how many.
    """

    def __call__(
        self,
        *,
        full: bool = False,
        store: str | Path | None = None,
        watch: Watch | None = None,
    ) -> Result: ...


@dataclass(frozen=True, slots=True)
class Experiment:
    """An experiment as the page shows it."""

    name: str
    title: str
    teaches: str  # a paragraph, for someone who has never looked at a weight
    source: str
    run: Run

    @property
    def command(self) -> str:
        """What reproduces it."""
        return f"isometry lab {self.name.replace('_', '-')}"


EXPERIMENTS: dict[str, Experiment] = {}


def experiment(
    *, title: str, teaches: str, source: str
) -> Callable[[Callable[[Lab], Result]], Run]:
    """Make a function of a Lab an experiment that people call by its name."""

    def make(body: Callable[[Lab], Result]) -> Run:
        name = body.__name__

        @functools.wraps(body)
        def run(
            *,
            full: bool = False,
            store: str | Path | None = None,
            watch: Watch | None = None,
        ) -> Result:
            started = time.monotonic()
            path = None if store is None else Path(store) / f"{name}{'-full' if full else ''}.json"
            result = body(Lab(full, Store(path, watch)))
            return replace(result, name=name, full=full, seconds=time.monotonic() - started)

        del run.__wrapped__  # its signature is the one above
        EXPERIMENTS[name] = Experiment(name, title, " ".join(teaches.split()), source, run)
        return run

    return make
