"""What a run gives: the value of every node, the gradient there, gradients of the parameters."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen, nnx

from isometry.jax.inputs import as_call
from isometry.jax.models import model_of
from isometry.jax.read import reading
from isometry.jax.run import JaxRunner

from .models import (
    NNXCNN,
    NNXMLP,
    VOCABULARY,
    EquinoxCNN,
    LinenBlock,
    LinenCNN,
    NNXBlock,
    TorchMLP,
)

KEY = jax.random.key(0)
DRAWN = np.random.default_rng(0)
X = DRAWN.standard_normal((16, 8)).astype(np.float32)
IMAGES = DRAWN.standard_normal((4, 16, 16, 3)).astype(np.float32)
IDS = DRAWN.integers(0, VOCABULARY, (4, 10)).astype(np.int32)


def runner_of(obj, inputs):
    call = as_call(inputs)
    model = model_of(obj, call)
    return JaxRunner(model, call, reading(model, call, None, mode="given"))


def half_square(outputs):
    """The objective sum(output²)/2, whose gradient is the output."""
    out = outputs["output"]
    return float((out.astype(np.float64) ** 2).sum() / 2), {"output": out}


def test_values_and_gradients_of_an_mlp():
    model = NNXMLP(nnx.Rngs(0))
    runner = runner_of(model, X)
    found = runner.run(None, half_square)
    h1 = model.fc1(X)
    h2 = nnx.relu(model.norm(h1))
    h3 = h2 + nnx.gelu(model.fc2(h2), approximate=False)
    wants = {"fc1": h1, "norm": model.norm(h1), "fc2": model.fc2(h2), "out": model(X)}
    for scope, want in wants.items():
        last = max(n for n in found.values if runner.graph.nodes[n].scope == scope)
        np.testing.assert_allclose(found.values[last], want, rtol=1e-5, atol=1e-6)

    def objective(h):
        return (model.out(nnx.silu(h)) ** 2).sum() / 2

    gradient = jax.grad(objective)(h3)
    add = next(n for n in runner.graph if n.op == "add" and n.scope == "" and n.index in found.values)  # fmt: skip
    np.testing.assert_allclose(found.values[add.index], h3, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(found.gradients[add.index], gradient, rtol=1e-4, atol=1e-5)
    assert found.loss == pytest.approx(float((model(X) ** 2).sum() / 2), rel=1e-5)


def test_gradients_of_parameters_are_in_pytorchs_layout():
    import torch

    import isometry as iso

    theirs, ours = TorchMLP(), NNXMLP(nnx.Rngs(0))
    iso.initialize(theirs, torch.from_numpy(X), seed=0)
    iso.initialize(ours, X, seed=0)
    (theirs(torch.from_numpy(X)) ** 2).sum().div(2).backward()
    found = runner_of(ours, X).run(None, half_square, nodes=False)
    assert found.values == {}
    assert found.gradients == {}
    for name, p in theirs.named_parameters():
        np.testing.assert_allclose(found.parameters[name], p.grad, rtol=2e-3, atol=1e-4)


def test_other_values_for_parameters():
    model = NNXMLP(nnx.Rngs(0))
    runner = runner_of(model, X)
    zero = {"out.weight": np.zeros((3, 64), np.float32), "out.bias": np.arange(3, dtype=np.float32)}
    found = runner.run(zero, None)
    np.testing.assert_array_equal(found.outputs["output"], np.tile([0, 1, 2], (16, 1)))
    np.testing.assert_allclose(runner.run(None, None).outputs["output"], model(X), rtol=1e-5)
    assert runner.parameters["fc1.weight"].shape == (64, 8)


@pytest.mark.parametrize(
    ("build", "inputs"),
    [
        (lambda: NNXCNN(nnx.Rngs(0)), IMAGES),
        (lambda: NNXBlock(nnx.Rngs(0)), IDS),
        (lambda: (LinenCNN(), LinenCNN().init(KEY, IMAGES)), {"x": IMAGES, "train": True}),
        (lambda: (LinenBlock(), LinenBlock().init(KEY, IDS)), IDS),
        (lambda: EquinoxCNN(KEY), np.ascontiguousarray(np.moveaxis(IMAGES, -1, 1))),
    ],
    ids=["nnx CNN", "nnx block", "linen CNN, training", "linen block", "equinox CNN"],
)
def test_every_weight_has_its_value_and_its_gradient(build, inputs):
    runner = runner_of(build(), inputs)
    found = runner.run(None, half_square)
    for node in runner.graph:
        if node.op in ("linear", "conv", "softmax"):
            after = found.values.get(node.index)
            assert after is not None, node
            assert found.gradients[node.index].shape == after.shape
            assert np.prod(after.shape) == np.prod(runner.graph.values[node.output].shape)
    leaves = [leaf.name for leaf in runner.graph.leaves if leaf.kind == "parameter"]
    assert set(found.parameters) == set(leaves)
    assert set(runner.parameters) == {leaf.name for leaf in runner.graph.leaves}
    for leaf in runner.graph.leaves:
        assert runner.parameters[leaf.name].shape == leaf.shape


def test_units_lie_on_the_axis_that_channels_names():
    images = np.ascontiguousarray(np.moveaxis(IMAGES, -1, 1))
    first = runner_of(EquinoxCNN(KEY), images)
    last = runner_of(NNXCNN(nnx.Rngs(0)), IMAGES)
    for runner, axis in ((first, 1), (last, -1)):
        values = runner.run(None, None).values
        convs = [n for n in runner.graph if n.op == "conv"]
        assert len(convs) == 2
        for node in convs:
            units = values[node.index].shape[runner.channels.get(node.index, -1)]
            assert units == runner.graph.values[node.output].shape[1]
            assert runner.channels.get(node.index, -1) == axis


def test_training_statistics_are_not_written():
    model = NNXCNN(nnx.Rngs(0))
    model.train()
    before = jax.tree.map(np.asarray, nnx.state(model))
    found = runner_of(model, IMAGES).run(None, half_square)
    after = jax.tree.map(np.asarray, nnx.state(model))
    jax.tree.map(np.testing.assert_array_equal, before, after)
    norms = [v for n, v in found.values.items() if v.shape == (4, 16, 16, 16)]
    assert any(abs(v.mean()) < 1e-5 and abs(v.var() - 1) < 1e-2 for v in norms)  # by the batch


def test_dropout_draws_the_same_every_time():
    class Net(linen.Module):
        @linen.compact
        def __call__(self, x):
            x = linen.Dropout(0.5, deterministic=False)(linen.relu(linen.Dense(32)(x)))
            return linen.Dense(3)(x)

    net = Net()
    variables = net.init({"params": KEY, "dropout": KEY}, X)
    runner = runner_of((net, variables), X)
    one, two = (runner.run(None, None).outputs["output"] for _ in range(2))
    np.testing.assert_array_equal(one, two)
    assert any(n.op == "dropout" for n in runner.graph)


def test_a_derivative_of_ones_own_is_kept():
    @jax.custom_vjp
    def straight(x):
        return jnp.round(x)

    straight.defvjp(lambda x: (jnp.round(x), None), lambda _, g: (g,))
    tree = {"w": jax.random.normal(KEY, (8, 3))}
    runner = runner_of((lambda t, x: straight(x @ t["w"]), tree), X)
    found = runner.run(None, half_square)
    out = np.round(X @ np.asarray(tree["w"]))
    np.testing.assert_allclose(found.parameters["w"], X.T @ out, rtol=1e-4, atol=1e-4)


def test_each_iteration_of_a_scan_is_measured():
    class Stack(eqx.Module):
        layers: eqx.nn.Linear

        def __init__(self, key):
            self.layers = jax.vmap(lambda k: eqx.nn.Linear(8, 8, key=k))(jax.random.split(key, 5))

        def __call__(self, x):
            return jax.lax.scan(lambda h, layer: (jnp.tanh(layer(h)), None), x, self.layers)[0]

    runner = runner_of(Stack(KEY), X)
    found = runner.run(None, half_square)
    tanh = [n for n in runner.graph if n.attrs.get("fn") == "tanh"]
    assert len(tanh) == 5
    np.testing.assert_allclose(found.values[tanh[-1].index], found.outputs["output"], rtol=1e-6)


def test_where_no_gradient_reaches_there_is_none():
    tree = {"w": jax.random.normal(KEY, (8, 3)), "u": jax.random.normal(KEY, (8, 3))}

    def forward(t, x):
        return x @ t["w"] + jax.lax.stop_gradient(jnp.tanh(x @ t["u"]))

    runner = runner_of((forward, tree), X)
    found = runner.run(None, half_square)
    assert set(found.parameters) == {"w"}
    ops = {runner.graph.nodes[n].op for n in found.gradients}
    assert ops == {"linear", "add"}
    assert {runner.graph.nodes[n].op for n in found.values} == {"linear", "add", "pointwise"}
