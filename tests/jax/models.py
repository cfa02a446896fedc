"""One MLP, one CNN and one transformer block, written in PyTorch, Flax NNX, Linen and Equinox."""

from __future__ import annotations

import equinox as eqx
import jax
import jax.numpy as jnp
import torch
from flax import linen, nnx
from torch import nn

WIDTH, HEADS, VOCABULARY, CLASSES = 32, 4, 50, 5


class TorchMLP(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc1 = nn.Linear(8, 64)
        self.norm = nn.LayerNorm(64)
        self.fc2 = nn.Linear(64, 64)
        self.out = nn.Linear(64, 3)

    def forward(self, x):
        x = torch.relu(self.norm(self.fc1(x)))
        x = x + nn.functional.gelu(self.fc2(x))
        return self.out(nn.functional.silu(x))


class NNXMLP(nnx.Module):
    def __init__(self, rngs, **kwargs):
        self.fc1 = nnx.Linear(8, 64, rngs=rngs, **kwargs)
        self.norm = nnx.LayerNorm(64, epsilon=1e-5, rngs=rngs, **kwargs)
        self.fc2 = nnx.Linear(64, 64, rngs=rngs, **kwargs)
        self.out = nnx.Linear(64, 3, rngs=rngs, **kwargs)

    def __call__(self, x):
        x = nnx.relu(self.norm(self.fc1(x)))
        x = x + nnx.gelu(self.fc2(x), approximate=False)
        return self.out(nnx.silu(x))


class LinenMLP(linen.Module):
    @linen.compact
    def __call__(self, x):
        x = linen.Dense(64, name="fc1")(x)
        x = linen.relu(linen.LayerNorm(epsilon=1e-5, name="norm")(x))
        x = x + linen.gelu(linen.Dense(64, name="fc2")(x), approximate=False)
        return linen.Dense(3, name="out")(linen.silu(x))


class EquinoxMLP(eqx.Module):
    fc1: eqx.nn.Linear
    norm: eqx.nn.LayerNorm
    fc2: eqx.nn.Linear
    out: eqx.nn.Linear

    def __init__(self, key, dtype=None):
        self.fc1 = eqx.nn.Linear(8, 64, dtype=dtype, key=key)
        self.norm = eqx.nn.LayerNorm(64, dtype=dtype)
        self.fc2 = eqx.nn.Linear(64, 64, dtype=dtype, key=key)
        self.out = eqx.nn.Linear(64, 3, dtype=dtype, key=key)

    def __call__(self, x):
        x = jax.nn.relu(self.norm(self.fc1(x)))
        x = x + jax.nn.gelu(self.fc2(x), approximate=False)
        return self.out(jax.nn.silu(x))


class TorchCNN(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(3, 16, 3, padding=1, bias=False)
        self.bn = nn.BatchNorm2d(16)
        self.conv2 = nn.Conv2d(16, 32, 3, stride=2, padding=1, groups=4)
        self.head = nn.Linear(32, CLASSES)

    def forward(self, x):
        x = torch.relu(self.bn(self.conv1(x)))
        x = nn.functional.max_pool2d(x, 2)
        return self.head(torch.relu(self.conv2(x)).mean((2, 3)))


class NNXCNN(nnx.Module):
    def __init__(self, rngs):
        pads = ((1, 1), (1, 1))
        self.conv1 = nnx.Conv(3, 16, (3, 3), padding=pads, use_bias=False, rngs=rngs)
        self.bn = nnx.BatchNorm(16, rngs=rngs)
        self.conv2 = nnx.Conv(
            16, 32, (3, 3), strides=2, padding=pads, feature_group_count=4, rngs=rngs
        )
        self.head = nnx.Linear(32, CLASSES, rngs=rngs)

    def __call__(self, x):
        x = nnx.relu(self.bn(self.conv1(x)))
        x = nnx.max_pool(x, (2, 2), strides=(2, 2))
        return self.head(nnx.relu(self.conv2(x)).mean((1, 2)))


class LinenCNN(linen.Module):
    @linen.compact
    def __call__(self, x, train=False):
        pads = ((1, 1), (1, 1))
        x = linen.Conv(16, (3, 3), padding=pads, use_bias=False, name="conv1")(x)
        x = linen.relu(linen.BatchNorm(use_running_average=not train, name="bn")(x))
        x = linen.max_pool(x, (2, 2), strides=(2, 2))
        conv2 = linen.Conv(32, (3, 3), 2, padding=pads, feature_group_count=4, name="conv2")
        return linen.Dense(CLASSES, name="head")(linen.relu(conv2(x)).mean((1, 2)))


class EquinoxCNN(eqx.Module):
    """Without batch normalisation, whose state Equinox passes along: a group norm of one channel
    has no counterpart in the others."""

    conv1: eqx.nn.Conv2d
    conv2: eqx.nn.Conv2d
    head: eqx.nn.Linear

    def __init__(self, key):
        self.conv1 = eqx.nn.Conv2d(3, 16, 3, padding=1, use_bias=False, key=key)
        self.conv2 = eqx.nn.Conv2d(16, 32, 3, stride=2, padding=1, groups=4, key=key)
        self.head = eqx.nn.Linear(32, CLASSES, key=key)

    def __call__(self, x):
        x = jax.nn.relu(self.conv1(x))
        x = eqx.nn.MaxPool2d(2, 2)(x)
        return self.head(jax.nn.relu(self.conv2(x)).mean((1, 2)))


class TorchPlainCNN(nn.Module):
    """EquinoxCNN's counterpart."""

    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(3, 16, 3, padding=1, bias=False)
        self.conv2 = nn.Conv2d(16, 32, 3, stride=2, padding=1, groups=4)
        self.head = nn.Linear(32, CLASSES)

    def forward(self, x):
        x = nn.functional.max_pool2d(torch.relu(self.conv1(x)), 2)
        return self.head(torch.relu(self.conv2(x)).mean((2, 3)))


class TorchBlock(nn.Module):
    """Embedding, a pre-LN block of attention and MLP, and a head."""

    def __init__(self):
        super().__init__()
        self.embed = nn.Embedding(VOCABULARY, WIDTH)
        self.norm1 = nn.LayerNorm(WIDTH)
        self.query = nn.Linear(WIDTH, WIDTH)
        self.key = nn.Linear(WIDTH, WIDTH)
        self.value = nn.Linear(WIDTH, WIDTH)
        self.proj = nn.Linear(WIDTH, WIDTH)
        self.norm2 = nn.LayerNorm(WIDTH)
        self.up = nn.Linear(WIDTH, 4 * WIDTH)
        self.down = nn.Linear(4 * WIDTH, WIDTH)
        self.norm3 = nn.LayerNorm(WIDTH)
        self.head = nn.Linear(WIDTH, VOCABULARY)

    def forward(self, ids):
        x = self.embed(ids)
        h = self.norm1(x)
        q, k, v = (
            layer(h).unflatten(-1, (HEADS, -1)).transpose(1, 2)
            for layer in (self.query, self.key, self.value)
        )
        weights = torch.softmax(q @ k.transpose(-1, -2) * (WIDTH // HEADS) ** -0.5, dim=-1)
        x = x + self.proj((weights @ v).transpose(1, 2).flatten(2))
        h = nn.functional.gelu(self.up(self.norm2(x)), approximate="tanh")
        x = x + self.down(h)
        return self.head(self.norm3(x))


def _attended(q, k, v):
    scores = jnp.einsum("bqhd,bkhd->bhqk", q, k) * (WIDTH // HEADS) ** -0.5
    return jnp.einsum("bhqk,bkhd->bqhd", jax.nn.softmax(scores), v)


class NNXBlock(nnx.Module):
    def __init__(self, rngs):
        def heads():
            return nnx.LinearGeneral(WIDTH, (HEADS, WIDTH // HEADS), rngs=rngs)

        def norm():
            return nnx.LayerNorm(WIDTH, epsilon=1e-5, rngs=rngs)

        self.embed = nnx.Embed(VOCABULARY, WIDTH, rngs=rngs)
        self.norm1 = norm()
        self.query, self.key, self.value = heads(), heads(), heads()
        self.proj = nnx.LinearGeneral((HEADS, WIDTH // HEADS), WIDTH, axis=(-2, -1), rngs=rngs)
        self.norm2 = norm()
        self.up = nnx.Linear(WIDTH, 4 * WIDTH, rngs=rngs)
        self.down = nnx.Linear(4 * WIDTH, WIDTH, rngs=rngs)
        self.norm3 = norm()
        self.head = nnx.Linear(WIDTH, VOCABULARY, rngs=rngs)

    def __call__(self, ids):
        x = self.embed(ids)
        h = self.norm1(x)
        x = x + self.proj(_attended(self.query(h), self.key(h), self.value(h)))
        x = x + self.down(nnx.gelu(self.up(self.norm2(x))))
        return self.head(self.norm3(x))


class LinenBlock(linen.Module):
    @linen.compact
    def __call__(self, ids):
        def heads(name):
            return linen.DenseGeneral((HEADS, WIDTH // HEADS), name=name)

        def norm(name):
            return linen.LayerNorm(epsilon=1e-5, name=name)

        x = linen.Embed(VOCABULARY, WIDTH, name="embed")(ids)
        h = norm("norm1")(x)
        mixed = _attended(heads("query")(h), heads("key")(h), heads("value")(h))
        x = x + linen.DenseGeneral(WIDTH, axis=(-2, -1), name="proj")(mixed)
        h = linen.gelu(linen.Dense(4 * WIDTH, name="up")(norm("norm2")(x)))
        x = x + linen.Dense(WIDTH, name="down")(h)
        return linen.Dense(VOCABULARY, name="head")(norm("norm3")(x))


class EquinoxBlock(eqx.Module):
    embed: eqx.nn.Embedding
    norm1: eqx.nn.LayerNorm
    query: eqx.nn.Linear
    key: eqx.nn.Linear
    value: eqx.nn.Linear
    proj: eqx.nn.Linear
    norm2: eqx.nn.LayerNorm
    up: eqx.nn.Linear
    down: eqx.nn.Linear
    norm3: eqx.nn.LayerNorm
    head: eqx.nn.Linear

    def __init__(self, key):
        def linear(n_in, n_out):
            return eqx.nn.Linear(n_in, n_out, key=key)

        self.embed = eqx.nn.Embedding(VOCABULARY, WIDTH, key=key)
        self.norm1, self.norm2, self.norm3 = (eqx.nn.LayerNorm(WIDTH) for _ in range(3))
        self.query, self.key, self.value, self.proj = (linear(WIDTH, WIDTH) for _ in range(4))
        self.up, self.down = linear(WIDTH, 4 * WIDTH), linear(4 * WIDTH, WIDTH)
        self.head = linear(WIDTH, VOCABULARY)

    def __call__(self, ids):
        each = jax.vmap
        x = each(self.embed)(ids)
        h = each(self.norm1)(x)
        q, k, v = (
            each(layer)(h).reshape(len(ids), HEADS, -1)[None]
            for layer in (self.query, self.key, self.value)
        )
        x = x + each(self.proj)(_attended(q, k, v)[0].reshape(len(ids), WIDTH))
        x = x + each(self.down)(jax.nn.gelu(each(self.up)(each(self.norm2)(x))))
        return each(self.head)(each(self.norm3)(x))
