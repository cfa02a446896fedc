"""The same model gives the same plan, and the same weights to the bit, in every framework."""

import flax.linen as linen
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from flax import nnx

import isometry as iso
from isometry.errors import ArgumentError, ModelError, PlanError, TraceError
from isometry.stored import as_torch

from .models import (
    NNXCNN,
    NNXMLP,
    VOCABULARY,
    EquinoxBlock,
    EquinoxCNN,
    EquinoxMLP,
    LinenBlock,
    LinenCNN,
    LinenMLP,
    NNXBlock,
    TorchBlock,
    TorchCNN,
    TorchMLP,
    TorchPlainCNN,
)

KEY = jax.random.key(0)
DRAWN = np.random.default_rng(0)
FEATURES = DRAWN.standard_normal((16, 8)).astype(np.float32)
IMAGES = DRAWN.standard_normal((4, 3, 16, 16)).astype(np.float32)
IDS = DRAWN.integers(0, VOCABULARY, (4, 10)).astype(np.int32)
LAST = np.moveaxis(IMAGES, 1, -1)
PAIRS = {
    "MLP-nnx": (TorchMLP, lambda: NNXMLP(nnx.Rngs(0)), FEATURES, FEATURES),
    "MLP-linen": (TorchMLP, LinenMLP, FEATURES, FEATURES),
    "MLP-equinox": (TorchMLP, lambda: EquinoxMLP(KEY), FEATURES, FEATURES),
    "CNN-nnx": (TorchCNN, lambda: NNXCNN(nnx.Rngs(0)), IMAGES, LAST),
    "CNN-linen": (TorchCNN, LinenCNN, IMAGES, LAST),
    "CNN-equinox": (TorchPlainCNN, lambda: EquinoxCNN(KEY), IMAGES, IMAGES),
    "block-nnx": (TorchBlock, lambda: NNXBlock(nnx.Rngs(0)), IDS, IDS),
    "block-linen": (TorchBlock, LinenBlock, IDS, IDS),
    "block-equinox": (TorchBlock, lambda: EquinoxBlock(KEY), IDS, IDS),
}
FIELDS = "name kind shape role axes fans scheme gain law blocks reason source".split()
COUNTER = "bn.num_batches_tracked"  # PyTorch's alone


@pytest.mark.parametrize("name", PAIRS)
def test_the_decisions_are_those_of_pytorch(name):
    build, build_jax, x, x_jax = PAIRS[name]
    want = [d for d in iso.plan(build(), torch.from_numpy(x)) if d.name != COUNTER]
    plan = iso.plan(build_jax(), x_jax)
    assert sorted(d.name for d in plan) == sorted(d.name for d in want)
    for decision in want:
        other = plan[decision.name]
        for field in FIELDS:
            assert getattr(other, field) == getattr(decision, field), (decision.name, field)


@pytest.mark.parametrize(
    ("name", "recipe"),
    [
        ("MLP-nnx", "isometric"),
        ("MLP-linen", "he"),
        ("CNN-nnx", "he"),
        ("CNN-linen", "critical"),
        ("block-nnx", "depth-scaled"),
        ("block-equinox", "mimetic"),
    ],
)
def test_the_laws_of_other_recipes_too(name, recipe):
    build, build_jax, x, x_jax = PAIRS[name]
    want = iso.plan(build(), torch.from_numpy(x), recipe=recipe)
    plan = iso.plan(build_jax(), x_jax, recipe=recipe)
    assert {d.name: (d.law, d.blocks) for d in plan} == {
        d.name: (d.law, d.blocks) for d in want if d.name != COUNTER
    }


def _arrays(model, plan):
    """name -> values in PyTorch's layout, of an NNX module, an Equinox module or variables."""
    tree = nnx.to_pure_dict(nnx.state(model)) if isinstance(model, nnx.Module) else model
    found = {}
    for path, leaf in jax.tree_util.tree_flatten_with_path(tree)[0]:
        name = jax.tree_util.keystr(path).lstrip(".")
        if (
            name in plan
            or name.replace("['", ".") in plan
            or jnp.issubdtype(leaf.dtype, jnp.inexact)
        ):
            decision = plan[name]
            found[decision.name] = as_torch(np.asarray(leaf), decision.stored, decision.shape)
    return found


@pytest.mark.parametrize("name", PAIRS)
def test_the_weights_and_the_outputs_are_those_of_pytorch(name):
    build, build_jax, x, x_jax = PAIRS[name]
    torch.manual_seed(0)
    model = build().eval()
    iso.initialize(model, torch.from_numpy(x), seed=7)
    want = model(torch.from_numpy(x)).detach().numpy()
    made = build_jax()
    from isometry.jax.apply import initialize

    weights, plan = initialize(made, x_jax, seed=7)
    state = {n: t.detach().numpy() for n, t in model.state_dict().items() if n != COUNTER}
    found = _arrays(weights, plan)
    assert found.keys() == state.keys()
    for n, values in state.items():
        np.testing.assert_array_equal(found[n], values, err_msg=n)
    if isinstance(made, linen.Module):
        out = made.apply(weights, x_jax)
    elif isinstance(made, nnx.Module):
        made.eval()
        out = made(x_jax)
    else:
        out = jax.vmap(weights)(jnp.asarray(x_jax))
    np.testing.assert_allclose(out, want, rtol=2e-4, atol=2e-5)


