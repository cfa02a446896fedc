"""`isometry verify` as typed: the verdict, the tables, the status."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

import isometry as iso
from isometry.checkpoint import write_checkpoint
from isometry.manifest import NAME

from ..checkpoint.models import MODELS, weightless
from ..cli.conftest import Typed, run

__all__ = ["run"]  # the fixture
PATH = Path("out")


@pytest.fixture(autouse=True)
def seed_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A small Llama in a folder called out."""
    monkeypatch.chdir(tmp_path)
    model = weightless(MODELS["llama"])
    write_checkpoint(model, iso.plan(model), PATH, seed=3, max_shard_size="60KB")


def trained(count: int) -> Path:
    """All its tensors in one file, the last `count` of them moved."""
    state: dict[str, torch.Tensor] = {}
    for file in sorted(PATH.glob("*.safetensors")):
        state |= load_file(file)
    for name in [*sorted(state)][-count:] if count else []:
        state[name].view(-1)[0] += 0.5
    Path("tuned").mkdir(exist_ok=True)
    save_file(state, "tuned/model.safetensors")
    return Path("tuned")


def test_a_seed_checkpoint_is_what_it_claims(run: Typed) -> None:
    done = run("verify", "out")
    assert done.status == 0
    assert done.out.splitlines()[0] == "✓ all 21 tensors of out hold their initial bits"
    assert "LlamaForCausalLM, seed 3, plan " in done.out
    assert len(done.out.splitlines()) == 2


def test_what_moved_is_in_a_table(run: Typed) -> None:
    done = run("verify", str(trained(2)), "--manifest", f"out/{NAME}")
    assert done.status == 1
    assert done.out.startswith("✗ 19 of 21 tensors of tuned hold their initial bits")
    assert "not as they were: 2" in done.out
    (line,) = [x for x in done.out.splitlines() if "model.norm.weight" in x]
    assert line.split(maxsplit=3) == ["model.norm.weight", "64", "changed", "1 of 64 numbers, by 0.5 at most"]  # fmt: skip
    assert "as they were: " not in done.out.replace("not as", "")
    assert max(map(len, done.out.splitlines())) <= 100


def test_where_most_moved_what_did_not_is_told_too(run: Typed) -> None:
    done = run("verify", str(trained(20)), "-m", f"out/{NAME}")
    assert done.status == 1
    assert "as they were: 1" in done.out
    assert any(x.split() == ["lm_head.weight", "101x64", "initial"] for x in done.out.splitlines())


def test_a_long_table_ends_after_twenty(run: Typed) -> None:
    done = run("verify", str(trained(21)), "-m", f"out/{NAME}")
    rows = [x for x in done.out.splitlines() if " changed " in x]
    assert len(rows) == 20
    assert "... and 1 more: --output-format concise lists them all" in done.out
    assert "nothing is as it was: is this the manifest of another model or seed?" in done.out


def test_concise_is_a_line_a_tensor(run: Typed) -> None:
    done = run("verify", str(trained(2)), "-m", f"out/{NAME}", "-f", "concise")
    lines = done.out.splitlines()
    assert done.status == 1
    assert len(lines) == 21
    assert lines[0] == "initial model.embed_tokens.weight"
    assert sum(x.startswith("initial ") for x in lines) == 19
    assert "changed model.norm.weight: 1 of 64 numbers, by 0.5 at most" in lines


def test_json_is_one_object(run: Typed) -> None:
    done = run("verify", str(trained(2)), "-m", f"out/{NAME}", "--output-format", "json")
    data = json.loads(done.out)
    assert (data["ok"], data["counts"]) == (False, {"changed": 2, "initial": 19})
    (moved,) = [t for t in data["tensors"] if t["name"] == "model.norm.weight"]
    assert moved == {
        "name": "model.norm.weight", "state": "changed", "shape": [64], "changed": 1, "largest": 0.5,
        "detail": "1 of 64 numbers, by 0.5 at most",
    }  # fmt: skip


def test_a_rounded_checkpoint_is_said_to_be(run: Typed) -> None:
    state: dict[str, torch.Tensor] = {}
    for file in PATH.glob("*.safetensors"):
        state |= {n: t.bfloat16() for n, t in load_file(file).items()}
    save_file(state, "half.safetensors")
    done = run("verify", "half.safetensors", "-m", f"out/{NAME}")
    assert done.status == 0
    assert done.out.startswith("✓ all 21 tensors of half.safetensors hold their initial bits")
    assert "as they were, rounded: 21" in done.out
    assert max(map(len, done.out.splitlines())) <= 100


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["none"], "there is no none; expected a .safetensors file, or the folder of a checkpoint"),
        (["tuned"], f"there is no {NAME} beside tuned; say which manifest"),
        (["out", "-m", "none.json"], "the manifest cannot be read from none.json"),
        (["out", "-m", "out/config.json"], "not a manifest that isometry wrote"),
        (["out/config.json"], "is not a whole safetensors file"),
        (["empty", "-m", f"out/{NAME}"], "and there is none; write the path of a file"),
    ],
)
def test_what_cannot_be_compared_is_status_2(
    run: Typed, arguments: list[str], message: str
) -> None:
    trained(0)
    Path("empty").mkdir()
    done = run("verify", *arguments)
    assert done.status == 2
    assert done.out == ""
    assert done.err.startswith("isometry: error: ")
    assert message in done.err


def test_one_file_beside_its_manifest(run: Typed) -> None:
    model = nn.Sequential(nn.Linear(4, 3))
    plan = iso.initialize(model, seed=1)
    save_file(model.state_dict(), "w.safetensors")
    iso.Manifest.of_model(model, plan, seed=1).save(NAME)
    assert run("verify", "w.safetensors").status == 0
    iso.Manifest.of_model(model, plan, seed=2).save(NAME)
    assert run("verify", "w.safetensors").status == 1
