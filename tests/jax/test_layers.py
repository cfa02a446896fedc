"""Layer by layer: the fans, and the same function as PyTorch's layer with the same seed and name."""

import equinox as eqx
import flax.linen as linen
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from flax import nnx
from torch import nn

import isometry as iso
from isometry.jax.apply import initialize
from isometry.types import Fans

RNGS = nnx.Rngs(0)
KEY = jax.random.key(0)
DRAWN = np.random.default_rng(1)


def signal(*shape):
    return DRAWN.standard_normal(shape).astype(np.float32)


FANS = {
    # facts about the layers: kernel, and what each output sums and each input reaches
    "nnx Linear": (lambda: nnx.Linear(16, 48, rngs=RNGS), (16, 48)),
    "nnx Conv, 3x3, groups 4": (
        lambda: nnx.Conv(64, 128, (3, 3), feature_group_count=4, rngs=RNGS),
        (144, 288),
    ),
    "nnx Conv, depthwise": (
        lambda: nnx.Conv(64, 64, (3, 3), feature_group_count=64, rngs=RNGS),
        (9, 9),
    ),
    "nnx Conv, stride 2": (lambda: nnx.Conv(8, 16, (4, 4), strides=2, rngs=RNGS), (128, 64)),
    "nnx Einsum BTD,DNH->BTNH": (
        lambda: nnx.Einsum("BTD,DNH->BTNH", (512, 8, 64), rngs=RNGS),
        (512, 512),
    ),
    "nnx ConvTranspose, transpose_kernel": (
        lambda: nnx.ConvTranspose(64, 8, (4, 4), transpose_kernel=True, rngs=RNGS),
        (1024, 128),
    ),
    "nnx ConvTranspose, transpose_kernel, stride 2": (
        lambda: nnx.ConvTranspose(64, 8, (4, 4), strides=(2, 2), transpose_kernel=True, rngs=RNGS),
        (256, 128),
    ),
    "nnx ConvTranspose": (
        lambda: nnx.ConvTranspose(64, 8, (4, 4), strides=(2, 2), rngs=RNGS),
        (256, 128),
    ),
    "nnx LinearGeneral": (
        lambda: nnx.LinearGeneral((8, 64), 512, axis=(-2, -1), rngs=RNGS),
        (512, 512),
    ),
    "nnx Embed": (lambda: nnx.Embed(100, 32, rngs=RNGS), (1, 32)),
    "equinox Linear": (lambda: eqx.nn.Linear(16, 48, key=KEY), (16, 48)),
    "equinox Conv2d, groups": (
        lambda: eqx.nn.Conv2d(64, 128, 3, groups=4, key=KEY),
        (144, 288),
    ),
    "equinox ConvTranspose2d, stride 2": (
        lambda: eqx.nn.ConvTranspose2d(64, 8, 4, stride=2, key=KEY),
        (256, 128),
    ),
    "equinox Embedding": (lambda: eqx.nn.Embedding(100, 32, key=KEY), (1, 32)),
}


@pytest.mark.parametrize("name", FANS)
def test_fans_of(name):
    build, want = FANS[name]
    assert iso.fans(build()) == Fans(*map(float, want))


def test_fans_of_cells():
    assert iso.fans(eqx.nn.GRUCell(8, 16, key=KEY))["weight_ih"] == Fans(8.0, 16.0)
    lora = iso.fans(nnx.LoRA(16, 4, 32, rngs=RNGS))
    assert (lora["lora_a"], lora["lora_b"]) == (Fans(16.0, 4.0), Fans(4.0, 32.0))


def _applied(module, x, seed=5):
    """A layer under a plan of its own and its output."""
    if isinstance(module, linen.Module):
        variables, plan = initialize(module, x, seed=seed)
        return module.apply(variables, x), plan
    made, plan = initialize(module, x, seed=seed)
    return (jax.vmap(made)(x) if isinstance(made, eqx.Module) else made(x)), plan


def _torch(layer, x, seed=5):
    iso.initialize(layer, torch.from_numpy(x), seed=seed)
    with torch.no_grad():
        return layer(torch.from_numpy(x)).numpy()


