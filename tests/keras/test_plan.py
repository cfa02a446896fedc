"""A plan of a Keras model is the plan of the same model in PyTorch; reading changes nothing."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import pytest

import isometry as iso
from isometry.errors import ArgumentError, ModelError, TraceError

from .models import TWINS, Block, cnn, differences, host, mlp, tokens, vectors

L = keras.layers


@pytest.mark.parametrize("name", TWINS)
@pytest.mark.parametrize("loss", [None, "cross_entropy"])
def test_the_same_model_has_the_same_plan(name: str, loss: str | None) -> None:
    ours, theirs, inputs = TWINS[name]
    x, tensor = inputs()
    plan, other = iso.plan(ours(), x, loss=loss), iso.plan(theirs(), tensor, loss=loss)
    assert differences(plan, other) == []
    assert plan.notes == other.notes
    if name != "cnn":  # PyTorch's batch normalisation has a counter
        assert plan.digest == other.digest


@pytest.mark.parametrize("recipe", ["he", "isometric", "torch", "critical", "depth-scaled"])
def test_every_recipe_decides_alike(recipe: str) -> None:
    ours, theirs, inputs = TWINS["block"]
    x, tensor = inputs()
    plans = iso.plan(ours(), x, recipe=recipe), iso.plan(theirs(), tensor, recipe=recipe)
    assert differences(*plans) == []


def test_sequential_functional_and_subclassed_are_one_model() -> None:
    x, _ = vectors()
    inputs = L.Input((8,))
    h = L.Dense(64, activation="relu", name="fc1")(inputs)
    h = L.Dense(64, activation="relu", name="fc2")(h)
    functional = keras.Model(inputs, L.Dense(10, name="fc3")(h))

    class Own(keras.Model):
        def __init__(self) -> None:
            super().__init__()
            self.fc1, self.fc2, self.fc3 = L.Dense(64), L.Dense(64), L.Dense(10)

        def call(self, x: Any) -> Any:
            return self.fc3(keras.ops.relu(self.fc2(keras.activations.relu(self.fc1(x)))))

    plans = [iso.plan(m, x) for m in (mlp(), functional, Own())]
    assert len({p.digest for p in plans}) == 1
    assert [d.name for d in plans[0]][:3] == ["fc1.weight", "fc1.bias", "fc2.weight"]


def test_operations_between_layers_of_a_functional_model() -> None:
    inputs = L.Input((8,))
    h = L.Dense(16, name="a")(inputs)
    model = keras.Model(inputs, L.Dense(4, name="b")(keras.ops.relu(h) * 2.0))
    assert iso.plan(model)["b.weight"].reason == "reads relu then mul, second moment 2" or (
        iso.plan(model)["b.weight"].law.variance == pytest.approx(1 / (16 * 2.0))
    )


# -- what a model is called with ---------------------------------------------------------------


def test_an_unbuilt_model_is_built_by_its_inputs() -> None:
    model = mlp()
    assert not model.built
    assert iso.plan(model, vectors()[0])["fc1.weight"].shape == (64, 8)
    assert model.built


def test_an_unbuilt_model_without_inputs_says_what_to_pass() -> None:
    with pytest.raises(ModelError, match=r"is not built.*pass inputs"):
        iso.plan(mlp())
    with pytest.raises(ModelError, match="pass inputs"):
        iso.plan(Block())


def test_a_built_model_knows_its_inputs() -> None:
    assert iso.plan(cnn()).digest == iso.plan(cnn(), TWINS["cnn"][2]()[0]).digest
    model = keras.Sequential([L.Input((5,)), L.Embedding(7, 4), L.Flatten(), L.Dense(2)])
    assert iso.plan(model)["embedding.weight"].role == "embedding"


def test_a_built_subclassed_model_without_inputs_is_planned_by_its_layers() -> None:
    model = Block()
    model(tokens()[0])
    plan = iso.plan(model)
    assert "planned from the layer types alone" in plan.notes[0]
    assert plan["up.weight"].fans == iso.Fans(32.0, 128.0)


def test_shapes_alone_will_do() -> None:
    assert (
        iso.plan(mlp(), keras.KerasTensor((32, 8))).digest == iso.plan(mlp(), vectors()[0]).digest
    )


def test_several_inputs_in_each_form() -> None:
    a, b = L.Input((4,), name="a"), L.Input((6,), name="b")
    model = keras.Model([a, b], L.Dense(2)(L.Concatenate()([a, b])))
    x, y = np.zeros((32, 4), np.float32), np.zeros((32, 6), np.float32)
    plans = [iso.plan(model, given) for given in (([x, y],), [x, y], None)]
    assert {p["dense.weight"].shape for p in plans} == {(2, 10)}

    class Named(keras.Model):
        def __init__(self) -> None:
            super().__init__()
            self.f = L.Dense(2)

        def call(self, left: Any, right: Any) -> Any:
            return {"sum": self.f(left + right), "other": (right, left)}

    assert iso.plan(Named(), {"left": x, "right": x})["f.weight"].shape == (2, 4)
    assert iso.plan(Named(), (x, x))["f.weight"].shape == (2, 4)


def test_a_call_that_fails_is_said_to() -> None:
    model = mlp()
    model.build((None, 8))
    with pytest.raises(TraceError, match=r"\(32, 5\).*Pass inputs"):
        iso.plan(model, np.zeros((32, 5), np.float32))
    with pytest.raises(ArgumentError, match="inputs is str"):
        iso.plan(model, "x")


def test_a_loss_of_no_known_kind_is_refused_first() -> None:
    model = mlp()
    with pytest.raises(ArgumentError, match="expected None, one of 'cross_entropy'"):
        iso.plan(model, vectors()[0], loss="perplexity")
    assert not model.built


@pytest.mark.parametrize(
    "loss",
    [
        "sparse_categorical_crossentropy", "categorical_crossentropy",
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        keras.losses.CategoricalCrossentropy(), keras.losses.sparse_categorical_crossentropy,
    ],
)  # fmt: skip
def test_the_compiled_loss_makes_the_head_small(loss: Any) -> None:
    model = keras.Sequential([L.Dense(16, "relu"), L.Dense(5, "softmax")])
    model.compile(loss=loss)
    x, _ = vectors()
    assert "makes the logits" in iso.plan(model, x)["dense_1.weight"].reason
    model.compile(loss="mse")
    assert "logits" not in iso.plan(model, x)["dense_1.weight"].reason


# -- reading changes nothing -------------------------------------------------------------------


def test_nothing_of_the_model_is_changed() -> None:
    inputs = L.Input((16, 16, 3))
    h = L.BatchNormalization()(L.Conv2D(4, 3)(L.Dropout(0.5)(inputs)))
    model = keras.Model(inputs, L.Dense(3)(L.Flatten()(h)))
    model.compile("adam", "mse")
    before = [host(v.value).copy() for v in model.variables]
    nodes = [(len(x._inbound_nodes), len(x._outbound_nodes)) for x in model.layers]
    attributes = [dict(vars(x)) for x in model.layers]
    iso.plan(model)
    iso.check(model, np.ones((8, 16, 16, 3), np.float32))
    assert all(
        np.array_equal(a, host(v.value)) for a, v in zip(before, model.variables, strict=True)
    )
    assert nodes == [(len(x._inbound_nodes), len(x._outbound_nodes)) for x in model.layers]
    for layer, kept in zip(model.layers, attributes, strict=True):
        assert all(vars(layer)[k] is v for k, v in kept.items() if k != "_call_context_args")


def test_a_failed_trace_puts_everything_back() -> None:
    doors = keras.Operation.__call__, keras.Operation.symbolic_call, keras.layers.Layer.add_loss
    model = mlp()
    model.build((None, 8))
    kernels = [x._kernel for x in model.layers]
    with pytest.raises(TraceError):
        iso.plan(model, np.zeros((32, 5), np.float32))
    assert doors == (
        keras.Operation.__call__, keras.Operation.symbolic_call, keras.layers.Layer.add_loss,
    )  # fmt: skip
    assert hasattr(keras.KerasTensor, "__jax_array__")
    assert all(a is x._kernel for a, x in zip(kernels, model.layers, strict=True))


class Foreign(keras.layers.Layer):
    """A layer that calls the backend itself."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = L.Dense(8)

    def build(self, shape: Any) -> None:
        self.inner.build(shape)

    def call(self, x: Any) -> Any:
        if keras.backend.backend() == "torch":
            import torch

            return self.inner(torch.sin(x))
        if keras.backend.backend() == "tensorflow":
            import tensorflow as tf

            return self.inner(tf.sin(x))
        import jax.numpy as jnp

        return self.inner(jnp.sin(x))


