"""What ends a residual branch, and can be zero: the stream then starts as the identity.

    x_{k+1} = x_k + f_k(x_k),   f_k = 0 at first: every singular value of the stream's Jacobian is 1

The zero moves at the first step, since what it multiplies is not zero. It is the gain of a
normalisation where one ends the branch (the matrix before it has no scale), else the matrix.
"""

from __future__ import annotations

from collections.abc import Mapping

from isometry.graph import Node
from isometry.recipe.base import Survey
from isometry.streams import CARRIERS

__all__ = ["heard", "silenced"]

GAIN = "the last gain of its residual branch: starts silent, and moves at once"
WRITER = (
    "ends its residual branch: starts silent, so that the stream is the identity; moves at once"
)


def silenced(survey: Survey) -> dict[str, str]:
    """Parameter -> the reason for which it starts at zero."""
    graph = survey.graph
    starts = {
        node.index
        for stream in survey.streams.streams
        if (node := _matrix_behind(survey, stream.start)) is not None
    }
    gains = {
        u.node.output: name
        for name, u in survey.usages.items()
        if u.role == "norm_gain" and u.node is not None
    }
    found: dict[str, str] = {}
    ended: set[int] = set()  # additions whose branch a gain ends
    for index, (_, _, branch) in survey.streams.of_addition.items():
        value = branch
        while (node := graph.producer(value)) is not None:
            if value in gains:
                found[gains[value]] = GAIN
                ended.add(index)
            if value in gains or not _passes(survey, node):
                break
            value = next(v for v in node.inputs if v not in survey.weights)
    for name, usage in survey.usages.items():
        node = usage.node
        if usage.stream is None or usage.role not in ("linear", "conv") or node is None:
            continue
        if usage.normalised or usage.others or usage.heads or node.index in starts:
            continue
        if not ended.intersection(usage.stream.additions):
            found[name] = WRITER
    return found


def heard(survey: Survey, silent: Mapping[str, str]) -> set[int]:
    """The nodes that an output hears at the start: those before it, but not behind what is silent."""
    stops = {u.node.index for n in silent if (u := survey.usages[n]).node is not None}
    found: set[int] = set()
    todo = list(survey.graph.outputs.values())
    while todo:
        node = survey.graph.producer(todo.pop())
        if node is None or node.index in found or node.index in stops:
            continue
        found.add(node.index)
        todo.extend(node.inputs)
    return found


def _passes(survey: Survey, node: Node) -> bool:
    """Does a value go through unchanged but for a bias?"""
    learned = [v in survey.weights for v in node.inputs]
    return node.op in CARRIERS or (node.op == "add" and any(learned) and not all(learned))


def _matrix_behind(survey: Survey, value: int) -> Node | None:
    """The matrix whose output a stream starts from, through biases, functions and normalisations."""
    for _ in range(12):
        node = survey.graph.producer(value)
        if node is None or node.op in ("linear", "conv", "bilinear"):
            return node
        onward = [v for v in node.inputs if v not in survey.weights]
        if node.op not in (*CARRIERS, "pointwise", "norm", "mul", "add") or len(onward) != 1:
            return None
        value = onward[0]
    return None
