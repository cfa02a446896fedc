"""What a call moves even in inference is put back: a generator's state, the nodes of Keras's graph."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np

import isometry as iso

from .models import host, vectors
from .test_plan import Foreign

L = keras.layers


class Sampling(keras.layers.Layer):
    """Noise in every call, as a variational autoencoder has it."""

    def __init__(self) -> None:
        super().__init__()
        self.generator = keras.random.SeedGenerator(1)

    def call(self, x: Any) -> Any:
        return x + keras.random.normal(x.shape, seed=self.generator)


def test_a_generator_s_state() -> None:
    x, _ = vectors(64)
    model = keras.Sequential([L.Dense(16, "relu"), Sampling(), L.Dense(4)])
    model.build(x.shape)
    state = model.layers[1].generator.state
    before = host(state.value).copy()
    plan = iso.initialize(model, x)
    assert [d.name for d in plan] == [
        "dense.weight",
        "dense.bias",
        "dense_1.weight",
        "dense_1.bias",
    ]
    assert iso.check(model, x).ok
    assert np.array_equal(host(state.value), before)
    model(x)
    assert not np.array_equal(host(state.value), before)  # a call of the model's own moves it


def test_the_nodes_of_keras_s_own_graph() -> None:
    x, _ = vectors(64)
    inputs = L.Input((8,))
    model = keras.Model(inputs, L.Dense(4)(Foreign()(inputs)))

    def nodes() -> list[tuple[int, int]]:
        return [(len(o._inbound_nodes), len(o._outbound_nodes)) for o in model._operations]

    before, losses = nodes(), list(model.losses)
    iso.initialize(model, x)
    iso.check(model, x)
    assert nodes() == before
    assert model.losses == losses
