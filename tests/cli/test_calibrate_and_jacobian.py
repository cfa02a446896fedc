"""`isometry init --calibrate` and `isometry check --jacobian`: what they print and write."""

import json
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import nn

import isometry as iso

from .conftest import Typed


def mlp() -> nn.Module:
    return nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10))


def test_init_calibrates_on_the_inputs_of_the_target(nets: str, tmp_path: Path, run: Typed) -> None:
    out, plan = tmp_path / "m.safetensors", tmp_path / "p.json"
    done = run("init", f"{nets}:bright", "--calibrate", "--out", str(out), "--json", str(plan))
    assert done.status == 0, done.err
    assert "2 of 2 matrices calibrated on the given inputs" in done.out
    model = mlp()
    model.load_state_dict(load_file(out))
    assert 0.5 < model(200 * torch.randn(64, 64)).square().mean() < 2.0
    twin = mlp()
    iso.Plan.load(plan).apply(twin, seed=0)
    assert all(map(torch.equal, model.state_dict().values(), twin.state_dict().values()))


def test_init_leaves_the_scale_to_theory_where_nothing_else_is_said(
    nets: str, tmp_path: Path, run: Typed
) -> None:
    done = run("init", f"{nets}:bright", "--out", str(tmp_path / "m.safetensors"))
    assert done.status == 0
    assert "calibrated" not in done.out


def test_check_shows_the_singular_values(nets: str, run: Typed) -> None:
    done = run("check", f"{nets}:shallow", "--jacobian")
    assert done.status == 0
    assert "10 nonzero singular values" in done.out
    data = json.loads(run("check", f"{nets}:shallow", "--jacobian", "-f", "json").out)
    assert len(data["jacobian"]["values"]) == 10
    assert data["jacobian"]["inputs"] == 64
    assert "singular" not in run("check", f"{nets}:shallow").out
