"""Copies of an initializer count on together, and only what lasts is counted."""

from __future__ import annotations

import copy
import os
import pickle
import subprocess
import sys
import threading
from typing import Any

import keras
import numpy as np
import pytest

import isometry.keras as ik
from isometry.errors import ArgumentError

layers = keras.layers


def host(tensor: Any) -> Any:
    return np.asarray(keras.ops.convert_to_numpy(keras.ops.stop_gradient(tensor)), np.float32)


def drawn(seed: int, call: int, shape: tuple[int, ...]) -> Any:
    """What call number `call` of HeNormal(seed) gives."""
    init = ik.HeNormal(seed=seed)
    return [host(init(shape)) for _ in range(call + 1)][-1]


def all_differ(kernels: list[Any]) -> bool:
    return not any((a == b).any() for i, a in enumerate(kernels) for b in kernels[i + 1 :])


def test_one_generator_gives_query_key_value_and_output_their_own() -> None:
    for seed in (keras.random.SeedGenerator(3), 3):
        mha = layers.MultiHeadAttention(2, 4, kernel_initializer=ik.HeNormal(seed=seed))
        mha.build((None, 5, 8), (None, 5, 8))
        kernels = [host(w).ravel() for w in mha.weights if len(w.shape) == 3]
        assert len(kernels) == 4
        assert all_differ(kernels)


def test_grouped_queries() -> None:
    layer = layers.GroupQueryAttention(8, 2, 2, kernel_initializer=ik.HeNormal(seed=1))
    layer.build((None, 5, 8), (None, 5, 8))
    kernels = [host(w).ravel() for w in layer.weights if len(w.shape) == 3]
    assert len(kernels) == 4
    assert all_differ(kernels)


def test_the_two_directions_of_a_recurrent_layer() -> None:
    layer = layers.Bidirectional(layers.LSTM(4, kernel_initializer=ik.HeNormal(seed=0)))
    layer.build((None, 3, 4))
    directions = (layer.forward_layer, layer.backward_layer)
    assert all_differ([host(d.cell.kernel) for d in directions])


class Net(keras.Model):
    """Without `build`: Keras makes its variables while it runs `call` symbolically."""

    def __init__(self, initializer: Any) -> None:
        super().__init__()
        self.first = layers.Dense(8, kernel_initializer=initializer)
        self.second = layers.Dense(8, kernel_initializer=initializer)

    def call(self, x: Any) -> Any:
        return self.second(self.first(x))


def test_placeholders_are_not_counted() -> None:
    init = ik.HeNormal(seed=11)
    outer = keras.Sequential([Net(init), Net(init)])
    outer(keras.ops.ones((2, 8)))
    kernels = [host(w) for w in outer.weights if len(w.shape) == 2]
    assert len(kernels) == 4
    for call, kernel in enumerate(kernels):
        assert (kernel == drawn(11, call, (8, 8))).all()


def test_a_stateless_scope_looks_and_does_not_take() -> None:
    init = ik.HeNormal(seed=12)
    with keras.StatelessScope():
        first, second = host(init((4, 4))), host(init((4, 4)))
    assert (first == second).all()
    assert (host(init((4, 4))) == first).all()
    assert not (host(init((4, 4))) == first).any()


def test_a_copy_of_any_kind_counts_on() -> None:
    init = ik.HeNormal(seed=13)
    ways = [copy.copy, copy.deepcopy, lambda i: pickle.loads(pickle.dumps(i)), lambda i: i.clone()]
    for call, way in enumerate(ways):
        assert (host(way(init)((4, 4))) == drawn_by_number(13, call)).all()


def drawn_by_number(seed: int, call: int) -> Any:
    """As `drawn`, by the documented name, so that no initializer is made that copies would find."""
    from isometry.stream import sample

    law = ik.HeNormal(seed=seed + 1000)._law((4, 4))
    return sample(law, (4, 4), seed=seed, name=f"{call}:4x4")


def test_written_out_again_it_begins_again() -> None:
    first = ik.HeNormal(seed=14)
    values = host(first((4, 4)))
    assert (host(ik.HeNormal(seed=14)((4, 4))) == values).all()


def test_threads_share_no_call() -> None:
    init = ik.HeNormal(seed=15)
    found: list[bytes] = []

    def work() -> None:
        found.extend(host(init((2, 2))).tobytes() for _ in range(50))

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(found)) == len(found) == 400


def test_a_refused_call_is_not_counted() -> None:
    init = ik.HeNormal(seed=16)
    with pytest.raises(ArgumentError):
        init((4, 4), dtype="int32")
    assert (host(init((4, 4))) == drawn(16, 0, (4, 4))).all()


@pytest.mark.parametrize("dtype", ["float8_e4m3fn", "float8_e5m2", "float64"])
def test_other_dtypes_are_the_same_values_rounded(dtype: str) -> None:
    import ml_dtypes

    values = host(keras.ops.cast(ik.HeNormal(seed=0)((16, 16), dtype=dtype), "float32"))
    target = getattr(ml_dtypes, dtype, np.float64)
    assert (values == drawn(0, 0, (16, 16)).astype(target).astype(np.float32)).all()


@pytest.mark.parametrize("shape", [(), (0, 3), (5,)])
def test_shapes_at_the_edge(shape: tuple[int, ...]) -> None:
    values = host(ik.HeNormal(seed=0)(shape))
    assert values.shape == shape
    assert np.isfinite(values).all()


SHARDED = """
import keras, numpy as np, isometry.keras as ik
from keras import distribution as kd
mesh = kd.DeviceMesh((2, 4), ["batch", "model"], kd.list_devices())
layout = kd.LayoutMap(mesh)
layout["dense.*kernel"] = ("model", None)
for make in (ik.HeNormal, ik.Orthogonal):
    for dtype in ("float32", "bfloat16"):
        whole = np.asarray(make(seed=0)((8, 16), dtype=dtype))
        kd.set_distribution(kd.ModelParallel(layout_map=layout, batch_dim_name="batch"))
        dense = keras.layers.Dense(16, kernel_initializer=make(seed=0), name="dense", dtype=dtype)
        dense.build((None, 8))
        kd.set_distribution(None)
        kernel = dense.kernel.value
        assert {shard.data.shape for shard in kernel.addressable_shards} == {(2, 16)}
        assert (np.asarray(kernel) == whole).all()
print("done")
"""


def test_every_device_of_a_keras_distribution_has_its_part_of_the_whole() -> None:
    environment = {
        **os.environ,
        "KERAS_BACKEND": "jax",  # the backend that has layouts when a variable is made
        "JAX_PLATFORMS": "cpu",
        "XLA_FLAGS": "--xla_force_host_platform_device_count=8",
    }
    done = subprocess.run(
        [sys.executable, "-c", SHARDED], capture_output=True, text=True, env=environment
    )
    assert done.stdout.split()[-1:] == ["done"], done.stderr
