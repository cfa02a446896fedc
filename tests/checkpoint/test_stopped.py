"""A checkpoint whose writer is stopped: nothing incomplete has a final name, and it is gone on with."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

import isometry as iso
from isometry.checkpoint import MANIFEST, write_checkpoint
from isometry.checkpoint.shards import INDEX

from .models import weightless

SCRIPT = Path(__file__).with_name("stopping.py")


@pytest.mark.parametrize(("how", "times"), [("kill", 20), ("interrupt", 5)])
def test_stopped_at_random_moments(how: str, times: int, tmp_path: Path) -> None:
    run = subprocess.run(
        [sys.executable, SCRIPT, tmp_path, how, str(times)],
        capture_output=True, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    assert run.returncode == 0, run.stderr
    found = json.loads(run.stdout)
    assert found["stopped"] == times
    assert found["midway"] > 0, "no stop came while files were being written"


def made() -> tuple[nn.Module, iso.Plan]:
    model = weightless(lambda: nn.Sequential(*(nn.Linear(60, 60) for _ in range(6))))
    return model, iso.plan(model)


def test_a_second_call_writes_what_is_missing_and_no_more(tmp_path: Path) -> None:
    model, plan = made()
    options = {"seed": 1, "max_shard_size": "20KB"}
    first = write_checkpoint(model, plan, tmp_path, **options)
    before = {p.name: (p.read_bytes(), p.stat().st_mtime_ns) for p in tmp_path.iterdir()}
    shards = sorted(p for p in tmp_path.glob("*.safetensors"))
    assert len(shards) == 6
    shards[2].unlink()
    (tmp_path / INDEX).unlink()
    (tmp_path / f".{shards[2].name}.partial").write_bytes(b"of a run that was stopped")
    (tmp_path / ".model-00001-of-00099.safetensors.partial").write_bytes(b"of another layout")
    again = write_checkpoint(model, plan, tmp_path, **options)
    after = {p.name: (p.read_bytes(), p.stat().st_mtime_ns) for p in tmp_path.iterdir()}
    assert {n: data for n, (data, _) in after.items()} == {n: d for n, (d, _) in before.items()}
    assert {n for n in after if n.endswith("tensors") and after[n] == before[n]} == {
        p.name for i, p in enumerate(shards) if i != 2
    }
    assert list(again) == list(first)


def test_a_file_that_is_cut_or_of_another_content_is_not_taken_for_complete(tmp_path: Path) -> None:
    model, plan = made()
    write_checkpoint(model, plan, tmp_path, seed=1)
    file = tmp_path / "model.safetensors"
    whole = file.read_bytes()
    file.write_bytes(whole[:-4])
    with pytest.raises(iso.ArgumentError, match="of another checkpoint"):
        write_checkpoint(model, plan, tmp_path, seed=1)
    write_checkpoint(model, plan, tmp_path, seed=1, overwrite=True)
    assert file.read_bytes() == whole


def test_values_that_are_given_tell_two_checkpoints_apart(tmp_path: Path) -> None:
    model = nn.Linear(4, 4)
    plan = iso.plan(model, overrides={"bias": iso.Keep()})
    write_checkpoint(model, plan, tmp_path, seed=1)
    with torch.no_grad():
        model.bias += 1
    with pytest.raises(iso.ArgumentError, match="of another checkpoint"):
        write_checkpoint(model, plan, tmp_path, seed=1)


def test_axes_tell_two_checkpoints_apart(tmp_path: Path) -> None:
    """They are not in a plan's digest, and an orthogonal matrix depends on them."""
    from dataclasses import replace

    model = nn.Linear(4, 4, bias=False)
    plan = iso.plan(model, overrides={"*": iso.Orthogonal(1.0, size=4)})
    turned = replace(
        plan, decisions=tuple(replace(d, axes=iso.Axes((0,), (1,))) for d in plan.decisions)
    )
    assert turned.digest == plan.digest
    write_checkpoint(model, plan, tmp_path, seed=1)
    with pytest.raises(iso.ArgumentError, match="of another checkpoint"):
        write_checkpoint(model, turned, tmp_path, seed=1)