def test_a_layer_of_the_backend_s_own_is_planned_by_its_type() -> None:
    x, _ = vectors()
    plan = iso.plan(keras.Sequential([Foreign(), L.Dense(4)]), x)
    assert plan["foreign.inner.weight"].fans == iso.Fans(8.0, 8.0)
    assert "planned from its module's type" in plan["foreign.inner.weight"].reason
    assert "foreign is planned from its type" in plan.notes[0]


def test_a_layer_that_adds_a_loss_is_followed() -> None:
    class Sparse(keras.layers.Layer):
        def call(self, x: Any) -> Any:
            self.add_loss(keras.ops.mean(keras.ops.abs(x)))
            return x

    x, _ = vectors()
    model = keras.Sequential([L.Dense(16, "relu"), Sparse(), L.Dense(4)])
    plan = iso.plan(model, x)
    assert plan["dense_1.weight"].reason == "reads relu, second moment 0.5"
    assert model.layers[1].losses == [] or keras.backend.backend() != "jax"


def test_a_model_without_parameters_is_refused() -> None:
    with pytest.raises(ModelError, match="has no parameters"):
        iso.plan(keras.Sequential([L.Input((4,)), L.Flatten()]))


def test_a_quantised_kernel_is_kept() -> None:
    model = keras.Sequential([L.Input((8,)), L.Dense(8), L.Dense(4)])
    model.layers[0].quantize("int8")
    plan = iso.plan(model)
    assert plan["dense.weight"].dtype == "int8"
    assert plan["dense.weight"].keeps
    assert not plan["dense_1.weight"].keeps


