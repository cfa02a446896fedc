"""Where a checkpoint cannot be written: what is said, and that nothing is left behind."""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import isometry as iso
from isometry.checkpoint import write_checkpoint

from .models import weightless


def made() -> tuple[nn.Module, iso.Plan]:
    model = weightless(
        lambda: nn.Sequential(nn.Linear(40, 40), nn.Linear(40, 40), nn.Linear(40, 20_000))
    )
    return model, iso.plan(model)


def test_a_file_where_the_folder_should_be(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"before")
    with pytest.raises(iso.ArgumentError, match="is a file; expected a folder"):
        write_checkpoint(*made(), tmp_path / "file")
    with pytest.raises(
        iso.ArgumentError, match=r"cannot be made: Not a directory; write to another"
    ):
        write_checkpoint(*made(), tmp_path / "file" / "deep" / "down")
    assert [p.name for p in tmp_path.iterdir()] == ["file"]
    assert (tmp_path / "file").read_bytes() == b"before"


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write where nobody may")
def test_a_folder_that_cannot_be_written(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    try:
        with pytest.raises(iso.ArgumentError, match="expected a folder that can be written"):
            write_checkpoint(*made(), tmp_path)
        with pytest.raises(iso.ArgumentError, match="cannot be made: Permission denied"):
            write_checkpoint(*made(), tmp_path / "new")
    finally:
        tmp_path.chmod(0o700)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"seed": -1}, r"seed=-1: expected an integer in \[0, 2\*\*64\)"),
        ({"seed": None}, "the seed is never drawn for you"),
        ({"dtype": "int64"}, "dtype='int64': expected one of float32"),
        ({"dtype": torch.int8}, "dtype=torch.int8: expected one of float32"),
        ({"max_shard_size": "5 potatoes"}, "expected a size such as '5GB'"),
        ({"workers": 0}, "threads=0: expected a positive integer"),
    ],
)
def test_arguments_that_are_none(change: dict[str, Any], message: str, tmp_path: Path) -> None:
    with pytest.raises(iso.ArgumentError, match=message):
        write_checkpoint(*made(), tmp_path / "new", **change)
    with pytest.raises(iso.PlanError, match="plan is str; expected a Plan"):
        write_checkpoint(made()[0], "auto", tmp_path / "new")  # type: ignore[arg-type]
    assert list(tmp_path.iterdir()) == []


def test_what_nobody_can_make_is_said_before_a_folder_is_made(tmp_path: Path) -> None:
    class Odd(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.linear = nn.Linear(4, 4)
            self.register_buffer("table", torch.arange(4.0))

    with torch.device("meta"):
        model = Odd()
    plan = iso.plan(model)
    with pytest.raises(iso.MaterialiseError, match="table"):
        write_checkpoint(model, plan, tmp_path / "new")
    assert list(tmp_path.iterdir()) == []


def test_a_state_that_is_more_than_tensors(tmp_path: Path) -> None:
    class Counting(nn.Linear):
        def get_extra_state(self) -> int:
            return 3

    model = Counting(4, 4)
    with pytest.raises(iso.ModelError, match=r"'_extra_state' in the state of Counting.*\(int\)"):
        write_checkpoint(model, iso.plan(model), tmp_path / "new")
    assert list(tmp_path.iterdir()) == []


def test_two_at_once(tmp_path: Path) -> None:
    model, plan = made()
    other = os.open(tmp_path, os.O_RDONLY)
    try:
        fcntl.flock(other, fcntl.LOCK_EX)
        with pytest.raises(iso.ArgumentError, match="another process is writing to"):
            write_checkpoint(model, plan, tmp_path)
        assert list(tmp_path.iterdir()) == []
    finally:
        os.close(other)
    write_checkpoint(model, plan, tmp_path)
    assert (tmp_path / "model.safetensors").is_file()


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 2 MB."""
    place = tmp_path / "disk"
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=2m", "none", str(place)]
    if (
        os.geteuid()
        or not shutil.which("mount")
        or subprocess.run(mount, capture_output=True).returncode
    ):
        pytest.skip("a small file system cannot be mounted here")
    yield place
    subprocess.run(["umount", place], check=True)


def test_a_disk_that_is_too_small(small_disk: Path) -> None:
    model, plan = made()
    with pytest.raises(
        iso.ArgumentError, match=r"has room for 0\.00.* GB, and 0\.00329 GB are to be"
    ):
        write_checkpoint(model, plan, small_disk / "new")
    assert list(small_disk.iterdir()) == []
    write_checkpoint(model, plan, small_disk / "new", dtype="bf16")
    assert (small_disk / "new" / "model.safetensors").stat().st_size > 1_600_000


FULL = """
import os, resource, sys
import torch
import isometry as iso
from isometry.checkpoint import write_checkpoint
from isometry.torch.meta import meta

with meta():
    model = torch.nn.Sequential(*(torch.nn.Linear(40, n) for n in (40, 40, 20_000)))
plan = iso.plan(model)

def write(limit=resource.RLIM_INFINITY):
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
    try:
        write_checkpoint(model, plan, sys.argv[1], seed=3, max_shard_size="10KB", workers=1)
    except iso.ArgumentError as error:
        print(error)
        print(sorted(os.listdir(sys.argv[1])))

write(1_000_000)
write()
os.unlink(max(os.scandir(sys.argv[1]), key=lambda file: file.stat().st_size))
write(1_000_000)
write()
"""


def test_a_disk_that_fills_up_on_the_way(tmp_path: Path) -> None:
    """Files of more than 1 MB fail here as they would on a full disk: the third of four does."""
    place = tmp_path / "new"
    run = subprocess.run([sys.executable, "-c", FULL, place], capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    lines = run.stdout.splitlines()
    assert len(lines) == 4
    for message, left in (lines[:2], lines[2:]):  # in a new folder, and in one that had been whole
        assert "cannot be written" in message
        assert "File too large" in message
        assert "make room or write to another folder" in message
        assert "model-00001-of-0000" in left
        assert not [word for word in ("partial", "index", "manifest") if word in left]
    write_checkpoint(*whole(), tmp_path / "whole", seed=3, max_shard_size="10KB")
    assert {p.name: p.read_bytes() for p in place.iterdir()} == {
        p.name: p.read_bytes() for p in (tmp_path / "whole").iterdir()
    }


def whole() -> tuple[nn.Module, iso.Plan]:
    model = weightless(lambda: nn.Sequential(*(nn.Linear(40, n) for n in (40, 40, 20_000))))
    return model, iso.plan(model)