def test_a_linen_module_with_its_variables_and_bound():
    module = LinenMLP()
    variables = module.init(KEY, FEATURES)
    alone = iso.plan(module, FEATURES)
    assert iso.plan((module, variables), FEATURES).diff(alone) == ()
    assert iso.plan(module.bind(variables), FEATURES).diff(alone) == ()
    new = alone.apply(variables, seed=1)
    pair = alone.apply((module, variables), seed=1)
    parameters = alone.apply(variables["params"], seed=1)
    jax.tree.map(np.testing.assert_array_equal, new, pair)
    jax.tree.map(np.testing.assert_array_equal, new["params"], parameters)
    assert not np.array_equal(new["params"]["fc1"]["kernel"], variables["params"]["fc1"]["kernel"])


def test_names_of_every_framework_find_a_decision():
    assert iso.plan(NNXMLP(nnx.Rngs(0)), FEATURES)["fc1.kernel"].name == "fc1.weight"
    linen_plan = iso.plan(LinenMLP(), FEATURES)
    assert linen_plan["params/norm/scale"].name == "norm.weight"
    assert linen_plan["params/fc1/kernel"].aliases == ("params/fc1/kernel",)


def test_a_function_with_a_tree_of_arrays():
    tree = {"w1": jnp.zeros((8, 64)), "b1": jnp.zeros(64), "w2": jnp.zeros((64, 3))}

    def forward(tree, x):
        return jax.nn.relu(x @ tree["w1"] + tree["b1"]) @ tree["w2"]

    plan = iso.plan((forward, tree), FEATURES)
    assert plan["w1"].fans == iso.types.Fans(8.0, 64.0)
    assert plan["w2"].reason == "reads relu, second moment 0.5"
    assert plan["b1"].role == "bias"
    new = plan.apply(tree, seed=0)
    assert abs(float(jnp.var(new["w1"])) * 8 - 1) < 0.2
    assert float(jnp.abs(tree["w1"]).max()) == 0.0  # values: the old ones are as they were


def test_layers_under_scan_are_matrices_of_their_own():
    class Block(linen.Module):
        @linen.compact
        def __call__(self, x, _):
            return x + linen.Dense(32, name="down")(linen.relu(linen.Dense(64, name="up")(x))), None

    class Stack(linen.Module):
        @linen.compact
        def __call__(self, x):
            scan = linen.scan(
                Block, variable_axes={"params": 0}, split_rngs={"params": True}, length=6
            )
            return linen.Dense(3, name="head")(scan(name="blocks")(x, None)[0])

    plan = iso.plan(Stack(), np.zeros((4, 32), np.float32))
    up, down = plan["blocks.up.weight"], plan["blocks.down.weight"]
    assert up.shape == (6, 64, 32)
    assert (up.fans.fan_in, up.fans.fan_out) == (32.0, 64.0)
    assert up.axes.batch_axis == (0,)
    assert "one of 6 that write its residual stream" in down.reason
    from isometry.jax.apply import initialize

    variables, _ = initialize(Stack(), np.zeros((4, 32), np.float32), seed=0)
    kernel = np.asarray(variables["params"]["blocks"]["up"]["kernel"])
    for layer in kernel:  # 2048 draws each: var within 5 standard errors, sqrt(2 / 2048) = 3 %
        assert abs(layer.var() * 32 - 1) < 0.16 or abs(layer.var() * 32 - 2) < 0.32
    assert len(np.unique(kernel)) > 0.99 * kernel.size


def test_nnx_scan_and_remat():
    class Block(nnx.Module):
        def __init__(self, rngs):
            self.up = nnx.Linear(32, 32, rngs=rngs)

        def __call__(self, x):
            return nnx.relu(self.up(x))

    class Stack(nnx.Module):
        def __init__(self, rngs):
            @nnx.split_rngs(splits=4)
            @nnx.vmap(in_axes=(0,), out_axes=0)
            def blocks(rngs):
                return Block(rngs)

            self.blocks = blocks(rngs)
            self.out = nnx.Linear(32, 3, rngs=rngs)

        def __call__(self, x):
            @nnx.scan(in_axes=(nnx.Carry, 0), out_axes=nnx.Carry)
            def run(x, block):
                return nnx.remat(lambda b, h: b(h))(block, x)

            return self.out(run(x, self.blocks))

    plan = iso.plan(Stack(nnx.Rngs(0)), np.zeros((4, 32), np.float32))
    assert plan["blocks.up.weight"].shape == (4, 32, 32)
    assert plan["blocks.up.weight"].fans == iso.types.Fans(32.0, 32.0)
    assert plan["out.weight"].reason.startswith("reads relu")


