"""How a check runs: measure, judge, judge further builds, say where in the source it is.

model, inputs --measure--> Measurements, Graph --judge--> Report
build --build, measure, judge--> Reports of other seeds --over_seeds--> one Report
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

from isometry import checker
from isometry.adapters import FrameworkAdapter, adapter_for
from isometry.errors import ArgumentError
from isometry.planner import plan_graph
from isometry.progress import track
from isometry.types import NotChecked, Report

__all__ = ["checked"]


def checked(
    model: Any,
    inputs: Any,
    *,
    loss: Any,
    target: Any,
    build: Callable[[], Any] | None,
    seeds: int | None,
    select: tuple[str, ...],
    ignore: tuple[str, ...],
    jacobian: bool,
) -> Report:
    """The report on a model; the arguments are those of `isometry.check`."""
    adapter = adapter_for(model)
    checker.parse_ignore(ignore)  # a slip of the pen should not wait for a forward pass
    _check_seeds(seeds, build)
    measured, graph = adapter.measure(
        model, inputs, loss=loss, target=target, build=build, jacobian=jacobian
    )
    report = checker.judge(measured, graph, select=select, ignore=ignore)
    unset = any(p.rebuilt == "unset" for p in report.parameters)
    if unset:  # what happens to lie in memory would be judged
        why = NotChecked("further seeds", "build() leaves values unset")
        report = replace(report, not_checked=(*report.not_checked, why))
    elif build is not None and report.judged:
        count = checker.affordable(graph) if seeds is None else seeds

        def judged() -> Iterator[Report]:
            for seed in track([(s, 1) for s in range(1, count + 1)], "other seeds", count):
                twin = adapter.build(build, seed)
                found, its_graph = adapter.measure(
                    twin, inputs, loss=loss, target=target, build=None, probing=False
                )
                yield checker.judge(found, its_graph, select=select, ignore=ignore)

        report = checker.over_seeds(report, tuple(judged()))
    report = replace(report, planner=lambda: plan_graph(graph))
    return _located(report, adapter, model)


def _check_seeds(seeds: int | None, build: object) -> None:
    if seeds is None:
        return
    if isinstance(seeds, bool) or not isinstance(seeds, int) or seeds < 0:
        raise ArgumentError(f"seeds is {seeds!r}; expected a number of builds, such as 20, or None")
    if build is None and seeds:
        raise ArgumentError(
            f"seeds={seeds} and no factory: pass build=, a function that returns a new model, such "
            "as build=lambda: Net()"
        )


def _located(report: Report, adapter: FrameworkAdapter, model: Any) -> Report:
    """The report, each finding with the line of source that makes the layer where it starts."""
    starts = [checker.start_of(f) for f in report.findings]
    found = adapter.locate(model, starts)
    return replace(
        report,
        findings=tuple(
            replace(f, location=found.get(start))
            for f, start in zip(report.findings, starts, strict=True)
        ),
    )