def test_another_checkpoint_is_replaced_only_where_that_is_asked_for(tmp_path: Path) -> None:
    model, plan = made()
    write_checkpoint(model, plan, tmp_path, seed=1, max_shard_size="20KB")
    (tmp_path / "tokenizer.json").write_text("{}")
    before = {p.name: p.read_bytes() for p in tmp_path.iterdir()}
    for change in (
        {"seed": 2},
        {"dtype": "bf16"},
        {"max_shard_size": "50KB"},
        {"max_shard_size": "1GB"},
    ):
        with pytest.raises(iso.ArgumentError, match=r"of another checkpoint.*overwrite=True"):
            write_checkpoint(
                model, plan, tmp_path, **{"seed": 1, "max_shard_size": "20KB", **change}
            )
    assert {p.name: p.read_bytes() for p in tmp_path.iterdir()} == before
    write_checkpoint(model, plan, tmp_path, seed=2, overwrite=True)
    assert {p.name for p in tmp_path.iterdir()} == {"model.safetensors", MANIFEST, "tokenizer.json"}


@pytest.mark.parametrize("law", [iso.Normal(std=0.1), iso.Orthogonal(gain=1.0)])
def test_a_file_whose_numbers_have_changed_is_not_blessed(law: iso.Law, tmp_path: Path) -> None:
    """Its header and size are right: a power cut, or a training that saved in its place."""
    model, _ = made()
    plan = iso.plan(model, overrides={"2.weight": law})
    manifest = write_checkpoint(model, plan, tmp_path, seed=1)
    file = tmp_path / "model.safetensors"
    whole, kept = file.read_bytes(), (tmp_path / MANIFEST).read_bytes()
    header = json.loads(whole[8 : 8 + int.from_bytes(whole[:8], "little")])
    first, _ = header["2.weight"]["data_offsets"]
    start = 8 + int.from_bytes(whole[:8], "little") + first
    changed = bytearray(whole)
    changed[start : start + 400] = bytes(400)
    file.write_bytes(changed)
    with pytest.raises(iso.ArgumentError, match=r"model\.safetensors of another.* changed"):
        write_checkpoint(model, plan, tmp_path, seed=1)
    assert file.read_bytes() == changed
    assert (tmp_path / MANIFEST).read_bytes() == kept
    assert manifest.verify(tmp_path)["2.weight"].state == "changed"
    write_checkpoint(model, plan, tmp_path, seed=1, overwrite=True)
    assert file.read_bytes() == whole


def test_files_of_others_beside_the_weights_are_left(tmp_path: Path) -> None:
    from transformers import GPT2Config, GPT2LMHeadModel

    model = weightless(lambda: GPT2LMHeadModel(GPT2Config(n_layer=1, n_embd=8, n_head=2, vocab_size=11)))  # fmt: skip
    plan = iso.plan(model)
    (tmp_path / "config.json").write_text('{"mine": 1}')
    with pytest.raises(iso.ArgumentError, match=r"config\.json of another checkpoint"):
        write_checkpoint(model, plan, tmp_path)
    assert [p.name for p in tmp_path.iterdir()] == ["config.json"]
    write_checkpoint(model, plan, tmp_path, overwrite=True)
    assert "GPT2LMHeadModel" in (tmp_path / "config.json").read_text()
    other = tmp_path / "other"
    other.mkdir()
    record = (tmp_path / MANIFEST).read_text()
    (other / MANIFEST).write_text(record)
    with pytest.raises(iso.ArgumentError, match=r"isometry-manifest\.json of another"):
        write_checkpoint(model, plan, other, seed=5)
    assert (other / MANIFEST).read_text() == record
