"""Where a checkpoint's tensors are looked for; what is damaged is told, and nothing is believed."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file
from torch import nn

import isometry as iso
from isometry.entry import CODES, STORAGE
from isometry.errors import ArgumentError
from isometry.manifest import Manifest
from isometry.manifest.files import tensors_in

STATE = {"a": torch.arange(6.0).reshape(2, 3), "b": torch.tensor([1, 2]), "c": torch.tensor(True)}


def test_a_file_and_the_folders_that_hold_it(tmp_path: Path) -> None:
    one, hub, named = (tmp_path / n for n in ("one", "hub", "named"))
    for folder in (one, hub, named):
        folder.mkdir()
    save_file(STATE, one / "model.safetensors")
    save_file(STATE, one / "consolidated.safetensors")  # another copy, as some publishers add
    save_file(STATE, named / "adapter.safetensors")
    parts = {"x-1.safetensors": ["a"], "x-2.safetensors": ["b", "c"]}
    for name, keys in parts.items():
        save_file({k: STATE[k] for k in keys}, hub / name)
    save_file(STATE, hub / "old.safetensors")
    index = {"weight_map": {k: name for name, keys in parts.items() for k in keys}}
    (hub / "model.safetensors.index.json").write_text(json.dumps(index))
    for place in (one, hub, named, named / "adapter.safetensors"):
        found = tensors_in(place)
        assert {n: (s.dtype, s.shape) for n, s in found.items()} == {
            "a": ("float32", (2, 3)), "b": ("int64", (2,)), "c": ("bool", ()),
        }  # fmt: skip
        for name, stretch in found.items():
            data = stretch.file.read_bytes()[stretch.start : stretch.start + stretch.nbytes]
            assert data == STATE[name].numpy().tobytes()


def test_every_dtype_of_a_checkpoint_is_known() -> None:
    assert set(CODES) == set(STORAGE)


def test_what_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(ArgumentError, match=r"cannot be read: No such file .*; expected a .safet"):
        tensors_in(tmp_path / "none.safetensors")
    with pytest.raises(
        ArgumentError, match=r"expected model.safetensors.* and there is none; write"
    ):
        tensors_in(tmp_path)
    for name in ("x", "y"):
        save_file(STATE, tmp_path / f"{name}.safetensors")
    with pytest.raises(ArgumentError, match=r"there is 2: x\.safetensors, y\.saf"):
        tensors_in(tmp_path)
    index = tmp_path / "model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": {"a": "x.safetensors", "b": "y.safetensors"}}))
    with pytest.raises(ArgumentError, match=r"'.' is in x\.safetensors and in y\.safetensors"):
        tensors_in(tmp_path)
    outside = tmp_path.parent / f"{tmp_path.name}.safetensors"
    save_file(STATE, outside)
    for wrong in ("z.safetensors", f"../{outside.name}", str(outside)):
        index.write_text(json.dumps({"weight_map": {"a": wrong}}))
        with pytest.raises(ArgumentError, match="and there is no such file beside it"):
            tensors_in(tmp_path)
    for text in ("", "[]", "{}", '{"weight_map": 3}', '{"weight_map": {"a": [1]}}', "[" * 10**5):
        index.write_text(text)
        with pytest.raises(ArgumentError, match="is not the index of a checkpoint"):
            tensors_in(tmp_path)


def damaged(path: Path, table: object, data: bytes = b"") -> Path:
    text = json.dumps(table).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + data)
    return path


@pytest.mark.parametrize(
    ("item", "message"),
    [
        ({"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}, "from byte 0 to 8 in a file of"),
        ({"dtype": "F32", "shape": [1], "data_offsets": [0, 3]}, "3 bytes for the shape"),
        ({"dtype": "F32", "shape": [1], "data_offsets": [-4, 0]}, "from byte -4 to 0"),
        ({"dtype": "F32", "shape": [1], "data_offsets": [0, 4.0]}, "from byte 0 to 4.0"),
        ({"dtype": "F32", "shape": [-1], "data_offsets": [0, 4]}, "shape"),
        ({"dtype": "F32", "shape": [2**40, 2**40], "data_offsets": [0, 4]}, "shape"),
        ({"dtype": "F32", "shape": [1]}, "data_offsets"),
        (3, "is not a whole safetensors file"),
    ],
)
def test_a_header_that_says_what_cannot_be(item: object, message: str, tmp_path: Path) -> None:
    with pytest.raises(ArgumentError, match=message):
        tensors_in(damaged(tmp_path / "a.safetensors", {"w": item}, b"1234"))


def test_a_dtype_that_nobody_knows_is_not_checked(tmp_path: Path) -> None:
    model = nn.Linear(4, 1, bias=False)
    manifest = Manifest.of_model(model, iso.initialize(model, seed=0), seed=0)
    item = {"dtype": "F6_E2M3", "shape": [1, 4], "data_offsets": [0, 3]}
    found = manifest.verify(damaged(tmp_path / "a.safetensors", {"weight": item}, b"123"))
    assert found["weight"].state == "other dtype"
    assert found["weight"].detail == "F6_E2M3; the manifest says 1x4 of float32"


@settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(junk=st.binary(max_size=120), cut=st.integers(1, 400))
def test_what_is_cut_short_or_no_checkpoint_is_an_error(
    tmp_path: Path, junk: bytes, cut: int
) -> None:
    save_file(STATE, tmp_path / "a.safetensors")
    whole = (tmp_path / "a.safetensors").read_bytes()
    for content in (junk, whole[:-cut], len(junk).to_bytes(8, "little") + junk):
        (tmp_path / "a.safetensors").write_bytes(content)
        with pytest.raises(ArgumentError, match="is not a whole safetensors file"):
            tensors_in(tmp_path / "a.safetensors")


def test_a_file_that_becomes_shorter_meanwhile_is_an_error(tmp_path: Path) -> None:
    from isometry.manifest.compare import difference

    model = nn.Linear(64, 64, bias=False)
    manifest = Manifest.of_model(model, iso.initialize(model, seed=0), seed=0)
    save_file(model.state_dict(), tmp_path / "a.safetensors")
    lies = tensors_in(tmp_path / "a.safetensors")["weight"]
    os.truncate(lies.file, lies.start + lies.nbytes - 1)
    with pytest.raises(ArgumentError, match="ends before its last tensor; was it cut short"):
        difference(manifest["weight"].entry, lies, 0, lambda _: None)
