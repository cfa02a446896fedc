"""A perceptron written in NumPy is measured and judged as the same one in PyTorch."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

import isometry as iso
from isometry import checker
from isometry.errors import ArgumentError
from isometry.measuring import Goal, Pass, measured
from isometry.torch.measure import measure as measure_in_torch
from isometry.types import Measurements

from .mlp import MLP, he, in_torch

Array = NDArray[Any]

DRAWN = np.random.default_rng(3)
X = DRAWN.normal(size=(64, 8)).astype(np.float32)
CLASSES = DRAWN.integers(5, size=64)
TARGETS: dict[str | None, Array | None] = {
    "cross_entropy": CLASSES,
    "mse": DRAWN.normal(size=(64, 5)).astype(np.float32),
    "bce_with_logits": (DRAWN.random((64, 5)) < 0.2).astype(np.float32),
}
SIZES = (8, 32, 16, 5)

# Sums of up to 2048 float32 products and squares in another order.
CLOSE: dict[str, Any] = {"rel": 1e-4, "abs": 1e-12, "nan_ok": True}


def both(
    parameters: Mapping[str, Array], loss: str, inputs: Array = X
) -> tuple[Measurements, Measurements]:
    """What is measured here, and in PyTorch."""
    target = TARGETS[loss]
    found = measured(MLP(parameters, inputs), model="MLP", loss=loss, target=target)
    tensors = (torch.from_numpy(inputs), torch.from_numpy(np.asarray(target)))
    theirs, _ = measure_in_torch(in_torch(parameters), tensors[0], loss=loss, target=tensors[1])
    return found, theirs


def assert_same(mine: Any, other: Any, leave_out: tuple[str, ...] = ()) -> None:
    """Every field: numbers to rounding, the rest exactly."""
    for field in dataclasses.fields(mine):
        a, b = getattr(mine, field.name), getattr(other, field.name)
        if field.name in leave_out:
            continue
        if isinstance(b, float) or (isinstance(b, tuple) and b and isinstance(b[0], float)):
            assert a == pytest.approx(b, **CLOSE), (field.name, mine)
        else:
            assert a == b, (field.name, mine)


def with_equal_units(parameters: dict[str, Array]) -> dict[str, Array]:
    """The second unit of the first layer is its first."""
    for slot in ("weight", "bias"):
        parameters[f"fc1.{slot}"][1] = parameters[f"fc1.{slot}"][0]
    return parameters


def with_constant(parameters: dict[str, Array], value: float) -> dict[str, Array]:
    return {n: np.full_like(p, value if "weight" in n else 0.0) for n, p in parameters.items()}


def scaled(parameters: dict[str, Array], factor: float) -> dict[str, Array]:
    return {n: p * (factor if "weight" in n else 0.0) for n, p in parameters.items()}


def with_dead_units(parameters: dict[str, Array]) -> dict[str, Array]:
    parameters["fc1.bias"][:28] = -4.0
    return parameters


def with_nan(parameters: dict[str, Array]) -> dict[str, Array]:
    parameters["fc2.weight"][0, 0] = np.nan
    return parameters


MODELS = {
    "drawn": he(SIZES),
    "two equal units": with_equal_units(he(SIZES)),
    "zero": with_constant(he(SIZES), 0.0),
    "a zero head": {**he(SIZES), "fc3.weight": np.zeros((5, 16))},
    "constant": with_constant(he(SIZES), 0.1),
    "exploding": scaled(he((8, *(32,) * 9, 5)), 20.0),
    "vanishing": scaled(he((8, *(32,) * 9, 5)), 0.02),
    "dead": with_dead_units(he(SIZES)),
    "not a number": with_nan(he(SIZES)),
}
BEYOND_FLOAT32 = scaled(he((8, *(32,) * 9, 5)), 1e5)
CODES = {
    "zero": {"ISO103"},
    "constant": {"ISO101"},
    "exploding": {"ISO202"},
    "vanishing": {"ISO201"},
    "dead": {"ISO401"},
}


@pytest.mark.parametrize("loss", [name for name in TARGETS if name])
@pytest.mark.parametrize("kind", MODELS)
def test_every_field_is_that_of_pytorch(kind: str, loss: str) -> None:
    found, theirs = both(MODELS[kind], loss)
    assert len(found.layers) == len(theirs.layers) > 0
    for mine, other in zip(found.layers, theirs.layers, strict=True):
        assert_same(mine, other)
    for parameter, its in zip(found.parameters, theirs.parameters, strict=True):
        assert_same(parameter, its)
    for given, same in zip(found.inputs, theirs.inputs, strict=True):
        assert_same(given, same, leave_out=("value",))
    assert_same(found, theirs, ("model", "layers", "parameters", "inputs", "values", "loss"))
    assert found.loss == pytest.approx(theirs.loss, rel=1e-5, nan_ok=True)
    assert found.values.keys() == theirs.values.keys()
    for name, values in found.values.items():
        near = 1e-5 * np.nanmax(np.abs(values))
        np.testing.assert_allclose(values, theirs.values[name], rtol=1e-3, atol=near)


@pytest.mark.parametrize("kind", MODELS)
def test_it_is_judged_as_in_pytorch(kind: str) -> None:
    runner = MLP(MODELS[kind], X)
    found = measured(runner, model="MLP", loss="cross_entropy", target=CLASSES)
    report = checker.judge(found, runner.graph)
    target = torch.from_numpy(CLASSES)
    theirs = iso.check(
        in_torch(MODELS[kind]), torch.from_numpy(X), loss="cross_entropy", target=target
    )
    assert [(f.code, f.where) for f in report.findings] == [
        (f.code, f.where) for f in theirs.findings
    ]
    assert CODES.get(kind, set()) <= {f.code for f in report.findings}
