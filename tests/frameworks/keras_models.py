"""The CNN and the transformer block of `tests/jax/models.py` in Keras; run as a script it prints what one
backend makes of them: a digest of the weights in PyTorch's layout, and the output on one input.

    KERAS_BACKEND=torch python tests/frameworks/keras_models.py bfloat16
"""

from __future__ import annotations

import hashlib
import json
import sys
from typing import Any

import numpy as np

WIDTH, HEADS, VOCABULARY, CLASSES = 32, 4, 50, 5
DRAWN = np.random.default_rng(0)
IMAGES = DRAWN.standard_normal((4, 3, 16, 16)).astype(np.float32)
IDS = DRAWN.integers(0, VOCABULARY, (4, 10)).astype(np.int32)


def digest(weights: dict[str, Any]) -> str:
    """Of the bits of all weights, in PyTorch's layout, by name."""
    found = hashlib.blake2b(digest_size=6)
    for name in sorted(weights):
        array = np.ascontiguousarray(weights[name])
        found.update(name.encode())
        found.update(array.view(np.uint8).tobytes() if array.ndim else array.tobytes())
    return found.hexdigest()


def cnn() -> Any:
    import keras
    from keras import layers as L
    from keras import ops

    class CNN(keras.Model):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.conv1 = L.Conv2D(16, 3, padding="same", use_bias=False)
            self.bn = L.BatchNormalization(epsilon=1e-5, momentum=0.9)
            self.pad = L.ZeroPadding2D(1)
            self.conv2 = L.Conv2D(32, 3, strides=2, groups=4)
            self.head = L.Dense(CLASSES)

        def call(self, x: Any) -> Any:
            x = ops.relu(self.bn(self.conv1(x)))
            x = ops.max_pool(x, 2, 2)
            return self.head(ops.mean(ops.relu(self.conv2(self.pad(x))), axis=(1, 2)))

    return CNN()


def block() -> Any:
    import keras
    from keras import layers as L
    from keras import ops

    class Block(keras.Model):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            size = WIDTH // HEADS
            self.embed = L.Embedding(VOCABULARY, WIDTH)
            self.norm1, self.norm2, self.norm3 = (
                L.LayerNormalization(epsilon=1e-5) for _ in range(3)
            )
            self.query, self.key, self.value = (
                L.EinsumDense("btd,dhk->bthk", (None, HEADS, size), bias_axes="hk")
                for _ in range(3)
            )
            self.proj = L.EinsumDense("bthk,hkd->btd", (None, WIDTH), bias_axes="d")
            self.up, self.down = L.Dense(4 * WIDTH), L.Dense(WIDTH)
            self.head = L.Dense(VOCABULARY)

        def call(self, ids: Any) -> Any:
            x = self.embed(ids)
            h = self.norm1(x)
            q, k, v = self.query(h), self.key(h), self.value(h)
            weights = ops.softmax(ops.einsum("bqhd,bkhd->bhqk", q, k) * (WIDTH // HEADS) ** -0.5)
            x = x + self.proj(ops.einsum("bhqk,bkhd->bqhd", weights, v))
            x = x + self.down(ops.gelu(self.up(self.norm2(x)), approximate=True))
            return self.head(self.norm3(x))

    return Block()


def main(dtype: str) -> None:
    import keras

    import isometry as iso
    from isometry.stored import as_torch

    keras.config.set_dtype_policy(dtype)
    found = {}
    for name, make, inputs in (("CNN", cnn, np.moveaxis(IMAGES, 1, -1)), ("block", block, IDS)):
        model = make()
        x = keras.ops.convert_to_tensor(inputs)
        plan = iso.initialize(model, x, seed=0)
        weights = {}
        for decision in plan:
            if decision.kind != "parameter":
                continue
            layer, slot = decision.aliases[0].split("/")
            value = keras.ops.stop_gradient(getattr(getattr(model, layer), slot).value)
            array = np.asarray(keras.ops.convert_to_numpy(value))
            weights[decision.name] = as_torch(array, decision.stored, decision.shape)
        output = keras.ops.cast(keras.ops.stop_gradient(model(x)), "float32")
        found[name] = {
            "digest": digest(weights),
            "output": np.asarray(keras.ops.convert_to_numpy(output), np.float64).tolist(),
        }
    json.dump(found, sys.stdout)


if __name__ == "__main__":
    main(sys.argv[1])