IMAGE = signal(2, 8, 6, 6)
LAST = np.ascontiguousarray(np.moveaxis(IMAGE, 1, -1))
LINE = signal(2, 8, 12)
SAME_FUNCTION = {
    "Conv2d, groups": (
        lambda: nn.Conv2d(8, 16, 3, padding=1, groups=4),
        IMAGE,
        {
            "nnx": lambda: nnx.Conv(8, 16, (3, 3), feature_group_count=4, rngs=RNGS),
            "linen": lambda: linen.Conv(16, (3, 3), feature_group_count=4),
            "equinox": lambda: eqx.nn.Conv2d(8, 16, 3, padding=1, groups=4, key=KEY),
        },
    ),
    "Conv1d, stride 2": (
        lambda: nn.Conv1d(8, 16, 3, stride=2),
        LINE,
        {
            "nnx": lambda: nnx.Conv(8, 16, (3,), strides=2, padding="VALID", rngs=RNGS),
            "linen": lambda: linen.Conv(16, (3,), strides=2, padding="VALID"),
            "equinox": lambda: eqx.nn.Conv1d(8, 16, 3, stride=2, key=KEY),
        },
    ),
    "ConvTranspose2d, stride 2": (
        lambda: nn.ConvTranspose2d(8, 5, 4, stride=2),
        IMAGE,
        {
            "nnx": lambda: nnx.ConvTranspose(
                8, 5, (4, 4), strides=(2, 2), padding="VALID", rngs=RNGS
            ),
            "nnx transpose_kernel": lambda: nnx.ConvTranspose(
                8, 5, (4, 4), strides=(2, 2), padding="VALID", transpose_kernel=True, rngs=RNGS
            ),
            "linen": lambda: linen.ConvTranspose(5, (4, 4), (2, 2), padding="VALID"),
            "linen transpose_kernel": lambda: linen.ConvTranspose(
                5, (4, 4), (2, 2), padding="VALID", transpose_kernel=True
            ),
            "equinox": lambda: eqx.nn.ConvTranspose2d(8, 5, 4, stride=2, key=KEY),
        },
    ),
    "Linear": (
        lambda: nn.Linear(12, 20),
        LINE,
        {
            "nnx": lambda: nnx.Linear(12, 20, rngs=RNGS),
            "linen": lambda: linen.Dense(20),
        },
    ),
}
CASES = [(layer, kind) for layer, (_, _, kinds) in SAME_FUNCTION.items() for kind in kinds]


