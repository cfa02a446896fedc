"""All that the stream needs of a decision is in the file: law, axes, blocks, its name there."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

import isometry as iso
from isometry.entry import Entry
from isometry.manifest import Manifest
from isometry.manifest.record import drawn
from isometry.types import Axes, Block, Law, Plan

from .networks import SEED

EXPERTS = Axes(in_axis=(1,), out_axis=(2,), batch_axis=(0,))
QKV = (Block("qk", 0, 0, 8, iso.Normal(0.1)), Block("v", 0, 8, 12, iso.Orthogonal(1.5, size=6)))
GATES = (Block("forget", 0, 4, 8, iso.Constant(1.0)),)
CASES: list[tuple[Law, tuple[int, ...], Axes | None, tuple[Block, ...]]] = [
    (iso.Orthogonal(1.4, size=8), (3, 8, 6), EXPERTS, ()),
    (iso.Sparse(0.5, 0.02), (3, 8, 6), EXPERTS, ()),
    (iso.Normal(0.2), (12, 6), None, QKV),
    (iso.Constant(0.0), (16,), None, GATES),
    (iso.TruncatedNormal(0.02, cutoff=3.0, mean=0.1), (5, 4), None, ()),
    (iso.Uniform(0.3), (), None, ()),
    (iso.Normal(0.3), (0, 4), None, ()),
]


@pytest.mark.parametrize("stream", ["w", "trunk.first.weight"])
@pytest.mark.parametrize(("law", "shape", "axes", "blocks"), CASES)
def test_a_tensor_is_what_the_stream_gives(
    law: Law,
    shape: tuple[int, ...],
    axes: Axes | None,
    blocks: tuple[Block, ...],
    stream: str,
    tmp_path: Path,
) -> None:
    decision = drawn(stream, shape, "float32", law, axes, blocks)
    plan = Plan("Hand made", "none", (decision,))
    entry = Entry("w", (), shape, "float32", decision)
    Manifest.of([entry], seed=SEED, plan=plan).save(tmp_path / "m.json")
    manifest = Manifest.load(tmp_path / "m.json")
    expected = iso.sample(law, shape, seed=SEED, name=stream, axes=axes, blocks=blocks)
    assert manifest.tensor("w").tobytes() == expected.tobytes()
    save_file({"w": expected}, tmp_path / "w.safetensors")
    found = manifest.verify(tmp_path / "w.safetensors")
    assert (found.ok, found["w"].detail) == (True, "")
    if expected.size:
        save_file({"w": np.asarray(expected + np.float32(0.5))}, tmp_path / "w.safetensors")
        assert manifest.verify(tmp_path / "w.safetensors")["w"].changed == expected.size