def test_a_frozen_layer_is_kept() -> None:
    model = mlp()
    model.build((None, 8))
    model.layers[0].trainable = False
    plan = iso.plan(model)
    assert plan["fc1.weight"].kind == "parameter"
    assert plan["fc1.weight"].keeps
    assert not plan["fc2.weight"].keeps


def test_inputs_by_name_and_in_order() -> None:
    """A functional model takes a dict by its inputs' names, and several tensors as a list or a tuple."""
    a, b = keras.Input((8,), name="a"), keras.Input((5,), name="b")
    out = L.Dense(4)(L.Concatenate()([L.Dense(6, name="p")(a), L.Dense(6, name="q")(b)]))
    x = {n: np.ones((4, s), np.float32) for n, s in (("a", 8), ("b", 5))}
    by_name = iso.plan(keras.Model({"a": a, "b": b}, out), x)
    in_order = keras.Model([a, b], out)
    for given in ((x["a"], x["b"]), [x["a"], x["b"]]):
        assert iso.plan(in_order, given).digest == by_name.digest


def test_rescaled_pixels_count_as_an_input() -> None:
    """Not as one 255 times smaller, which weights of std 49 would make up for."""
    x = np.random.default_rng(0).integers(0, 256, (16, 8, 8, 3)).astype(np.float32)
    model = keras.Sequential(
        [L.Rescaling(1 / 255), L.Conv2D(16, 3, activation="relu"), L.Flatten(), L.Dense(4)]
    )
    assert iso.plan(model, x)["conv2d.weight"].law == iso.Normal(std=27**-0.5)
    iso.initialize(model, x, seed=0)
    assert 0.05 < float(np.std(host(model.layers[1](model.layers[0](x))))) < 1.0
