"""A check of a Keras model measures what one of the same model in PyTorch does, and judges it alike."""

from __future__ import annotations

import random
from typing import Any

import keras
import numpy as np
import pytest
import torch

import isometry as iso
from isometry.errors import ArgumentError, TraceError
from isometry.keras.adapter import adapter
from isometry.keras.inputs import as_call
from isometry.keras.measure import measure
from isometry.keras.read import built, reading
from isometry.keras.run import KerasRunner
from isometry.keras.structure import owned_variables
from isometry.torch.measure import measure as measure_torch

from .models import TWINS, cnn, host, mlp, vectors
from .test_plan import Foreign

L = keras.layers


def twins(name: str) -> tuple[Any, Any, Any, Any]:
    ours, theirs, inputs = TWINS[name]
    x, tensor = inputs()
    model, twin = ours(), theirs()
    iso.initialize(model, x, seed=3)
    iso.initialize(twin, tensor, seed=3)
    return model, twin, x, tensor


@pytest.mark.parametrize("name", TWINS)
def test_it_measures_what_pytorch_does(name: str) -> None:
    model, twin, x, tensor = twins(name)
    shape = (len(x), 8) if name == "block" else (len(x),)
    target = np.random.default_rng(1).integers(0, 10, shape)
    loss = {"loss": "cross_entropy", "probing": False, "build": None}
    found, graph = measure(model, x, target=target, **loss)
    other, _ = measure_torch(twin, tensor, target=torch.from_numpy(target), **loss)
    assert found.loss == pytest.approx(other.loss, rel=1e-5)
    assert found.classes == other.classes
    assert [m.op for m in found.layers] == [m.op for m in other.layers]
    gradients = {p.name: p.grad for p in other.parameters}
    for parameter in found.parameters:
        if gradients.get(parameter.name) is not None:
            wanted = pytest.approx(gradients[parameter.name], rel=1e-3, abs=1e-12)
            assert parameter.grad == wanted, parameter.name
    for mine, its in zip(found.layers, other.layers, strict=True):
        if not _sampled(mine, graph):
            assert mine.q == pytest.approx(its.q, rel=1e-3), mine
            if its.grad is not None and mine.grad is not None:
                assert mine.grad == pytest.approx(its.grad, rel=1e-2, abs=1e-12), mine


def _sampled(measurement: Any, graph: Any) -> bool:
    """Is it so large that its moments are those of a part of it, in another order of axes?"""
    return int(np.prod(measurement.shape)) > 1 << 13


@pytest.mark.parametrize("name", TWINS)
def test_a_plan_is_healthy(name: str) -> None:
    model, twin, x, tensor = twins(name)
    report, other = (
        iso.check(model, x, loss="cross_entropy"),
        iso.check(twin, tensor, loss="cross_entropy"),
    )
    assert report.ok
    assert {f.code for f in report.findings} == {f.code for f in other.findings}


@pytest.mark.parametrize("bad", ["zeros", "ones", "large"])
def test_a_fault_is_found_as_in_pytorch(bad: str) -> None:
    model, twin, x, tensor = twins("mlp")
    kernel = model.layers[1].kernel
    values = host(kernel)
    faulty = {"zeros": 0 * values, "ones": 0 * values + 0.1, "large": 40 * values}[bad]
    kernel.assign(faulty)
    with torch.no_grad():
        twin.fc2.weight.copy_(torch.from_numpy(faulty.T.copy()))
    report = iso.check(model, x, loss="cross_entropy")
    other = iso.check(twin, tensor, loss="cross_entropy")
    errors = sorted((f.code, f.where) for f in report.findings if f.severity == "error")
    assert errors == sorted((f.code, f.where) for f in other.findings if f.severity == "error")
    assert errors


# -- losses ------------------------------------------------------------------------------------


def test_the_compiled_loss_is_used() -> None:
    model, _, x, _ = twins("mlp")
    target = np.random.default_rng(1).integers(0, 10, len(x))
    own = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile("adam", own)
    report = iso.check(model, x, target=target)
    assert report.loss == pytest.approx(float(host(own(target, model(x)))), rel=1e-5)
    assert "initial loss" not in [n.what for n in report.not_checked]


@pytest.mark.parametrize("loss", ["sparse_categorical_crossentropy", "categorical_crossentropy"])
def test_a_softmax_head_is_judged_by_its_logits(loss: str) -> None:
    x, _ = vectors()
    model = keras.Sequential([L.Dense(16, "relu"), L.Dense(5, "softmax")])
    iso.initialize(model, x)
    model.compile(loss=loss)
    classes = np.random.default_rng(1).integers(0, 5, len(x))
    target = classes if loss.startswith("sparse") else np.eye(5, dtype=np.float32)[classes]
    found, _ = measure(model, x, target=target)
    wanted = keras.ops.mean(keras.losses.get(loss)(keras.ops.convert_to_tensor(target), model(x)))
    assert found.classes == 5
    assert found.loss == pytest.approx(float(host(wanted)), rel=1e-5)


