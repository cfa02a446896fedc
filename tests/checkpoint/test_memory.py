"""A checkpoint of a gigabyte takes no more memory than one of a megabyte."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors import safe_open
from torch import nn

import isometry as iso
from isometry.checkpoint.filling import MEMORY

SCRIPT = """
import json, resource, sys
import torch
import isometry as iso
from isometry.checkpoint import write_checkpoint
from isometry.torch.meta import meta

def peak():
    lines = open("/proc/self/status").read().split("VmHWM:")
    return int(lines[1].split()[0]) * 1024

with meta():
    small = torch.nn.Linear(64, 64)
    model = torch.nn.Sequential(*(torch.nn.Linear(8192, 8192) for _ in range(8)))
write_checkpoint(small, iso.plan(small), sys.argv[1] + "/small", dtype="bf16")
plan = iso.plan(model)
before = peak()
write_checkpoint(model, plan, sys.argv[1] + "/large", seed=3, dtype="bf16", max_shard_size="500MB")
print(json.dumps([before, peak(), all(p.is_meta for p in model.parameters())]))
"""
NBYTES = 8 * (8192 + 1) * 8192 * 2


@pytest.mark.skipif(sys.platform != "linux", reason="the peak of memory is read from Linux's /proc")
def test_a_gigabyte(tmp_path: Path) -> None:
    if shutil.disk_usage(tmp_path).free < 1.5 * NBYTES:
        pytest.skip(f"{tmp_path} has no room for {NBYTES / 1e9:.2g} GB")
    run = subprocess.run([sys.executable, "-c", SCRIPT, tmp_path], capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    before, after, weightless = json.loads(run.stdout)
    assert weightless
    assert after <= 512 << 20
    # The pieces, and what threads and small tables take; the model is 30 times as large.
    assert after - before <= MEMORY + (8 << 20)
    sizes = {p.name: p.stat().st_size for p in (tmp_path / "large").glob("*.safetensors")}
    assert len(sizes) == 3
    assert NBYTES < sum(sizes.values()) < NBYTES + 10_000

    with safe_open(tmp_path / "large" / "model-00003-of-00003.safetensors", "pt") as file:
        rows = file.get_slice("7.weight")[8000:8010]
    model = nn.Sequential(*(nn.Linear(8192, 8192, device="meta") for _ in range(8)))
    law = iso.plan(model)["7.weight"].law
    expected = iso.sample(
        law, (8192, 8192), seed=3, name="7.weight", dtype="bfloat16", index=slice(8000, 8010)
    )
    assert np.array_equal(rows.view(torch.int16).numpy(), expected.view(np.int16))
    for path in (tmp_path / "large").iterdir():  # pytest keeps its folders for a while
        path.unlink()