@pytest.mark.parametrize(("layer", "kind"), CASES)
def test_computes_what_pytorchs_layer_computes(layer, kind):
    build, x, kinds = SAME_FUNCTION[layer]
    images = layer.startswith("Conv") and kind != "equinox"
    own = np.ascontiguousarray(np.moveaxis(x, 1, -1)) if images else x
    found, _ = _applied(kinds[kind](), own)
    found = np.moveaxis(np.asarray(found), -1, 1) if images else np.asarray(found)
    np.testing.assert_allclose(found, _torch(build(), x), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("kind", ["nnx", "linen"])
def test_multi_head_attention_is_four_matrices(kind):
    x = signal(2, 6, 32)
    if kind == "nnx":
        layer = nnx.MultiHeadAttention(4, 32, decode=False, rngs=RNGS)
    else:
        layer = linen.MultiHeadDotProductAttention(4)
    plan = iso.plan(layer, x)
    for name in ("query", "key", "value", "out"):
        decision = plan[f"{name}.weight"]
        assert (decision.shape, decision.fans) == ((32, 32), Fans(32.0, 32.0))
        assert decision.role == "linear"
    assert plan["query.bias"].shape == (32,)


@pytest.mark.parametrize("cell", ["GRUCell", "LSTMCell"])
def test_equinox_cells_are_pytorchs(cell):
    x, h = signal(3, 8), signal(3, 16)
    ours = getattr(eqx.nn, cell)(8, 16, key=KEY)
    theirs = getattr(nn, cell)(8, 16)
    state = h if cell == "GRUCell" else (h, h)
    plan = iso.plan(ours, (x, state))
    names = {d.name for d in plan}
    assert {"weight_ih", "weight_hh", "bias"} <= names
    made = plan.override({"bias*": iso.Constant(0.0)}).apply(ours, seed=2)
    t = torch.from_numpy
    torch_state = t(h) if cell == "GRUCell" else (t(h), t(h))
    theirs_plan = iso.plan(theirs, (t(x), torch_state))
    theirs_plan.override({"bias*": iso.Constant(0.0)}).apply(theirs, seed=2)
    assert plan["weight_ih"].law == theirs_plan["weight_ih"].law
    assert [b.name for b in plan["weight_hh"].blocks] == [
        b.name for b in theirs_plan["weight_hh"].blocks
    ]
    np.testing.assert_array_equal(made.weight_ih, theirs.weight_ih.detach().numpy())
    np.testing.assert_allclose(
        made.weight_hh, theirs.weight_hh.detach().numpy(), atol=2e-6
    )  # orthogonal: equal up to rounding
    out = jax.vmap(made)(x, state)
    want = theirs(t(x), torch_state)
    out, want = (out, want) if cell == "GRUCell" else (out[0], want[0])
    np.testing.assert_allclose(out, want.detach().numpy(), rtol=1e-4, atol=1e-5)


def test_flax_cells_have_pytorchs_gates():
    class Recurrent(nnx.Module):
        def __init__(self, cell):
            self.rnn = nnx.RNN(cell, rngs=RNGS)

        def __call__(self, x):
            return self.rnn(x)

    x = signal(2, 5, 8)
    lstm = iso.plan(Recurrent(nnx.OptimizedLSTMCell(8, 16, rngs=RNGS)), x)
    ih, hh = lstm["rnn.cell.dense_i.weight"], lstm["rnn.cell.dense_h.weight"]
    assert (ih.role, hh.role, ih.fans) == ("gates", "recurrent", Fans(8.0, 16.0))
    assert [b.name for b in hh.blocks] == ["i", "f", "g", "o"]
    forget = {b.name: b.law for b in lstm["rnn.cell.dense_h.bias"].blocks}
    assert forget == {g: iso.Constant(float(g == "f")) for g in "ifgo"}
    gru = iso.plan(Recurrent(nnx.GRUCell(8, 16, rngs=RNGS)), x)
    assert [b.name for b in gru["rnn.cell.dense_h.weight"].blocks] == ["r", "z", "n"]
    apart = iso.plan(linen.RNN(linen.LSTMCell(16)), x)
    assert {d.role for d in apart if d.name.endswith("weight")} == {"gates", "recurrent"}


def test_an_einsum_of_experts_counts_matrices():
    layer = nnx.Einsum("etd,edh->eth", (8, 256, 64), rngs=RNGS)
    decision = iso.plan(layer, signal(8, 4, 256))["weight"]
    assert (decision.fans, decision.shape) == (Fans(256.0, 64.0), (8, 64, 256))


def test_a_kernel_of_ones_own_in_a_convolution():
    def forward(tree, x):
        return jax.lax.conv_general_dilated(
            x, tree["k"], (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")
        )

    tree = {"k": jnp.zeros((3, 3, 8, 16))}
    plan = iso.plan((forward, tree), LAST)
    assert (plan["k"].fans, plan["k"].role) == (Fans(72.0, 144.0), "conv")


LAYERS = {
    "nnx Conv": (lambda: nnx.Conv(64, 64, (3, 3), feature_group_count=4, rngs=RNGS), (144, 144)),
    "nnx ConvTranspose": (
        lambda: nnx.ConvTranspose(64, 64, (4, 4), strides=(2, 2), rngs=RNGS),
        (256, 1024),
    ),
    "nnx LinearGeneral": (lambda: nnx.LinearGeneral(256, (4, 64), rngs=RNGS), (256, 256)),
    "equinox Conv2d": (lambda: eqx.nn.Conv2d(64, 64, 3, key=KEY), (576, 576)),
}
SCHEMES = {
    "lecun_normal": lambda f: 1 / f[0], "lecun_uniform": lambda f: 1 / f[0],
    "he_normal": lambda f: 2 / f[0], "he_uniform": lambda f: 2 / f[0],
    "glorot_normal": lambda f: 2 / (f[0] + f[1]), "glorot_uniform": lambda f: 2 / (f[0] + f[1]),
}  # fmt: skip


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("name", LAYERS)
def test_the_variance_of_every_scheme_by_the_layers_own_fans(name, scheme):
    build, fans = LAYERS[name]
    layer = build()
    plan = iso.plan(layer)
    weight = plan["weight"]
    assert weight.fans == Fans(*map(float, fans))
    want = SCHEMES[scheme](fans)
    std = want**0.5
    law = iso.Uniform(3**0.5 * std) if scheme.endswith("uniform") else iso.Normal(std)
    made = plan.override({"weight": law}).apply(layer, seed=1)
    values = np.asarray(made.weight if isinstance(made, eqx.Module) else made.kernel[...])
    # var of a sample variance of n normals: 2 / n; five standard errors
    assert abs(values.var() / want - 1) < 5 * (2 / values.size) ** 0.5
    assert abs(values.mean()) < 5 * std / values.size**0.5
