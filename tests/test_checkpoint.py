"""Weights on disk: the same values back, tied ones once, whole or not at all."""

import os
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file
from torch import nn

from isometry import checkpoint
from isometry.errors import ArgumentError, ModelError


def tied() -> nn.Module:
    model = nn.Sequential(nn.Embedding(7, 4), nn.Linear(4, 7, bias=False))
    model[1].weight = model[0].weight
    return model


def test_a_state_comes_back_to_the_bit(tmp_path: Path) -> None:
    model = nn.Sequential(nn.Conv2d(2, 3, 3), nn.BatchNorm2d(3)).to(torch.bfloat16)
    state = model.to(memory_format=torch.channels_last).state_dict()
    checkpoint.save(state, tmp_path / "m.safetensors", {"seed": "0"})
    back = load_file(tmp_path / "m.safetensors")
    assert back.keys() == state.keys()
    assert all(torch.equal(back[n], state[n]) and back[n].dtype == state[n].dtype for n in state)
    with safe_open(tmp_path / "m.safetensors", "pt") as file:
        assert file.metadata() == {"format": "pt", "seed": "0"}


def test_a_tied_tensor_is_written_once_and_its_alias_named(tmp_path: Path) -> None:
    checkpoint.save(tied().state_dict(), tmp_path / "m.safetensors")
    with safe_open(tmp_path / "m.safetensors", "pt") as file:
        assert list(file.keys()) == ["0.weight"]
        assert file.metadata() == {"format": "pt", "1.weight": "0.weight"}


def test_a_view_of_another_tensor_keeps_its_own_values(tmp_path: Path) -> None:
    whole = torch.arange(12.0).reshape(3, 4)
    state = {"whole": whole, "row": whole[1], "turned": whole.T}
    checkpoint.save(state, tmp_path / "m.safetensors")
    back = load_file(tmp_path / "m.safetensors")
    assert all(torch.equal(back[n], state[n]) for n in state)


def test_empty_tensors_are_not_taken_for_each_other(tmp_path: Path) -> None:
    state = {"a": torch.empty(0, 3), "b": torch.empty(0, 3)}
    checkpoint.save(state, tmp_path / "m.safetensors")
    assert load_file(tmp_path / "m.safetensors").keys() == state.keys()


def test_what_has_no_values_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "m.safetensors"
    path.write_bytes(b"before")
    for state in ({"w": torch.empty(2, device="meta")}, {"extra": 3}):
        with pytest.raises(ModelError):
            checkpoint.save(state, path)
    assert path.read_bytes() == b"before"
    assert list(tmp_path.iterdir()) == [path]


def test_a_failure_while_writing_leaves_no_litter(tmp_path: Path) -> None:
    path = tmp_path / "m.safetensors"
    with pytest.raises(Exception, match="metadata"):
        checkpoint.save({"w": torch.ones(2)}, path, {"seed": 0})  # type: ignore[dict-item]
    assert list(tmp_path.iterdir()) == []


def test_where_no_file_can_be_is_said_before_anything_is_done(tmp_path: Path) -> None:
    with pytest.raises(ArgumentError, match="is a folder"):
        checkpoint.writable(tmp_path)
    with pytest.raises(ArgumentError, match="expected a folder that exists"):
        checkpoint.writable(tmp_path / "absent" / "m.safetensors")


def test_the_file_can_be_read_by_whom_the_umask_allows(tmp_path: Path) -> None:
    path = tmp_path / "m.safetensors"
    (tmp_path / "plain").touch()
    checkpoint.save({"w": torch.ones(2)}, path)
    assert os.stat(path).st_mode == os.stat(tmp_path / "plain").st_mode