def test_a_sigmoid_head_knows_its_prior() -> None:
    x, _ = vectors(256)
    model = keras.Sequential([L.Dense(16, "relu"), L.Dense(1, "sigmoid")])
    iso.initialize(model, x)
    model.compile(loss="binary_crossentropy")
    target = (np.arange(256) % 20 == 0).astype(np.float32)  # of shape (256,), as people pass it
    found, _ = measure(model, x, target=target)
    assert found.prior == pytest.approx(13 / 256)
    assert found.claimed == pytest.approx(float(host(model(x)).mean()), rel=1e-4)


@pytest.mark.parametrize(
    "loss",
    [
        keras.losses.Huber(), "mae", "cosine_similarity", keras.losses.KLDivergence(),
        lambda output, target: keras.ops.mean(keras.ops.square(output)),
    ],
)  # fmt: skip
def test_any_loss_is_differentiated(loss: Any) -> None:
    model, _, x, _ = twins("mlp")
    found, _ = measure(model, x, loss=loss)
    assert found.loss is not None
    assert all(p.grad for p in found.parameters)


def test_a_gradient_is_that_of_the_backend() -> None:
    """A loss of the user's own: its gradient by the last bias is known in closed form."""
    model, _, x, _ = twins("mlp")
    found, _ = measure(
        model, x, loss=lambda y, t: keras.ops.mean(keras.ops.square(y - t)), target=1.0
    )
    y = host(model(x)).astype(np.float64)
    gradient = 2 * (y - 1.0).sum(0) / y.size
    grad = next(p.grad for p in found.parameters if p.name == "fc3.bias")
    assert grad == pytest.approx(np.square(gradient).mean(), rel=1e-4)


def test_a_loss_an_output() -> None:
    inputs = L.Input((8,))
    h = L.Dense(16, "relu")(inputs)
    model = keras.Model(inputs, {"a": L.Dense(3, name="a")(h), "b": L.Dense(1, name="b")(h)})
    model.compile(
        loss={"a": keras.losses.SparseCategoricalCrossentropy(from_logits=True), "b": "mse"}
    )
    x, _ = vectors()
    target = {"a": np.zeros(len(x), np.int64), "b": np.ones((len(x), 1), np.float32)}
    found, _ = measure(model, x, target=target)
    y = model(x)
    expected = keras.losses.SparseCategoricalCrossentropy(from_logits=True)(target["a"], y["a"])
    expected = float(host(expected)) + float(np.square(host(y["b"]) - 1.0).mean())
    assert found.loss == pytest.approx(expected, rel=1e-5)


def test_a_loss_that_fails_is_said_to() -> None:
    model, _, x, _ = twins("mlp")
    with pytest.raises(ArgumentError, match="the loss failed"):
        iso.check(model, x, loss=lambda output, target: output @ output)


# -- what is run -------------------------------------------------------------------------------


def test_batch_normalisation_is_by_the_batch_and_dropout_is_off() -> None:
    x, _ = vectors(64)
    model = keras.Sequential([L.Dropout(0.5), L.BatchNormalization(), L.Dense(4)])
    found, _ = measure(model, 5 + 3 * x)
    norm = next(m for m in found.layers if m.op == "norm")
    assert norm.q == pytest.approx(1.0, rel=1e-3)
    assert all(np.array_equal(host(v.value), np.full(8, c)) for v, c in ((model.layers[1].moving_mean, 0.0), (model.layers[1].moving_variance, 1.0)))  # fmt: skip


def test_a_frozen_normalisation_goes_by_what_it_has_seen() -> None:
    x, _ = vectors(64)
    model = keras.Sequential([L.BatchNormalization(), L.Dense(4)])
    model.build(x.shape)
    model.layers[0].trainable = False
    found, _ = measure(model, 3 * x)
    norm = next(m for m in found.layers if m.op == "norm")
    assert norm.q == pytest.approx(float(np.square(3 * x).mean()), rel=1e-2)


class Attending(keras.layers.Layer):
    """Attention to itself, of a layer that takes query and value."""

    def __init__(self, layer: Any) -> None:
        super().__init__()
        self.inner = layer

    def build(self, shape: Any) -> None:
        self.inner.build(shape, shape)

    def call(self, x: Any) -> Any:
        return self.inner(x, x, use_causal_mask=True)


