"""Any part of any tensor, made anew from a manifest, is what a filled model holds."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import isometry as iso
from isometry.errors import ArgumentError, PlanError
from isometry.manifest import Manifest
from isometry.stored import needed_blocks

from ..checkpoint.models import INPUTS, MODELS, weightless
from ..stream.strategies import entries
from .networks import SEED, manifest_of, sorts

BITS = {torch.bfloat16: torch.int16, torch.float16: torch.int16, torch.float8_e4m3fn: torch.uint8}


def bits(tensor: torch.Tensor) -> bytes:
    plain = tensor.detach().contiguous()
    return plain.view(BITS.get(plain.dtype, plain.dtype)).numpy().tobytes()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("kind", MODELS)
def test_every_tensor_of_a_model_to_the_bit(kind: str, dtype: torch.dtype, tmp_path: Path) -> None:
    light = weightless(MODELS[kind])
    plan = iso.plan(light, INPUTS.get(kind))
    manifest_of(light, plan, dtype=str(dtype).removeprefix("torch.")).save(tmp_path / "m.json")
    manifest = Manifest.load(tmp_path / "m.json")
    model = MODELS[kind]().to(dtype)
    plan.apply(model, seed=SEED)
    state = model.state_dict()
    assert state.keys() == manifest._by_name.keys()
    for name, tensor in state.items():
        made = manifest.tensor(name)
        assert made.shape == tuple(tensor.shape), name
        assert made.dtype.name == str(tensor.dtype).removeprefix("torch."), name
        assert made.tobytes() == bits(tensor), name


@pytest.fixture(scope="module")
def filled() -> tuple[dict[str, torch.Tensor], Manifest, iso.Plan]:
    model, plan = sorts()
    return model.state_dict(), manifest_of(model, plan, hashes=False), plan


NAMES = [
    "embed.weight", "square.weight", "sparse.weight", "attention.in_proj_weight", "small", "zeros",
    "whole", "flags", "mask",
]  # fmt: skip


@settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.data(), st.sampled_from(NAMES))
def test_a_part_is_the_part_of_the_whole(
    filled: tuple[dict[str, torch.Tensor], Manifest, iso.Plan], data: st.DataObject, name: str
) -> None:
    state, manifest, plan = filled
    whole = state[name].numpy()
    if name == "mask":
        with pytest.raises(ArgumentError, match="only its hash; read it from the checkpoint"):
            manifest.tensor(name, index=0)
        return
    index = tuple(data.draw(entries(size)) for size in whole.shape)
    made = manifest.tensor(name, index)
    expected = taken(whole, index)
    assert made.dtype == expected.dtype
    assert made.shape == expected.shape
    if name == "square.weight":  # linear algebra: to a rounding, where only a part is worked out
        np.testing.assert_allclose(made, expected, rtol=2**-22, atol=1e-12)
    else:
        assert made.tobytes() == expected.tobytes()
    decision = plan[name]
    if not decision.keeps:
        drawn = iso.sample(
            decision.law, decision.shape, seed=SEED, name=name, index=index, axes=decision.axes,
            blocks=needed_blocks(decision),
        )  # fmt: skip
        assert made.tobytes() == drawn.tobytes()


def taken(whole: np.ndarray[Any, Any], index: tuple[Any, ...]) -> np.ndarray[Any, Any]:
    """What NumPy gives, entries combined outerly."""
    out = whole
    for axis, entry in reversed(list(enumerate(index))):
        out = out[(*[slice(None)] * axis, entry)]
    return out


def test_another_dtype_is_the_stream_in_that_dtype() -> None:
    model, plan = sorts()
    manifest = manifest_of(model, plan, hashes=False)
    wide = model.embed.weight
    assert manifest.tensor("embed.weight", dtype="bfloat16").tobytes() == bits(wide.bfloat16())
    assert manifest.tensor("embed.weight", dtype="float8_e4m3fn").tobytes() == bits(
        wide.to(torch.float8_e4m3fn)
    )
    with pytest.raises(ArgumentError, match=r"dtype='float16': 'small' is not drawn but kept"):
        manifest.tensor("small", dtype="float16")


def test_both_backends_and_an_alias_give_the_same() -> None:
    manifest = manifest_of(*sorts(), hashes=False)
    first = manifest.tensor("embed.weight", 3)
    for name in ("embed.weight", "head.weight"):
        for backend in ("numpy", "native"):
            assert (manifest.tensor(name, 3, backend=backend) == first).all()
    with pytest.raises(ArgumentError, match="backend='cuda': expected None"):
        manifest.tensor("embed.weight", backend="cuda")


def test_it_is_a_container_of_names() -> None:
    model, plan = sorts()
    manifest = manifest_of(model, plan, hashes=False)
    assert list(manifest) == list(manifest.names)
    assert len(manifest) == len(model.state_dict()) - 1  # the head is the embedding
    assert "head.weight" in manifest
    assert "head.weight" not in manifest.names
    assert "head.wait" not in manifest
    assert manifest["head.weight"] is manifest["embed.weight"]
    assert manifest["embed.weight"].entry.aliases == ("head.weight",)
    assert manifest.parameters == sum(p.numel() for p in model.parameters())


def test_an_unknown_name_is_told_what_is_near() -> None:
    manifest = manifest_of(*sorts(), hashes=False)
    with pytest.raises(
        ArgumentError, match=r"of Sorts has no 'sqare.weight'; did you mean 'square.w"
    ):
        manifest.tensor("sqare.weight")
    with pytest.raises(ArgumentError, match=r"has no 'qqqq'; it has table, small"):
        manifest.tensor("qqqq")


def test_a_manifest_does_not_change_with_the_model(tmp_path: Path) -> None:
    model, plan = sorts()
    manifest = manifest_of(model, plan, hashes=False)
    before = model.small.clone()
    model.small.add_(1.0)
    assert (manifest.tensor("small") == before.numpy()).all()
    manifest.tensor("small")[:] = 0  # nor with what it gave
    manifest.tensor("zeros")[:] = 1
    assert (manifest.tensor("small") == before.numpy()).all()
    assert not manifest.tensor("zeros").any()


def test_it_takes_a_plan_and_a_model_with_a_state() -> None:
    model, plan = sorts()
    with pytest.raises(PlanError, match="plan is Sorts; expected a Plan"):
        Manifest.of_model(plan, model)
    with pytest.raises(ArgumentError, match="seed"):
        Manifest.of_model(model, plan, seed=-1)
    for dtype in ("int64", 3):
        with pytest.raises(ArgumentError, match=r"dtype=.*: expected one of float32, "):
            manifest_of(model, plan, dtype=dtype)
    with pytest.raises(ArgumentError, match="index 31 of axis 0"):
        manifest_of(model, plan, hashes=False).tensor("embed.weight", 31)
