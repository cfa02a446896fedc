"""How the gradient changes along the paths of a model."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from isometry.checker.effects import Effect, severity
from isometry.checker.paths import Step
from isometry.checker.reading import Reading
from isometry.graph import Graph

__all__ = ["gradient_effects"]

# ResNet-50 as published has a factor of 150, and trains; with batch normalisation and no skips
# training stops at about 50 layers, a factor of 10,000 (Yang et al. 2019).
WARN, FAIL = 1_000.0, 100_000.0
NOWHERE = -1  # of a node from which no output is reached


def gradient_effects(reading: Reading) -> Iterator[Effect]:
    """For each path, the pull of the first layer over that of the last which all of it reaches.

    A layer of a branch gets a part of the gradient only, so the last is one that every way from
    the first to any output leads through. Where the gradient is exactly zero a zero weight or a
    dead layer stops it, which other rules judge by what they do next.
    """
    gates = _gates(reading.graph)
    seen: set[int] = set()
    for path in reading.paths:
        for segment in path.segments("average", "join"):
            steps = tuple(s for s in segment.body if s.pull is not None and not _broken(s))
            steps = _trunk(steps, gates)
            if len(steps) < 3 or steps[0].measured.node in seen:
                continue
            first, last = steps[0].pull, steps[-1].pull
            if not first or not last:
                continue
            grade = severity(first / last, WARN, FAIL)
            if grade is not None:
                seen.add(steps[0].measured.node)
                yield Effect(steps, first / last, grade)


def _broken(step: Step) -> bool:
    return step.measured.nonfinite > 0 or step.measured.grad_nonfinite > 0


def _trunk(steps: tuple[Step, ...], gates: Sequence[int]) -> tuple[Step, ...]:
    """The first step, and those that every way from it to an output leads through."""
    if not steps:
        return ()
    through = set()
    node = steps[0].measured.node
    while node != NOWHERE and node < len(gates):
        through.add(node)
        node = gates[node]
    return tuple(s for s in steps if s.measured.node in through)


def _gates(graph: Graph) -> list[int]:
    """node -> the next node that every way from it to an output leads through; past the last
    node where there is none, NOWHERE where no output is reached.

    Immediate post-dominators: those of all readers meet at the first node they share.
    """
    end = len(graph.nodes)
    outputs = set(graph.outputs.values())
    gates = [NOWHERE] * end
    for node in reversed(graph.nodes):
        ways = [r.index for v in node.outputs for r, _ in graph.readers(v)]
        ways = [w for w in ways if w > node.index and gates[w] != NOWHERE]
        if outputs.intersection(node.outputs):
            ways.append(end)
        meeting = NOWHERE
        for way in ways:
            meeting = way if meeting == NOWHERE else _meet(meeting, way, gates)
        gates[node.index] = meeting
    return gates


def _meet(a: int, b: int, gates: Sequence[int]) -> int:
    while a != b:
        if a < b:
            a = gates[a]
        else:
            b = gates[b]
    return a
