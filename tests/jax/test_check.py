"""A check of a Flax or Equinox model says what the check of the same model in PyTorch says."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from flax import linen, nnx

import isometry as iso
from isometry.errors import ModelError, TraceError
from isometry.jax.apply import initialize

from .models import (
    NNXCNN,
    NNXMLP,
    EquinoxMLP,
    LinenCNN,
    LinenMLP,
    NNXBlock,
    TorchCNN,
    TorchMLP,
)

KEY = jax.random.key(0)
DRAWN = np.random.default_rng(0)
X = DRAWN.standard_normal((64, 8)).astype(np.float32)
Y = DRAWN.standard_normal((64, 3)).astype(np.float32)
IMAGES = DRAWN.standard_normal((32, 16, 16, 3)).astype(np.float32)


def nnx_mlp():
    model = NNXMLP(nnx.Rngs(0))
    iso.initialize(model, X, seed=0)
    return model


MODELS = {
    "nnx": nnx_mlp,
    "linen": lambda: (LinenMLP(), initialize(LinenMLP(), X, seed=0)[0]),
    "equinox": lambda: initialize(EquinoxMLP(KEY), X, seed=0)[0],
}


@pytest.mark.parametrize("kind", MODELS)
def test_the_measurements_are_those_of_pytorch(kind):
    theirs = TorchMLP()
    iso.initialize(theirs, torch.from_numpy(X), seed=0)
    want = iso.check(theirs, torch.from_numpy(X), loss="mse", target=torch.from_numpy(Y))
    found = iso.check(MODELS[kind](), X, loss="mse", target=Y)
    assert [f.code for f in found.findings] == [f.code for f in want.findings]
    assert found.loss == pytest.approx(want.loss, rel=1e-4)
    assert [m.op for m in found.layers] == [m.op for m in want.layers]
    for mine, other in zip(found.layers, want.layers, strict=True):
        assert mine.layer == other.layer
        assert mine.q == pytest.approx(other.q, rel=1e-4)
        assert mine.c == pytest.approx(other.c, rel=1e-3, abs=1e-4)
        assert mine.grad == pytest.approx(other.grad, rel=1e-3)


def test_a_cnn_in_training_leaves_no_trace():
    model = NNXCNN(nnx.Rngs(0))
    iso.initialize(model, IMAGES, seed=0)
    model.train()
    before = jax.tree.map(np.array, nnx.state(model))
    report = iso.check(model, IMAGES)
    assert report.ok, str(report)
    jax.tree.map(np.testing.assert_array_equal, before, jax.tree.map(np.array, nnx.state(model)))
    assert not model.bn.use_running_average


def test_the_units_of_images_are_channels():
    theirs = TorchCNN()
    first = np.ascontiguousarray(np.moveaxis(IMAGES, -1, 1))
    iso.initialize(theirs, torch.from_numpy(first), seed=0)
    ours = NNXCNN(nnx.Rngs(0))
    iso.initialize(ours, IMAGES, seed=0)
    want = {m.node: m for m in iso.check(theirs, torch.from_numpy(first)).layers}
    found = iso.check(ours, IMAGES).layers
    dead = [m.dead for m in found if m.op == "pointwise:relu"]
    assert dead == [m.dead for m in want.values() if m.op == "pointwise:relu"]
    # Moments are of a sample of positions, which lie in another order.
    assert [m.q for m in found] == pytest.approx([m.q for m in want.values()], rel=0.1)


FAULTS = {
    "all weights one number": {"fc1.weight": iso.Constant(0.1), "fc2.weight": iso.Constant(0.1)},
    "all weights zero": {n: iso.Constant(0.0) for n in ("fc1.weight", "fc2.weight", "out.weight")},
    "huge weights": {n: iso.Normal(300.0) for n in ("fc1.weight", "fc2.weight", "out.weight")},
    "dead units": {"norm.bias": iso.Constant(-30.0)},
}


@pytest.mark.parametrize("kind", MODELS)
@pytest.mark.parametrize("fault", FAULTS)
def test_faults_are_found_as_in_pytorch(fault, kind):
    theirs = TorchMLP()
    inputs = torch.from_numpy(X)
    iso.plan(theirs, inputs).override(FAULTS[fault]).apply(theirs, seed=0)
    want = iso.check(theirs, inputs, loss="mse", target=torch.from_numpy(Y))
    obj = MODELS[kind]()
    made = iso.plan(obj, X).override(FAULTS[fault]).apply(obj, seed=0)
    report = iso.check((obj[0], made) if kind == "linen" else made, X, loss="mse", target=Y)
    assert report.findings
    assert [(f.code, f.where) for f in report.findings] == [
        (f.code, f.where) for f in want.findings
    ]


def test_a_linen_model_in_training():
    variables, _ = initialize(LinenCNN(), {"x": IMAGES, "train": False}, seed=0)
    report = iso.check((LinenCNN(), variables), {"x": IMAGES, "train": True})
    assert report.ok, str(report)
    assert any(m.op == "norm" for m in report.layers)


def test_a_loss_of_ones_own_and_a_named_one():
    ids = DRAWN.integers(0, 50, (32, 10)).astype(np.int32)
    model = NNXBlock(nnx.Rngs(0))
    iso.initialize(model, ids, seed=0, loss="cross_entropy")
    named = iso.check(model, ids, loss="cross_entropy", target=ids)

    def own(output, target):
        logp = jax.nn.log_softmax(output)
        return -jnp.take_along_axis(logp, target[..., None], -1).mean()

    mine = iso.check(model, ids, loss=own, target=ids)
    assert named.ok, str(named)
    assert mine.loss == pytest.approx(named.loss, rel=1e-4)


def test_a_factory_is_judged_over_seeds():
    report = iso.check(nnx_mlp(), X, build=nnx_mlp, seeds=2)
    assert report.ok
    assert all(p.rebuilt == "equal" for p in report.parameters)


def test_a_finding_names_its_line():
    class Exploding(linen.Module):
        @linen.compact
        def __call__(self, x):
            for i in range(4):
                x = linen.relu(linen.Dense(64, name=f"fc{i}")(x))
            return x

    variables = Exploding().init(KEY, X)
    loud = jax.tree.map(lambda a: a * 50.0, variables)
    report = iso.check((Exploding(), loud), X)
    finding = next(f for f in report.findings if f.code == "ISO202")
    assert finding.location is not None
    assert finding.location.file.endswith("test_check.py")


def test_errors():
    with pytest.raises(TraceError, match="no inputs"):
        iso.check(nnx_mlp())
    with pytest.raises(ModelError, match="no values to measure"):
        iso.check(LinenMLP(), X)