@pytest.mark.parametrize(
    "make",
    [
        lambda: Attending(L.MultiHeadAttention(2, 4)),
        lambda: Attending(L.MultiHeadAttention(2, 4, dropout=0.1)),
        lambda: Attending(L.GroupQueryAttention(4, 4, 2)),
        lambda: L.LSTM(8, return_sequences=True), lambda: L.GRU(8, go_backwards=True),
        lambda: L.Bidirectional(L.GRU(8)), lambda: L.ConvLSTM1D(4, 3, padding="same"),
        lambda: L.TimeDistributed(L.Dense(4)), lambda: L.RNN([L.LSTMCell(4), L.GRUCell(3)]),
        lambda: L.GroupNormalization(4), lambda: L.BatchNormalization(), lambda: L.UnitNormalization(),
        lambda: L.SeparableConv1D(6, 3), lambda: L.Conv1DTranspose(6, 3, padding="same"),
        lambda: L.PReLU(), lambda: L.Normalization(), lambda: L.Rescaling(0.5), lambda: Foreign(),
        lambda: L.SpectralNormalization(L.Dense(4)), lambda: L.Softmax(),
    ],
)  # fmt: skip
def test_what_is_run_is_what_the_layer_computes(make: Any) -> None:
    """The program, step by step, gives what the model gives; batch statistics where it trains."""
    layer = make()
    shape = (4, 12, 5, 8) if "ConvLSTM" in type(layer).__name__ else (4, 12, 8)
    x = np.random.default_rng(2).standard_normal(shape, dtype=np.float32)
    model = keras.Sequential([layer, L.Flatten(), L.Dense(2)])
    found = _run(model, x)
    training = isinstance(layer, L.BatchNormalization)
    assert np.allclose(found, host(model(x, training=training)), atol=1e-5)


def _run(model: Any, x: Any) -> Any:
    call = as_call(x, model)
    built(model, call)
    read = reading(model, owned_variables(model), call, None, steps=10**9)
    return KerasRunner(call, read).run(None, None).outputs["output"]


def test_a_mask_is_followed() -> None:
    tokens = np.array([[1, 2, 0, 0], [3, 0, 0, 0], [1, 1, 1, 1]] * 12)
    model = keras.Sequential([L.Embedding(5, 8, mask_zero=True), L.LSTM(8), L.Dense(2)])
    iso.initialize(model, tokens)
    assert iso.check(model, tokens).ok
    assert np.allclose(_run(model, tokens), host(model(tokens)), atol=1e-6)
    x = np.random.default_rng(0).standard_normal((4, 6, 8), dtype=np.float32)
    x[:, 4:] = 0
    model = keras.Sequential([L.Masking(), L.GRU(8, return_sequences=True), L.Dense(2)])
    iso.initialize(model, x)
    assert np.allclose(_run(model, x), host(model(x)), atol=1e-6)


def test_the_report_says_what_could_not_be_followed() -> None:
    x, _ = vectors(64)
    report = iso.check(keras.Sequential([Foreign(), L.Dense(4)]), x)
    assert any("foreign is planned from its type" in n.why for n in report.not_checked)


def test_other_seeds_are_built_and_generators_put_back() -> None:
    x, _ = vectors(64)
    model = mlp()
    model.build(x.shape)
    keras.utils.set_random_seed(5)
    wanted = random.random(), np.random.random(), host(keras.random.normal((3,)))
    keras.utils.set_random_seed(5)
    report = iso.check(model, x, build=mlp, seeds=3)
    assert report.judged
    assert random.random() == wanted[0]
    assert np.random.random() == wanted[1]
    assert np.array_equal(host(keras.random.normal((3,))), wanted[2])


def test_a_factory_s_values_follow_from_the_seed() -> None:
    def make() -> Any:
        model = mlp()
        model.build((None, 8))
        return model

    a, b, c = (adapter.build(make, seed).get_weights()[0] for seed in (1, 1, 2))
    assert np.array_equal(a, b)
    assert not np.array_equal(a, c)
    with pytest.raises(ArgumentError, match="build\\(\\) raised ZeroDivisionError"):
        adapter.build(lambda: 1 / 0, 0)


def test_a_finding_has_a_line_of_source() -> None:
    class Net(keras.Model):
        def __init__(self) -> None:
            super().__init__()
            self.first = L.Dense(64, "relu", kernel_initializer="zeros")
            self.last = L.Dense(4)

        def call(self, x: Any) -> Any:
            return self.last(self.first(x))

    report = iso.check(Net(), vectors(64)[0])
    (finding,) = [f for f in report.findings if f.severity == "error"][:1]
    assert finding.location is not None
    assert finding.location.file.endswith("test_check.py")


def test_what_has_no_values_is_refused() -> None:
    with pytest.raises(ArgumentError, match="no values to measure"):
        iso.check(cnn(), keras.KerasTensor((4, 16, 16, 3)))
    layer = L.Dense(4)
    layer.build((None, 8))
    with pytest.raises(TraceError, match="no inputs were given"):
        iso.check(layer)


def test_a_layer_alone_is_a_model() -> None:
    layer = L.Dense(4)
    x, _ = vectors(64)
    assert iso.initialize(layer, x)["weight"].shape == (4, 8)
    assert iso.check(layer, x).ok


def test_gains_of_keras_s_activations() -> None:
    assert iso.gain(keras.activations.gelu) == pytest.approx(iso.gain("gelu"), rel=1e-5)
    assert iso.gain(L.LeakyReLU(0.1)) == pytest.approx(
        iso.gain("leaky_relu", negative_slope=0.1), rel=1e-5
    )
