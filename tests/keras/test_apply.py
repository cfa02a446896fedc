"""A plan written into a Keras model: PyTorch's bits, on each backend, and nothing else."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import pytest

import isometry as iso
from isometry.errors import ArgumentError, IsometryError, PlanError
from isometry.keras.structure import owned_variables
from isometry.stored import as_torch

from .models import TWINS, host, mlp, vectors

L = keras.layers


def in_torch_s_layout(model: Any) -> dict[str, Any]:
    return {
        o.names[0]: as_torch(host(o.variable.value), o.layout.stored, o.layout.shape)
        for o in owned_variables(model)
    }


@pytest.mark.parametrize("name", TWINS)
def test_weights_are_bit_equal_and_outputs_agree(name: str) -> None:
    ours, theirs, inputs = TWINS[name]
    x, tensor = inputs()
    model, twin = ours(), theirs()
    iso.initialize(model, x, seed=3)
    iso.initialize(twin, tensor, seed=3)
    expected = dict(twin.named_parameters())
    found = in_torch_s_layout(model)
    assert expected.keys() <= found.keys()
    for path, parameter in expected.items():
        assert np.array_equal(found[path], host(parameter)), path
    twin.eval()
    y, wanted = host(model(x)), host(twin(tensor))
    assert np.allclose(y, wanted, rtol=1e-4, atol=1e-5 * np.abs(wanted).max())


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_narrow_variables_are_rounded_once(dtype: str) -> None:
    x, _ = vectors()
    wide = mlp()
    narrow = keras.Sequential(
        [
            L.Dense(64, activation="relu", name="fc1", dtype=dtype),
            L.Dense(64, activation="relu", name="fc2", dtype=dtype),
            L.Dense(10, name="fc3", dtype=dtype),
        ]
    )
    iso.initialize(wide, x, seed=1)
    plan = iso.initialize(narrow, x, seed=1)
    assert {d.dtype for d in plan} == {dtype}
    for a, b in zip(wide.weights, narrow.weights, strict=True):
        rounded = host(keras.ops.cast(keras.ops.cast(a.value, dtype), "float32"))
        assert np.array_equal(rounded, host(keras.ops.cast(b.value, "float32")))


def test_a_mixed_policy_keeps_float32_variables() -> None:
    x, _ = vectors()
    mixed = keras.Sequential([L.Dense(64, "relu", dtype="mixed_bfloat16"), L.Dense(4)])
    plain = keras.Sequential([L.Dense(64, "relu"), L.Dense(4)])
    plans = iso.initialize(mixed, x), iso.initialize(plain, x)
    assert plans[0].digest == plans[1].digest
    assert all(np.array_equal(a, b) for a, b in zip(mixed.get_weights(), plain.get_weights(), strict=True))  # fmt: skip


def test_all_or_some_of_it() -> None:
    x, _ = vectors()
    model = mlp()
    plan = iso.plan(model, x)
    before = [w.copy() for w in model.get_weights()]
    plan.apply(model, seed=5, include="fc2.*")
    changed = [not np.array_equal(a, b) for a, b in zip(before, model.get_weights(), strict=True)]
    assert changed == [False, False, True, False, False, False]
    plan.apply(model, seed=5, exclude=["fc2.*", "fc3.weight"])
    assert np.array_equal(model.get_weights()[4], before[4])
    assert not np.array_equal(model.get_weights()[0], before[0])
    with pytest.raises(PlanError, match="matches no parameter"):
        plan.apply(model, seed=5, include="nowhere.*")


def test_what_does_not_fit_leaves_the_model_as_it_was() -> None:
    x, _ = vectors()
    model = mlp()
    model.build((None, 8))
    before = [w.copy() for w in model.get_weights()]
    other = keras.Sequential(
        [L.Dense(64, name="fc1"), L.Dense(63, name="fc2"), L.Dense(10, name="fc3")]
    )
    plan = iso.plan(other, x)
    with pytest.raises(PlanError, match=r"fc2\.weight has shape"):
        plan.apply(model, seed=0)
    with pytest.raises(PlanError, match="does not fit"):
        iso.plan(keras.Sequential([L.Dense(4)]), x).apply(model, seed=0)
    with pytest.raises(ArgumentError, match="seed"):
        iso.plan(model, x).apply(model, seed=-1)
    assert all(np.array_equal(a, b) for a, b in zip(before, model.get_weights(), strict=True))


def test_the_optimiser_s_state_and_statistics_stay() -> None:
    x, _ = vectors()
    model = keras.Sequential([L.Dense(8), L.BatchNormalization(), L.Dense(1)])
    model.compile("adam", "mse")
    model.fit(x, np.ones((len(x), 1), np.float32), epochs=1, verbose=0)
    state = [host(v.value).copy() for v in model.optimizer.variables]
    moving = host(model.layers[1].moving_mean.value).copy()
    iso.initialize(model, x)
    assert all(np.array_equal(a, host(v.value)) for a, v in zip(state, model.optimizer.variables, strict=True))  # fmt: skip
    assert np.array_equal(host(model.layers[1].moving_mean.value), moving)
    model.fit(x, np.ones((len(x), 1), np.float32), epochs=1, verbose=0)  # and it still trains


def test_a_plan_of_pytorch_s_goes_into_a_keras_model() -> None:
    ours, theirs, inputs = TWINS["mlp"]
    x, tensor = inputs()
    model, own = ours(), ours()
    model.build(x.shape)
    iso.plan(theirs(), tensor).apply(model, seed=2)
    iso.initialize(own, x, seed=2)
    assert all(
        np.array_equal(a, b) for a, b in zip(model.get_weights(), own.get_weights(), strict=True)
    )


def test_names_choose_the_stream() -> None:
    x, _ = vectors()
    model, twin = keras.Sequential([L.Dense(64, "relu"), L.Dense(10)]), mlp()
    twin.build(x.shape)
    iso.initialize(model, x, seed=4, names={"dense": "fc1", "dense_1": "fc3"})
    iso.initialize(twin, x, seed=4)
    assert np.array_equal(model.get_weights()[0], twin.get_weights()[0])


def test_models_correspond_across_frameworks() -> None:
    ours, theirs, inputs = TWINS["block"]
    model = ours()
    model(inputs()[0])
    assert iso.transfer(model, theirs()).complete


def test_a_saved_model_holds_the_weights(tmp_path: Any) -> None:
    x, _ = vectors()
    model = mlp()
    iso.initialize(model, x, seed=7)
    model.save(tmp_path / "m.keras")
    again = keras.models.load_model(tmp_path / "m.keras")
    assert all(
        np.array_equal(a, b) for a, b in zip(model.get_weights(), again.get_weights(), strict=True)
    )
    assert iso.plan(again, x).digest == iso.plan(model, x).digest


def test_calibration_brings_products_to_their_aims() -> None:
    x, _ = vectors(512)
    model, planned = mlp(), mlp()
    plan = iso.initialize(model, 3 * x, seed=0, calibrate=True)
    assert "3 of 3 matrices calibrated" in plan.notes[-1]
    h = 3 * x
    for layer in model.layers:
        h = h @ host(layer.kernel)
        assert np.square(h, dtype=np.float64).mean() == pytest.approx(1.0, rel=1e-4)
        h = np.maximum(h, 0)
    planned.build(x.shape)
    plan.apply(planned, seed=0)  # the factors are part of the plan
    assert all(
        np.array_equal(a, b)
        for a, b in zip(model.get_weights(), planned.get_weights(), strict=True)
    )


def test_calibration_without_inputs_or_signal_is_refused() -> None:
    model = mlp()
    model.build((None, 8))
    before = [w.copy() for w in model.get_weights()]
    with pytest.raises(IsometryError, match="calibrate=True without inputs"):
        iso.initialize(model, calibrate=True)
    with pytest.raises(IsometryError, match="zero everywhere"):
        iso.initialize(model, np.zeros((32, 8), np.float32), calibrate=True)
    assert all(np.array_equal(a, b) for a, b in zip(before, model.get_weights(), strict=True))


def test_a_part_of_a_planned_model_has_the_weights_of_the_whole() -> None:
    whole = mlp()
    plan = iso.initialize(whole, vectors()[0], seed=3)
    name, own = next((n, d) for d in plan if len(d.shape) == 2 for n in [d.name])
    layer = L.Dense(own.shape[0], name="mine")
    part = keras.Sequential([keras.Input((own.shape[1],)), layer])
    plan.apply(part, seed=3, part={"mine": name.removesuffix(".weight")})
    expected = in_torch_s_layout(whole)[name]
    assert np.array_equal(in_torch_s_layout(part)["mine.weight"], expected)
    with pytest.raises(PlanError, match="which the plan of"):
        plan.apply(part, seed=3, part=True)
