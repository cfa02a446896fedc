"""Keras's initializers, drop-in: the law, the bits on every backend, and how Keras keeps them."""

from __future__ import annotations

import copy
import hashlib
import math
import os
import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import scipy.stats

import isometry as iso
import isometry.keras as ik
from isometry.errors import ArgumentError

layers = keras.layers
DRAWN = [
    n
    for n in ik.__all__
    if n not in ("Constant", "Identity", "IdentityInitializer", "Ones", "Zeros")
]
KERNEL = {"DeltaOrthogonal": (3, 3, 8, 16)}


def host(tensor: Any) -> Any:
    return keras.ops.convert_to_numpy(keras.ops.stop_gradient(tensor))


def wide(tensor: Any) -> Any:
    return np.asarray(host(keras.ops.cast(tensor, "float32")), np.float64)


@pytest.mark.parametrize("name", [n for n in ik.__all__ if hasattr(keras.initializers, n)])
def test_it_takes_what_keras_takes(name: str) -> None:
    import inspect

    theirs = inspect.signature(getattr(keras.initializers, name).__init__).parameters
    ours = inspect.signature(getattr(ik, name).__init__).parameters
    assert list(ours)[: len(theirs)] == list(theirs)
    assert [ours[n].default for n in theirs] == [p.default for p in theirs.values()]
    assert issubclass(getattr(ik, name), keras.initializers.Initializer)


def test_every_initializer_that_draws_is_there() -> None:
    theirs = {n for n in dir(keras.initializers) if n[0].isupper()}
    assert theirs - set(ik.__all__) <= {
        "Initializer",
        "OrthogonalInitializer",
        "STFT",
        "STFTInitializer",
    }


# Of a kernel (300, 200): variance, and the law of an element.
UNCUT = 0.87962566103423978
LAWS = {
    "LecunNormal": (1 / 300, "cut"), "LecunUniform": (1 / 300, "uniform"),
    "GlorotNormal": (1 / 250, "cut"), "GlorotUniform": (1 / 250, "uniform"),
    "HeNormal": (2 / 300, "cut"), "HeUniform": (2 / 300, "uniform"),
    "VarianceScaling": (1 / 300, "cut"), "RandomNormal": (0.05**2, "normal"),
    "TruncatedNormal": ((0.05 * UNCUT) ** 2, "cut"), "RandomUniform": (0.05**2 / 3, "uniform"),
}  # fmt: skip


@pytest.mark.parametrize("name", LAWS)
def test_the_law(name: str) -> None:
    variance, kind = LAWS[name]
    x = wide(getattr(ik, name)(seed=1)((300, 200))).ravel()
    bound = math.sqrt(3 * variance)
    law: Any = {
        "cut": scipy.stats.truncnorm(-2, 2, scale=math.sqrt(variance) / UNCUT),
        "uniform": scipy.stats.uniform(-bound, 2 * bound),
        "normal": scipy.stats.norm(scale=math.sqrt(variance)),
    }[kind]
    assert abs(x.mean()) < 5 * math.sqrt(variance / x.size)
    fourth = law.moment(4) / variance**2
    assert abs(x.var() / variance - 1) < 5 * math.sqrt((fourth - 1) / x.size)
    assert scipy.stats.kstest(x, law.cdf).pvalue > 1e-4


def test_a_cut_is_a_cut() -> None:
    w = wide(ik.TruncatedNormal(stddev=0.02 / UNCUT, seed=0)((1000, 1000)))
    assert np.abs(w).max() <= np.float32(0.045474)
    assert abs(w.std() / 0.02 - 1) < 0.01