def test_tied_variables_are_one_parameter():
    class Tied(nnx.Module):
        def __init__(self, rngs):
            self.embed = nnx.Embed(20, 8, rngs=rngs)
            self.out = nnx.Linear(8, 8, use_bias=False, rngs=rngs)
            self.again = nnx.Linear(8, 8, use_bias=False, rngs=rngs)
            self.again.kernel = self.out.kernel

        def __call__(self, ids):
            return self.embed.attend(self.again(self.out(self.embed(ids))))

    model = Tied(nnx.Rngs(0))
    plan = iso.plan(model, IDS % 20)
    assert [d.name for d in plan] == ["embed.weight", "out.weight"]
    assert "again.weight" in plan["out.weight"].aliases
    plan.apply(model, seed=0)
    assert model.again.kernel is model.out.kernel


def test_dropout_and_batch_statistics_are_read_in_evaluation():
    class Net(nnx.Module):
        def __init__(self, rngs):
            self.fc = nnx.Linear(8, 32, rngs=rngs)
            self.bn = nnx.BatchNorm(32, rngs=rngs)
            self.drop = nnx.Dropout(0.5, rngs=rngs)
            self.out = nnx.Linear(32, 3, rngs=rngs)

        def __call__(self, x):
            return self.out(self.drop(nnx.relu(self.bn(self.fc(x)))))

    model = Net(nnx.Rngs(0))
    before = jax.tree.map(np.asarray, nnx.state(model, nnx.BatchStat))
    plan = iso.plan(model, FEATURES)
    assert plan["bn.running_var"].kind == "buffer"
    assert plan["out.weight"].reason == "reads relu, second moment 0.5"
    assert not model.drop.deterministic
    jax.tree.map(np.testing.assert_array_equal, before, nnx.state(model, nnx.BatchStat))


class TestErrors:
    def test_no_parameters(self):
        with pytest.raises(ModelError, match="has no parameters"):
            iso.plan(nnx.Dropout(0.5, rngs=nnx.Rngs(0)), FEATURES)

    def test_inputs_that_do_not_fit(self):
        with pytest.raises(TraceError, match=r"NNXMLP could not be run.*float32"):
            iso.plan(NNXMLP(nnx.Rngs(0)), np.zeros((4, 9), np.float32))

    def test_inputs_of_another_kind(self):
        with pytest.raises(ArgumentError, match="inputs is str"):
            iso.plan(NNXMLP(nnx.Rngs(0)), "x")

    def test_linen_without_inputs(self):
        with pytest.raises(ModelError, match="no variables without inputs"):
            iso.plan(LinenMLP())

    def test_integer_parameters(self):
        class Quantised(nnx.Module):
            def __init__(self):
                self.w = nnx.Param(jnp.zeros((8, 3), jnp.int8))

        with pytest.raises(ModelError, match="quantised or integer"):
            iso.plan(Quantised(), FEATURES)

    def test_a_plan_of_another_model(self):
        plan = iso.plan(LinenCNN(), LAST)
        with pytest.raises(PlanError, match="does not fit"):
            plan.apply(NNXMLP(nnx.Rngs(0)))

    def test_a_loss_of_no_kind(self):
        with pytest.raises(ArgumentError, match="loss="):
            iso.plan(LinenMLP(), FEATURES, loss="hinge")


def test_without_inputs_the_module_types_decide():
    plan = iso.plan(NNXMLP(nnx.Rngs(0)))
    assert plan["fc2.weight"].fans == iso.types.Fans(64.0, 64.0)
    assert any("no inputs were given" in n for n in plan.notes)


@pytest.mark.parametrize("transform", [nnx.remat, nnx.jit])
def test_a_normalisation_inside_a_transform_of_nnx_is_one(transform):
    """Such a transform runs copies of the modules."""

    class Plain(nnx.Module):
        def __init__(self, rngs):
            self.ln, self.fc = nnx.LayerNorm(16, rngs=rngs), nnx.Linear(16, 16, rngs=rngs)

        def __call__(self, x):
            return x + self.fc(self.ln(x))

    class Transformed(Plain):
        __call__ = transform(Plain.__call__)

    x = jnp.ones((4, 16))
    plans = [iso.plan(c(nnx.Rngs(0)), x) for c in (Plain, Transformed)]
    assert plans[0]["ln.weight"].role == "norm_gain"
    assert plans[0].digest == plans[1].digest


def test_layers_scanned_by_linen_are_layers():
    class Layer(linen.Module):
        @linen.compact
        def __call__(self, carry, _):
            return carry + linen.Dense(16, name="fc")(linen.LayerNorm(name="ln")(carry)), None

    class Net(linen.Module):
        @linen.compact
        def __call__(self, x):
            stacked = linen.scan(
                Layer, variable_axes={"params": 0}, split_rngs={"params": True}, length=3
            )
            return stacked(name="layers")(x, None)[0]

    plan = iso.plan(Net(), jnp.ones((4, 16)))
    assert [(d.role, d.law) for d in (plan["layers.ln.weight"], plan["layers.ln.bias"])] == [
        ("norm_gain", iso.Constant(1.0)),
        ("bias", iso.Constant(0.0)),
    ]
    assert plan["layers.fc.weight"].fans == iso.Fans(16, 16)
