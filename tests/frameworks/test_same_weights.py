"""One seed, one model, one set of weights: PyTorch, Keras on three backends, NNX, Linen, Equinox."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from flax import nnx

import isometry as iso
import isometry.jax as ij
from isometry.stored import as_torch

from ..jax import models
from .keras_models import IDS, IMAGES, digest

ROOT = Path(__file__).parents[2]
FRAMEWORKS = (
    "PyTorch", "Keras on TensorFlow", "Keras on JAX", "Keras on PyTorch", "Flax NNX", "Flax Linen",
    "Equinox",
)  # fmt: skip
LAST = np.moveaxis(IMAGES, 1, -1)
KEY = jax.random.key(0)
Found = tuple[str, np.ndarray[Any, Any]]  # digest of the weights, output


def in_torch(build: Callable[[], torch.nn.Module], x: np.ndarray[Any, Any], dtype: str) -> Found:
    model = build().to(getattr(torch, dtype))
    given = torch.from_numpy(x)
    given = given.to(getattr(torch, dtype)) if given.is_floating_point() else given
    iso.initialize(model, given, seed=0)
    weights = {n: p.detach() for n, p in model.named_parameters()}
    bits = {
        n: p.view(torch.uint16).numpy() if dtype == "bfloat16" else p.numpy()
        for n, p in weights.items()
    }
    return digest(bits), model.eval()(given).detach().double().numpy()


def of_plan(plan: iso.Plan, arrays: dict[str, Any]) -> str:
    """The digest of arrays that are named as the plan's aliases are."""
    weights = {}
    for decision in plan:
        if decision.kind == "parameter":
            found = next(arrays[a] for a in (*decision.aliases, decision.name) if a in arrays)
            weights[decision.name] = as_torch(np.asarray(found), decision.stored, decision.shape)
    return digest(weights)


def by_path(tree: Any, separator: str) -> dict[str, Any]:
    leaves = jax.tree_util.tree_leaves_with_path(tree)
    return {jax.tree_util.keystr(p, simple=True, separator=separator): leaf for p, leaf in leaves}


def cast(tree: Any, dtype: str) -> Any:
    def one(leaf: Any) -> Any:
        floating = eqx.is_array(leaf) and jnp.issubdtype(leaf.dtype, jnp.floating)
        return leaf.astype(dtype) if floating else leaf

    return jax.tree.map(one, tree)


def in_nnx(build: Callable[[], Any], x: np.ndarray[Any, Any], dtype: str) -> Found:
    model = build()
    nnx.update(model, cast(nnx.state(model), dtype))
    plan = iso.initialize(model, jnp.asarray(x), seed=0)
    arrays = by_path(nnx.to_pure_dict(nnx.state(model, nnx.Param)), ".")
    model.eval()
    return of_plan(plan, arrays), np.asarray(model(jnp.asarray(x)), np.float64)


def in_linen(build: Callable[[], Any], x: np.ndarray[Any, Any], dtype: str) -> Found:
    module, given = build(), jnp.asarray(x)
    variables = cast(module.init(KEY, given), dtype)
    plan = iso.plan((module, variables), given)
    variables = plan.apply((module, variables), seed=0)
    return of_plan(plan, by_path(variables, "/")), np.asarray(
        module.apply(variables, given), np.float64
    )


def in_equinox(build: Callable[[], Any], x: np.ndarray[Any, Any], dtype: str) -> Found:
    given = cast(jnp.asarray(x), dtype)
    model, plan = ij.initialize(cast(build(), dtype), given, seed=0)
    arrays = {
        jax.tree_util.keystr(p).removeprefix("."): leaf
        for p, leaf in jax.tree_util.tree_leaves_with_path(eqx.filter(model, eqx.is_array))
    }
    return of_plan(plan, arrays), np.asarray(jax.vmap(model)(given), np.float64)


@cache
def in_keras(backend: str, dtype: str) -> dict[str, Found]:
    environment = {**os.environ, "KERAS_BACKEND": backend, "TF_CPP_MIN_LOG_LEVEL": "3"}
    command = [sys.executable, str(Path(__file__).with_name("keras_models.py")), dtype]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    printed = json.loads(done.stdout.splitlines()[-1])
    return {name: (one["digest"], np.array(one["output"])) for name, one in printed.items()}


@cache
def made(framework: str, name: str, dtype: str) -> Found:
    """The weights and the output of one model in one framework."""
    kind = {"CNN": "CNN", "block": "Block"}[name]
    x = IMAGES if name == "CNN" else IDS
    last = LAST if name == "CNN" else IDS
    match framework:
        case "PyTorch":
            return in_torch(getattr(models, f"Torch{kind}"), x, dtype)
        case "Flax NNX":
            return in_nnx(lambda: getattr(models, f"NNX{kind}")(nnx.Rngs(0)), last, dtype)
        case "Flax Linen":
            return in_linen(getattr(models, f"Linen{kind}"), last, dtype)
        case "Equinox":
            return in_equinox(lambda: getattr(models, f"Equinox{kind}")(KEY), x, dtype)
    return in_keras(framework.removeprefix("Keras on ").lower().replace("pytorch", "torch"), dtype)[
        name
    ]


def table() -> str:
    """The rows of docs/frameworks.md."""
    rows = []
    for framework in FRAMEWORKS:
        cells = [
            made(framework, n, d)[0] for n in ("CNN", "block") for d in ("float32", "bfloat16")
        ]
        rows.append(f"| {framework} | {' | '.join(f'`{c}`' for c in cells)} |")
    return "\n".join(rows)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("name", ["CNN", "block"])
@pytest.mark.parametrize("framework", FRAMEWORKS[1:])
def test_the_weights_are_pytorchs_to_the_bit(framework: str, name: str, dtype: str) -> None:
    found, output = made(framework, name, dtype)
    if framework == "Equinox" and name == "CNN":  # without BatchNorm, as its PyTorch counterpart
        expected, theirs = in_torch(models.TorchPlainCNN, IMAGES, dtype)
    else:
        expected, theirs = made("PyTorch", name, dtype)
    assert found == expected
    if dtype == "float32":
        np.testing.assert_allclose(output, theirs, rtol=1e-3, atol=1e-4 * np.abs(theirs).max())


def test_the_documented_table() -> None:
    """Printed as the documentation has it: `pytest tests/frameworks -k documented -s`."""
    rows = table()
    print(f"\n{rows}")
    assert rows in (ROOT / "docs" / "frameworks.md").read_text()