def test_matrices() -> None:
    w = wide(ik.Orthogonal(gain=2.0, seed=0)((3, 4, 8))).reshape(12, 8)
    np.testing.assert_allclose(w.T @ w, 4 * np.eye(8), atol=1e-5)
    w = wide(ik.DeltaOrthogonal(seed=0)((3, 3, 8, 16)))
    np.testing.assert_allclose(w[1, 1] @ w[1, 1].T, np.eye(8), atol=1e-6)
    assert np.count_nonzero(w) == np.count_nonzero(w[1, 1])
    assert (wide(ik.Identity(gain=2.0)((3, 3))) == 2 * np.eye(3)).all()
    assert ik.Identity(gain=2.0).get_config() == {"gain": 2.0}
    assert (wide(ik.Constant(3.0)((2,))) == 3).all()


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
@pytest.mark.parametrize("name", DRAWN)
def test_the_bits_are_those_of_the_stream(name: str, dtype: str) -> None:
    """On every backend the same: what `iso.sample` gives under the documented name."""
    shape = KERNEL.get(name, (33, 47))
    init = getattr(ik, name)(seed=5)
    for call in range(2):
        tensor = init(shape, dtype=dtype)
        assert keras.backend.standardize_dtype(tensor.dtype) == dtype
        expected = iso.sample(
            init._law(shape), shape, seed=5, name=f"{call}:{'x'.join(map(str, shape))}",
            dtype=dtype, axes=init._axes(shape),
        )  # fmt: skip
        assert (wide(tensor) == expected.astype(np.float64)).all()


def test_layers_of_one_initializer_have_values_of_their_own() -> None:
    he = ik.HeNormal(seed=0)
    model = keras.Sequential(
        [layers.Input((16,)), *(layers.Dense(16, kernel_initializer=he) for _ in range(3))]
    )
    kernels = [wide(layer.kernel) for layer in model.layers]
    for i, first in enumerate(kernels):
        for second in kernels[i + 1 :]:
            assert abs(np.corrcoef(first.ravel(), second.ravel())[0, 1]) < 5 / 16
    again = ik.HeNormal(seed=0)
    assert all((wide(again((16, 16))) == k).all() for k in kernels)


def test_query_key_and_value_are_not_one_matrix() -> None:
    attention = layers.MultiHeadAttention(4, 8, kernel_initializer=ik.GlorotUniform(seed=0))
    attention(keras.ops.ones((1, 5, 32)), keras.ops.ones((1, 5, 32)))
    q, k, v = (
        wide(d.kernel) for d in (attention.query_dense, attention.key_dense, attention.value_dense)
    )
    assert not (q == k).any()
    assert not (q == v).any()
    assert not (k == v).any()
    # And their fans are those of the matrix (32, 32), which a shape (32, 4, 8) does not tell.
    assert abs(q.var() * 32 - 1) < 5 * math.sqrt(0.8 / q.size)


SCRIPT = """
import os, sys
import keras, numpy as np, isometry.keras as ik
he = ik.HeNormal(seed=7)
a = keras.layers.Dense(8, kernel_initializer=he); a.build((None, 4))
b = keras.layers.Conv2D(3, 2, kernel_initializer=he); b.build((None, 8, 8, 4))
x = [keras.ops.convert_to_numpy(w).astype("float32").tobytes() for w in (a.kernel, b.kernel)]
sys.stdout.write((x[0] + x[1]).hex())
"""


def test_another_process_gives_the_same() -> None:
    he = ik.HeNormal(seed=7)
    dense, conv = layers.Dense(8, kernel_initializer=he), layers.Conv2D(3, 2, kernel_initializer=he)
    dense.build((None, 4))
    conv.build((None, 8, 8, 4))
    mine = b"".join(np.asarray(host(w), np.float32).tobytes() for w in (dense.kernel, conv.kernel))
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT], capture_output=True, text=True, env=os.environ, check=True
    )
    assert done.stdout.splitlines()[-1] == mine.hex()
    digest = hashlib.blake2b(mine, digest_size=8).hexdigest()
    assert digest == EVERYWHERE  # on TensorFlow, JAX and PyTorch


EVERYWHERE = "217bac41e9edc54c"


def test_without_a_seed_it_is_fresh_and_says_which() -> None:
    first, second = ik.HeNormal(), ik.HeNormal()
    assert first.seed != second.seed
    values = wide(first((8, 8)))
    assert (wide(ik.HeNormal(seed=first.get_config()["seed"])((8, 8))) == values).all()
    keras.utils.set_random_seed(3)
    seeds = [ik.HeNormal().seed for _ in range(2)]
    keras.utils.set_random_seed(3)
    assert seeds == [ik.HeNormal().seed for _ in range(2)]
    assert seeds[0] != seeds[1]


