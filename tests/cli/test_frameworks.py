"""The command line on Keras and JAX models: the same words, the same verdicts."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

KERAS = """
import keras
def make():
    L = keras.layers
    return keras.Sequential([L.Dense(32, "tanh", kernel_initializer=INIT), L.Dense(32, "tanh", kernel_initializer=INIT), L.Dense(2)])
"""
FLAX = """
from flax import nnx
from jax.nn import initializers
class Net(nnx.Module):
    def __init__(self):
        rngs = nnx.Rngs(0)
        self.a, self.b = (nnx.Linear(n, 32, rngs=rngs, kernel_init=INIT) for n in (8, 32))
        self.c = nnx.Linear(32, 2, rngs=rngs)
    def __call__(self, x):
        return self.c(nnx.tanh(self.b(nnx.tanh(self.a(x)))))
make = Net
"""
CASES = [
    (KERAS, "keras.initializers.RandomNormal(stddev=2.0)", "keras.initializers.LecunNormal()"),
    (FLAX, "initializers.normal(2.0)", "initializers.lecun_normal()"),
]


def run(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "KERAS_BACKEND": "jax", "COLUMNS": "100"}
    command = [str(Path(sys.executable).with_name("isometry")), *words]
    return subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, check=False
    )


@pytest.mark.parametrize(("source", "wide", "right"), CASES, ids=["keras", "flax"])
def test_check_and_plan(tmp_path: Path, source: str, wide: str, right: str) -> None:
    (tmp_path / "wide.py").write_text(source.replace("INIT", wide))
    (tmp_path / "right.py").write_text(source.replace("INIT", right))
    bad = run(tmp_path, "check", "wide.py:make", "--input", "64x8", "--seeds", "0")
    assert bad.returncode == 1, bad.stderr
    assert "ISO402" in bad.stdout
    plan = run(tmp_path, "plan", "right.py:make", "--input", "64x8", "--json", "plan.json")
    assert plan.returncode == 0, plan.stderr
    assert "reads tanh" in plan.stdout
    assert (tmp_path / "plan.json").is_file()
