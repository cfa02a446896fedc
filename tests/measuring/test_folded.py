"""A bias that a trace shows as an addition of its own is measured as part of its layer."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from isometry.graph import Graph, Leaf
from isometry.measuring.layers import measure_layers
from isometry.measuring.runner import Pass
from isometry.measuring.statistics import samples_of
from isometry.recording import Recording
from isometry.views import View

X = np.zeros((16, 6, 4), np.float32)


def traced(head: str, after: Sequence[tuple[str, tuple[int, ...], str]]) -> Graph:
    """`head` on x, then operations with a parameter each: (op, its shape, the module it is of)."""
    recording, leaves = Recording(), []

    def parameter(shape: tuple[int, ...], owner: str, slot: str) -> View:
        view = recording.parameter(shape, "float32", owner)
        name = f"{owner}.{slot}"
        leaves.append(Leaf(name, (), "parameter", shape, "float32", view.root, "", owner, slot))
        return view

    x = recording.input(X.shape, "float32")
    recording.scope = "layer"
    if head == "linear":
        weight = parameter((4, 4), "layer", "weight")
        x = recording.product(x, weight, ((2,), (1,)), ((), ()), X.shape, "float32")
    else:
        x = recording.apply(head, (x,), {"kind": "layer"}, X.shape, "float32")
    for i, (op, shape, owner) in enumerate(after):
        own = parameter(shape, owner, f"p{i}").broadcast(X.shape, range(3 - len(shape), 3))
        x = recording.apply(op, (own, x), {}, X.shape, "float32")
    return recording.graph("model", leaves, {"output": x})


def measured_at(graph: Graph) -> list[tuple[str, int]]:
    run = Pass(values={n.index: X + n.index for n in graph})
    layers, _ = measure_layers(graph, run, samples_of(X), {})
    assert all(m.mean == m.node for m in layers)  # of the value that it is said to be of
    return [(m.op, m.node) for m in layers]


BIAS, GAIN, TABLE = ("add", (4,), "layer"), ("mul", (4,), "layer"), ("add", (6, 4), "positions")


@pytest.mark.parametrize(
    ("head", "after", "expected"),
    [
        ("linear", [BIAS], [("linear", 1)]),
        ("linear", [("add", (6, 4), "layer")], [("linear", 1)]),  # a bias for each place
        ("linear", [BIAS, TABLE], [("linear", 1), ("add", 2)]),
        ("linear", [TABLE], [("linear", 0), ("add", 1)]),
        ("linear", [BIAS, ("add", (4,), "other")], [("linear", 1), ("add", 2)]),
        ("linear", [GAIN], [("linear", 0), ("mul", 1)]),
        ("norm", [GAIN, BIAS], [("norm", 2)]),
        ("norm", [GAIN], [("norm", 1)]),
        ("norm", [BIAS], [("norm", 1)]),
        ("softmax", [BIAS], [("softmax", 0), ("add", 1)]),
    ],
)
def test_a_layer_is_measured_behind_its_bias(
    head: str,
    after: list[tuple[str, tuple[int, ...], str]],
    expected: list[tuple[str, int]],
) -> None:
    assert measured_at(traced(head, after)) == expected


def test_what_is_read_before_its_bias_stays_itself() -> None:
    recording = Recording()
    x = recording.input(X.shape, "float32")
    weight, bias = (recording.parameter(s, "float32", "layer") for s in ((4, 4), (4,)))
    y = recording.product(x, weight, ((2,), (1,)), ((), ()), X.shape, "float32")
    z = recording.apply("add", (y, bias.broadcast(X.shape, (2,))), {}, X.shape, "float32")
    leaves = [
        Leaf("w", (), "parameter", (4, 4), "float32", weight.root, "", "", "w"),
        Leaf("b", (), "parameter", (4,), "float32", bias.root, "", "", "b"),
    ]
    assert measured_at(recording.graph("m", leaves, {"both": y, "z": z})) == [
        ("linear", 0),
        ("add", 1),
    ]