def test_a_seed_generator_counts_for_itself() -> None:
    generator = keras.random.SeedGenerator(3)
    init = ik.HeNormal(seed=generator)
    first, second = wide(init((4, 4))), wide(init((4, 4)))
    assert not (first == second).any()
    again = ik.HeNormal(seed=keras.random.SeedGenerator(3))
    assert (wide(again((4, 4))) == first).all()


@pytest.mark.parametrize("name", ik.__all__)
def test_a_configuration_makes_it_again(name: str) -> None:
    init = getattr(ik, name)()
    config = init.get_config()
    twin = type(init).from_config(config)
    assert twin.get_config() == config
    kept = keras.saving.serialize_keras_object(init)
    assert kept["registered_name"].startswith("isometry>")
    assert type(keras.saving.deserialize_keras_object(kept)) is type(init)
    assert type(pickle.loads(pickle.dumps(init))) is type(init)
    assert copy.deepcopy(init).get_config() == config


@pytest.mark.parametrize("identifier", ["isometry>HeNormal", "isometry>he_normal"])
def test_names_as_text(identifier: str) -> None:
    layer = layers.Dense(8, kernel_initializer=identifier)
    layer.build((None, 4))
    assert type(layer.kernel_initializer) is ik.HeNormal
    assert type(keras.initializers.get("he_normal")) is keras.initializers.HeNormal  # untouched


def test_a_saved_model_keeps_its_initializers(tmp_path: Path) -> None:
    model = keras.Sequential(
        [
            layers.Input((8, 8, 3)),
            layers.Conv2D(4, 3, kernel_initializer=ik.HeNormal(seed=1)),
            layers.DepthwiseConv2D(3, depthwise_initializer=ik.LecunNormal(seed=2)),
            layers.Flatten(),
            layers.Dense(
                5, kernel_initializer="isometry>GlorotUniform", bias_initializer=ik.Zeros()
            ),
        ]
    )
    path = tmp_path / "model.keras"
    model.save(path)
    loaded = keras.saving.load_model(path)
    for old, new in zip(model.layers, loaded.layers, strict=True):
        for own, other in zip(old.weights, new.weights, strict=True):
            assert (host(own) == host(other)).all()
        for slot in ("kernel_initializer", "depthwise_initializer", "bias_initializer"):
            if hasattr(old, slot):
                assert type(getattr(new, slot)) is type(getattr(old, slot))
                assert getattr(new, slot).get_config() == getattr(old, slot).get_config()
    twin = keras.models.clone_model(model)
    assert type(twin.layers[0].kernel_initializer) is ik.HeNormal


@pytest.mark.parametrize(
    "make",
    [
        lambda i: layers.Dense(8, kernel_initializer=i), lambda i: layers.Conv1D(8, 3, kernel_initializer=i),
        lambda i: layers.SimpleRNN(8, kernel_initializer=i, recurrent_initializer=i),
        lambda i: layers.LSTM(8, kernel_initializer=i, recurrent_initializer=i),
        lambda i: layers.GRU(8, kernel_initializer=i, recurrent_initializer=i),
        lambda i: layers.EinsumDense("abc,cd->abd", (None, 8), kernel_initializer=i),
        lambda i: layers.Bidirectional(layers.LSTM(8, kernel_initializer=i)),
        lambda i: layers.SeparableConv1D(8, 3, depthwise_initializer=i, pointwise_initializer=i),
    ],
)  # fmt: skip
def test_every_kind_of_layer_takes_them(make: Any) -> None:
    layer = make(ik.GlorotNormal(seed=0))
    out = host(layer(keras.ops.ones((2, 5, 6))))
    assert np.isfinite(out).all()
    assert out.std() > 0


def test_embeddings_and_recurrent_matrices() -> None:
    table = layers.Embedding(50, 16, embeddings_initializer=ik.RandomNormal(stddev=1.0, seed=0))
    table.build()
    assert abs(wide(table.embeddings).std() - 1) < 5 / math.sqrt(2 * 800)
    cell = layers.SimpleRNN(16, recurrent_initializer=ik.Orthogonal(seed=0))
    cell.build((None, 5, 4))
    r = wide(cell.cell.recurrent_kernel)
    np.testing.assert_allclose(r @ r.T, np.eye(16), atol=1e-5)


