"""What a Keras model's parameters are called: the same in every process."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np

import isometry as iso

L = keras.layers
X = np.zeros((4, 8), np.float32)


def names(model: Any, x: Any = X) -> list[str]:
    return [d.name for d in iso.plan(model, x)]


def test_names_that_keras_gives_are_counted_in_the_model_alone() -> None:
    def make() -> Any:
        return keras.Sequential([L.Dense(4), L.Dense(4), L.Dense(2, name="head")])

    expected = ["dense.weight", "dense.bias", "dense_1.weight", "dense_1.bias"]
    first, second = make(), make()  # whose layers Keras calls dense, dense_1, dense_2, dense_3
    assert names(first)[:4] == names(second)[:4] == expected
    assert names(second)[4:] == ["head.weight", "head.bias"]


def test_a_name_given_by_hand_is_not_given_twice() -> None:
    class Foo(L.Dense):
        pass

    model = keras.Sequential([Foo(4, name="dense"), L.Dense(4)])
    assert names(model) == ["dense.weight", "dense.bias", "dense_1.weight", "dense_1.bias"]


def test_attributes_lists_dicts_and_nested_models() -> None:
    class Inner(keras.layers.Layer):
        def __init__(self) -> None:
            super().__init__()
            self.fc1 = L.Dense(8)
            self._gate = L.Dense(8)

        def call(self, x: Any) -> Any:
            return self.fc1(x) * self._gate(x)

    class Outer(keras.Model):
        def __init__(self) -> None:
            super().__init__()
            self.blocks = [Inner(), Inner()]
            self.heads = {"a": L.Dense(2)}
            self.stem = keras.Sequential([L.Dense(8), L.Dense(8, name="last")])
            self.scale = self.add_weight(shape=(8,), initializer="ones", name="w")

        def call(self, x: Any) -> Any:
            x = self.stem(x) * self.scale
            for block in self.blocks:
                x = block(x)
            return self.heads["a"](x)

    found = names(Outer())
    assert {n for n in found if n.endswith("weight")} == {
        "blocks.0.fc1.weight", "blocks.0._gate.weight", "blocks.1.fc1.weight",
        "blocks.1._gate.weight", "heads.a.weight", "stem.dense.weight", "stem.last.weight",
    }  # fmt: skip
    assert "scale" in found


def test_a_layer_that_is_used_twice_has_two_names() -> None:
    class Tied(keras.Model):
        def __init__(self) -> None:
            super().__init__()
            self.a = L.Dense(8)
            self.b = self.a

        def call(self, x: Any) -> Any:
            return self.b(self.a(x))

    plan = iso.plan(Tied(), X)
    assert [d.name for d in plan] == ["a.weight", "a.bias"]
    assert plan["b.weight"] is plan["a.weight"]


def test_a_parameter_is_found_by_keras_s_own_path() -> None:
    model = keras.Sequential([L.Dense(4, name="fc1"), L.BatchNormalization(name="bn")])
    plan = iso.plan(model, X)
    for alias in ("fc1/kernel", "fc1.weight", "bn/gamma", "bn/moving_mean"):
        assert plan[alias].name in ("fc1.weight", "bn.weight", "bn.running_mean")
    # A name that Keras counted through the session is none that could be met again.
    other = iso.plan(keras.Sequential([L.Dense(4), L.Dense(4)]), X)
    assert {a for d in other for a in d.aliases} == {
        "dense/kernel", "dense/bias", "dense_1/kernel", "dense_1/bias",
    }  # fmt: skip


def test_norms_and_parts_of_keras_s_own_layers() -> None:
    seq = np.zeros((2, 5, 8), np.float32)

    class Net(keras.Model):
        def __init__(self) -> None:
            super().__init__()
            self.norm, self.rms = L.LayerNormalization(), L.RMSNormalization()
            self.attn = L.MultiHeadAttention(2, 4)
            self.rnn = L.Bidirectional(L.LSTM(4, return_sequences=True))
            self.deep = L.RNN([L.GRUCell(4), L.LSTMCell(4)])

        def call(self, x: Any) -> Any:
            x = self.rms(self.norm(x))
            return self.deep(self.rnn(self.attn(x, x)))

    found = names(Net(), seq)
    for name in (
        "norm.weight", "norm.bias", "rms.weight", "attn.query.weight", "attn.key.bias",
        "attn.attention_output.weight", "rnn.weight_ih_l0", "rnn.weight_hh_l0", "rnn.bias_ih_l0",
        "rnn.weight_ih_l0_reverse", "deep.weight_ih_l0", "deep.bias_l0", "deep.weight_hh_l1",
    ):  # fmt: skip
        assert name in found


def test_the_state_of_a_generator_is_no_buffer() -> None:
    model = keras.Sequential([L.Dense(4), L.Dropout(0.5), L.BatchNormalization()])
    assert [d.name for d in iso.plan(model, X) if d.kind == "buffer"] == [
        "batch_normalization.running_mean", "batch_normalization.running_var",
    ]  # fmt: skip


def test_a_wrapped_layer_s_kernel_is_its_own() -> None:
    model = keras.Sequential([L.SpectralNormalization(L.Dense(4))])
    plan = iso.plan(model, X)
    assert plan["spectral_normalization.layer.weight"].shape == (4, 8)
    assert plan["spectral_normalization.vector_u"].kind == "buffer"


def test_no_layer_name_reaches_the_stream_of_another() -> None:
    """A plan made where Keras had counted further applies to a model of a fresh session."""
    make = lambda: keras.Sequential([L.Dense(8), L.Dense(8)])  # noqa: E731
    one, two = make(), make()
    plan = iso.plan(two, X)
    one.build(X.shape)
    plan.apply(one, seed=1)
    plan.apply(two, seed=1)
    for a, b in zip(one.get_weights(), two.get_weights(), strict=True):
        assert np.array_equal(a, b)
    assert not np.array_equal(one.get_weights()[0], one.get_weights()[2])
