"""Experiments by name, run one after the other."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterator, Sequence
from importlib.util import find_spec
from pathlib import Path

from isometry.errors import ArgumentError, BackendError
from isometry.lab.experiment import EXPERIMENTS, Experiment, Result
from isometry.lab.store import Watch

__all__ = ["find_experiments", "run_experiments"]

NEEDED = {"torch": "PyTorch", "sklearn": "scikit-learn"}


def find_experiments(names: Sequence[str] = ()) -> tuple[Experiment, ...]:
    """The experiments of those names, in the order of the page; all where none is named.

    Args:
        names: with hyphens or underscores: `trainability-map`.

    Raises:
        ArgumentError: there is no experiment of that name; the message lists those that there are.
    """
    asked = [name.replace("-", "_") for name in names]
    for name, meant in zip(names, asked, strict=True):
        if meant not in EXPERIMENTS:
            close = difflib.get_close_matches(meant, EXPERIMENTS, n=1)
            hint = f"; did you mean {_typed(close[0])}?" if close else ""
            known = ", ".join(map(_typed, EXPERIMENTS))
            raise ArgumentError(f"there is no experiment {name!r}; expected one of {known}{hint}")
    return tuple(e for e in EXPERIMENTS.values() if not asked or e.name in asked)


def run_experiments(
    experiments: Sequence[Experiment],
    *,
    full: bool = False,
    store: str | Path | None = None,
    watch: Callable[[Experiment], Watch] | None = None,
) -> Iterator[Result]:
    """Run experiments, each when its result is asked for.

    Args:
        experiments: from `find_experiments`.
        full: the papers' sizes.
        store: a folder where finished cells are kept; run again, it goes on from there.
        watch: called as an experiment starts; what it returns is told of each of its cells.

    Raises:
        BackendError: PyTorch or scikit-learn is missing; `pip install 'isometry[lab]'`.
    """
    missing = [name for module, name in NEEDED.items() if find_spec(module) is None]
    if missing:
        raise BackendError(
            f"the lab trains networks, and {' and '.join(missing)} is not installed here: "
            "pip install 'isometry[lab]'"
        )
    for experiment in experiments:
        told = None if watch is None else watch(experiment)
        yield experiment.run(full=full, store=store, watch=told)


def _typed(name: str) -> str:
    return name.replace("_", "-")