def test_axes_and_groups() -> None:
    w = wide(ik.HeNormal(seed=0, input_axes=[0], output_axes=[1, 2])((64, 8, 16)))
    assert abs(w.var() * 32 - 1) < 5 * math.sqrt(2 / w.size)
    w = wide(ik.VarianceScaling(mode="fan_out", seed=0, groups=64)((3, 3, 1, 640)))
    assert abs(w.var() * 90 - 1) < 5 * math.sqrt(2 / w.size)
    theirs = keras.initializers.VarianceScaling(mode="fan_avg", distribution="uniform", seed=0)
    ours = ik.VarianceScaling(mode="fan_avg", distribution="uniform", seed=0)
    for shape in ((3, 3, 8, 16), (10, 20), (12,)):
        a, b = wide(theirs(shape)), wide(ours(shape))
        assert abs(b).max() <= math.sqrt(3 * ours._law(shape).variance) * (1 + 1e-6)
        assert abs(math.log(a.std() / b.std())) < 5 * math.sqrt(0.8 / 4 / a.size) * 2


def test_keras_documentation_with_the_import_changed() -> None:
    """`initializer = ...; values = initializer(shape=(2, 2)); layer = Dense(3, kernel_initializer=...)`"""
    examples = [
        ik.RandomNormal(mean=0.0, stddev=1.0), ik.TruncatedNormal(mean=0.0, stddev=1.0),
        ik.RandomUniform(minval=0.0, maxval=1.0), ik.VarianceScaling(scale=0.1, mode="fan_in", distribution="uniform"),
        ik.GlorotUniform(), ik.GlorotNormal(), ik.LecunNormal(), ik.LecunUniform(), ik.HeNormal(), ik.HeUniform(),
        ik.Orthogonal(), ik.Zeros(), ik.Ones(), ik.Constant(10.0), ik.Identity(),
    ]  # fmt: skip
    for initializer in examples:
        assert tuple(initializer(shape=(2, 2)).shape) == (2, 2)
        layer = layers.Dense(3, kernel_initializer=initializer)
        assert tuple(layer(keras.ops.ones((1, 2))).shape) == (1, 3)


def test_a_notebook_cell_run_twice() -> None:
    def cell() -> Any:
        model = keras.Sequential(
            [layers.Input((4,)), layers.Dense(8, kernel_initializer=ik.HeNormal(seed=0))]
        )
        return wide(model.layers[0].kernel)

    assert (cell() == cell()).all()

    def fresh() -> Any:
        model = keras.Sequential(
            [layers.Input((4,)), layers.Dense(8, kernel_initializer=ik.HeNormal())]
        )
        return wide(model.layers[0].kernel), model.layers[0].kernel_initializer.seed

    (first, seed), (second, _) = fresh(), fresh()
    assert not (first == second).any()
    assert (wide(ik.HeNormal(seed=seed)((4, 8))) == first).all()


def test_what_cannot_be_drawn_is_refused() -> None:
    for call, message in [
        (lambda: ik.HeNormal(seed=-1), "seed=-1: expected an integer"),
        (lambda: ik.HeNormal(seed=1.5), "SeedGenerator"),
        (lambda: ik.RandomNormal(stddev=-1.0), "0 or a positive number"),
        (lambda: ik.VarianceScaling(scale=0.0), "for zeros write Zeros"),
        (lambda: ik.VarianceScaling(mode="fan"), "mode='fan'"),
        (lambda: ik.VarianceScaling(distribution="cauchy"), "distribution='cauchy'"),
        (lambda: ik.VarianceScaling(input_axes=[0]), "expected both or neither"),
        (lambda: ik.RandomUniform(1.0, 0.0), "minval <= maxval"),
        (lambda: ik.Orthogonal()((4,)), "expected two or more"),
        (lambda: ik.HeNormal()((4, 4), dtype="int32"), "dtype"),
    ]:
        with pytest.raises(ArgumentError, match=message):
            call()
