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


def test_what_overflows_is_found_without_a_warning_of_its_own() -> None:
    class Overflowing(MLP):
        def run(
            self, parameters: Mapping[str, Array] | None, goal: Goal | None, *, nodes: bool = True
        ) -> Pass:
            with np.errstate(over="ignore", invalid="ignore"):  # the model's, not ours
                return super().run(parameters, goal, nodes=nodes)

    runner = Overflowing(BEYOND_FLOAT32, X)
    for loss, target in TARGETS.items():
        found = measured(runner, model="MLP", loss=loss, target=target)
        report = checker.judge(found, runner.graph)
        theirs = iso.check(
            in_torch(BEYOND_FLOAT32), torch.from_numpy(X), loss=loss,
            target=torch.from_numpy(np.asarray(target)),
        )  # fmt: skip
        codes = [(f.code, f.where) for f in report.findings]
        assert codes == [(f.code, f.where) for f in theirs.findings]
        assert not report.ok


def test_without_a_loss_gradients_of_length_one_are_sent_back() -> None:
    found = measured(MLP(MODELS["drawn"], X), model="MLP")
    assert found.loss is None
    assert found.classes is None
    # The mean of n squares of mean 1/n: its relative standard error is sqrt(2/n).
    n = 64 * 5
    assert found.layers[-1].grad == pytest.approx(1 / n, rel=5 * (2 / n) ** 0.5)
    jacobian = measured(MLP(MODELS["drawn"], X), model="MLP", jacobian=True).not_checked
    assert [n.what for n in jacobian] == ["the singular values of the Jacobian"]


# -- the probe -----------------------------------------------------------------------------------


def parameter(found: Measurements, name: str) -> Any:
    return next(p for p in found.parameters if p.name == name)


def test_the_probe_takes_steps_beside_the_model() -> None:
    runner = MLP(MODELS["a zero head"], X)
    before = {n: p.copy() for n, p in runner.parameters.items()}
    found = measured(runner, model="MLP", loss="cross_entropy", target=CLASSES)
    head = parameter(found, "fc3.weight")
    assert (head.probed, head.moves_at) == (True, 1)
    assert not parameter(found, "fc1.weight").probed
    for name, values in before.items():
        np.testing.assert_array_equal(runner.parameters[name], values)
    assert all(p.dtype == np.float32 for run in runner.runs for p in run.values())
    again = measured(MLP(MODELS["a zero head"], X), model="MLP", loss="mse", probing=False)
    assert not parameter(again, "fc3.weight").probed


def test_equal_units_part_where_what_reads_them_differs() -> None:
    found, _ = both(MODELS["two equal units"], "mse")
    first = parameter(found, "fc1.weight")
    assert first.identical == pytest.approx(2 / 32)
    assert (first.probed, first.parts_at) == (True, 1)
    constant, _ = both(MODELS["constant"], "mse")
    assert parameter(constant, "fc1.weight").parts_at is None
    assert parameter(constant, "fc1.weight").grad_identical == 1.0


def test_a_movement_that_may_be_rounding_is_said_to_be() -> None:
    faint = he(SIZES)
    faint["fc2.weight"] *= 1e-8  # so that the gradient of the head is as small
    faint["fc2.bias"] *= 0
    faint["fc3.weight"] *= 0
    found, theirs = both(faint, "mse")
    assert parameter(theirs, "fc3.weight").moves_at == 1  # PyTorch looks again in float64
    assert parameter(found, "fc3.weight").moves_at == 1
    assert [n.what for n in found.not_checked] == ["zeros and equal units, by what they do next"]
    assert "rounding" in found.not_checked[0].why


# -- what a framework may fail at ----------------------------------------------------------------


class WithoutDerivative(MLP):
    """A model with an operation that cannot be differentiated."""

    def run(
        self, parameters: Mapping[str, Array] | None, goal: Goal | None, *, nodes: bool = True
    ) -> Pass:
        if goal is not None:
            raise NotImplementedError("no derivative of rounding")
        return super().run(parameters, goal, nodes=nodes)


def test_without_a_derivative_the_forward_pass_is_measured() -> None:
    found = measured(
        WithoutDerivative(MODELS["drawn"], X), model="MLP", loss="cross_entropy", target=CLASSES
    )
    whole, _ = both(MODELS["drawn"], "cross_entropy")
    assert [m.q for m in found.layers] == [m.q for m in whole.layers]
    assert found.loss == whole.loss
    assert all(m.grad is None for m in found.layers)
    assert [(n.what, n.why) for n in found.not_checked] == [
        ("gradients", "the backward pass failed: no derivative of rounding")
    ]


def test_a_loss_that_fails_says_so() -> None:
    def goal(outputs: Mapping[str, Array]) -> tuple[float | None, dict[str, Array]]:
        raise ArgumentError("the loss failed")

    with pytest.raises(ArgumentError, match="the loss failed"):
        measured(MLP(MODELS["drawn"], X), model="MLP", goal=goal)


def test_what_is_frozen_has_no_gradient_and_takes_no_step() -> None:
    runner = MLP(MODELS["a zero head"], X)
    leaves = tuple(
        dataclasses.replace(leaf, trainable=leaf.name != "fc3.weight")
        for leaf in runner.graph.leaves
    )
    runner.graph = dataclasses.replace(runner.graph, leaves=leaves)
    found = measured(runner, model="MLP", loss="mse", target=TARGETS["mse"])
    frozen = in_torch(MODELS["a zero head"])
    frozen.get_parameter("fc3.weight").requires_grad_(False)
    theirs, _ = measure_in_torch(
        frozen, torch.from_numpy(X), loss="mse", target=torch.from_numpy(TARGETS["mse"])
    )
    for mine, other in zip(found.parameters, theirs.parameters, strict=True):
        assert_same(mine, other)
    assert parameter(found, "fc3.weight").grad is None
