"""Calibration on data: every product has the second moment that the plan aims at."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from flax import nnx

import isometry as iso
from isometry.errors import ArgumentError, ModelError

from .models import NNXCNN, NNXMLP, EquinoxMLP, TorchCNN, TorchMLP  # fmt: skip

DRAWN = np.random.default_rng(0)
# Data that no theory knows: neither centred nor of second moment 1.
X = (3.0 + 2.0 * DRAWN.standard_normal((256, 8))).astype(np.float32)
IMAGES = (1.0 + DRAWN.standard_normal((16, 16, 16, 3))).astype(np.float32)


@pytest.mark.parametrize("name", ["MLP", "CNN"])
def test_the_factors_are_those_of_pytorch(name):
    theirs, ours = {"MLP": (TorchMLP, NNXMLP), "CNN": (TorchCNN, NNXCNN)}[name]
    x = {"MLP": X, "CNN": IMAGES}[name]
    first = np.ascontiguousarray(np.moveaxis(x, -1, 1)) if x.ndim == 4 else x
    model, other = ours(nnx.Rngs(0)), theirs()
    plan = iso.initialize(model, x, seed=0, calibrate=True)
    want = iso.initialize(other, torch.from_numpy(first), seed=0, calibrate=True)
    for decision in want:
        if not decision.name.endswith("num_batches_tracked"):
            found = plan[decision.name].law.variance if not decision.keeps else None
            if found:  # both are rounded to six digits after float32 sums
                assert found == pytest.approx(decision.law.variance, rel=2e-4), decision.name
    if name == "MLP":
        made = model.fc2(nnx.relu(model.norm(model.fc1(X))))
        assert float(jnp.mean(made**2)) == pytest.approx(1.0, rel=1e-3)


def test_equinox_through_its_plan():
    model = EquinoxMLP(jax.random.key(0))
    from isometry.calibration import aims_of, calibrated
    from isometry.jax.calibrate import calibrate
    from isometry.jax.read import read_graph

    graph = read_graph(model, X)
    plan = iso.plan(model, X)
    aims = aims_of(graph, plan)
    made = calibrated(plan, aims, calibrate(plan, model, X, aims.moments, seed=0)).apply(model)
    read = jax.vmap(lambda x: made.fc2(jax.nn.relu(made.norm(made.fc1(x)))))(X)
    assert float(jnp.mean(read**2)) == pytest.approx(aims.moments["fc2.weight"], rel=1e-3)
    assert isinstance(made, eqx.Module)


def test_errors():
    with pytest.raises(ArgumentError, match="without inputs"):
        iso.initialize(NNXMLP(nnx.Rngs(0)), calibrate=True)
    with pytest.raises(ModelError, match=r"fc2\.weight cannot be calibrated"):
        iso.initialize(NNXMLP(nnx.Rngs(0)), np.zeros_like(X), calibrate=True)
