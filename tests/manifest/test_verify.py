"""A checkpoint against its manifest: what moved is found and named, and what did not is not."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file
from torch import Tensor, nn

import isometry as iso
from isometry.checkpoint import write_checkpoint
from isometry.entry import entries_of
from isometry.errors import ArgumentError
from isometry.manifest import Manifest, compare
from isometry.types.verification import STATES

from ..checkpoint.models import INPUTS, MODELS, weightless
from .networks import SEED, manifest_of, saved, sorts

State = dict[str, Tensor]
FLOATS = [torch.bfloat16, torch.float16, torch.float64, torch.float8_e4m3fn, torch.float8_e5m2]


@pytest.fixture(scope="module")
def known() -> tuple[State, Manifest]:
    """What a model holds, and its manifest; a caller changes copies."""
    model, plan = sorts()
    return {n: t.detach() for n, t in model.state_dict().items()}, manifest_of(model, plan)


def copy(state: State) -> State:
    return {name: tensor.clone() for name, tensor in state.items()}


@pytest.mark.parametrize("dtype", [None, "bf16"])
@pytest.mark.parametrize("kind", MODELS)
def test_a_checkpoint_that_was_streamed_is_initial(
    kind: str, dtype: str | None, tmp_path: Path
) -> None:
    model = weightless(MODELS[kind])
    plan = iso.plan(model, INPUTS.get(kind))
    manifest = write_checkpoint(
        model, plan, tmp_path, seed=SEED, dtype=dtype, max_shard_size="40KB"
    )
    found = manifest.verify(tmp_path, workers=2)
    assert found.ok
    assert found.counts == {"initial": len(manifest)}
    assert {t.detail for t in found.tensors} == {""}
    assert [t.name for t in found.tensors] == list(manifest)


def test_without_a_hash_the_same(known: tuple[State, Manifest], tmp_path: Path) -> None:
    state, _ = known
    found = manifest_of(*sorts(), hashes=False).verify(saved(state, tmp_path / "a.safetensors"))
    assert {t.name for t in found.others} == {"table", "mask"}  # kept, and known by nothing else
    assert all(t.state == "not checked" for t in found.others)
    assert found["mask"].detail == "kept as the model had it, and the manifest has no hash of it"
    assert not found.ok


def test_a_flipped_bit_is_found_and_named(known: tuple[State, Manifest], tmp_path: Path) -> None:
    state, manifest = known
    path = saved(state, tmp_path / "a.safetensors")
    whole = path.read_bytes()
    start = 8 + int.from_bytes(whole[:8], "little")
    table = json.loads(whole[8:start])
    assert manifest.verify(path).ok
    random = np.random.default_rng(0)
    for name in state:
        first, last = table[name]["data_offsets"]
        at, bit = int(random.integers(first, last)), int(random.integers(8))
        for place, mask in ((at, 1 << bit), (first, 1), (last - 1, 1)):
            damaged = bytearray(whole)
            damaged[start + place] ^= mask
            path.write_bytes(damaged)
            found = manifest.verify(path)
            told = found[name]
            if name == "square.weight" and told.state == "initial":
                assert told.detail == "1 of 1,536 numbers equal to a rounding"
                assert found.ok
                continue
            assert [t.name for t in found.others] == [name]
            assert told.state == "changed"
            by_hash = not manifest[name].known
            assert told.changed == (None if by_hash else 1)
            assert by_hash == (told.detail == "its hash is another")


@settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.data())
def test_what_changed_is_counted(
    known: tuple[State, Manifest], tmp_path: Path, data: st.DataObject
) -> None:
    state, manifest = known
    name = data.draw(st.sampled_from(["embed.weight", "square.weight", "sparse.weight", "small"]))
    size = state[name].numel()
    places = data.draw(st.sets(st.integers(0, size - 1), min_size=1, max_size=50))
    step = data.draw(st.sampled_from([0.25, -1.0, 3.0]))
    trained = copy(state)
    trained[name].view(-1)[sorted(places)] += step
    moved = (trained[name] - state[name]).abs().max()
    with (
        pytest.MonkeyPatch.context() as patch
    ):  # pieces of 256 numbers: several, the last one short
        patch.setattr(compare, "PIECE", 1024)
        told = manifest.verify(saved(trained, tmp_path / "a.safetensors"))[name]
    assert told.state == "changed"
    assert told.changed == len(places)
    assert told.largest == pytest.approx(float(moved), rel=1e-6)
    assert told.detail == f"{len(places):,} of {size:,} numbers, by {told.largest:.3g} at most"


def test_pieces_are_summed(known: tuple[State, Manifest], tmp_path: Path) -> None:
    one, two = compare.Difference(1, 2.0, 3), compare.Difference(4, 1.0, 6)
    assert one + two == two + one == compare.Difference(5, 2.0, 9)
    assert one + compare.Difference(1, None) == compare.Difference(2, None, 3)
    state, manifest = known
    other = copy(state)
    other["embed.weight"][0, 0] += 4
    other["embed.weight"][30, 47] += 1
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(compare, "PIECE", 1024)
        told = manifest.verify(saved(other, tmp_path / "a.safetensors"))["embed.weight"]
    assert (told.changed, told.largest) == (2, pytest.approx(4.0, rel=1e-6))


def test_all_that_can_be_wrong(known: tuple[State, Manifest], tmp_path: Path) -> None:
    state, manifest = known
    other = copy(state)
    del other["square.bias"]
    other["norm.weight"] = torch.ones(49)
    other["whole"] = other["whole"].int()
    other["extra"] = torch.ones(2)
    other["sparse.weight"][0, 0] = float("nan")
    other["small"][0, 1] = -other["small"][0, 1]
    found = manifest.verify(saved(other, tmp_path / "a.safetensors"))
    assert [(t.name, t.state) for t in found.others] == [
        ("square.bias", "missing"),
        ("extra", "unexpected"),
        ("norm.weight", "other shape"),
        ("whole", "other dtype"),
        ("small", "changed"),
        ("sparse.weight", "changed"),
    ]
    assert found["norm.weight"].detail == "49; the manifest says 48 of float32"
    assert found["whole"].detail == "int32; the manifest says 7 of int64"
    assert found["sparse.weight"].detail == "1 of 1,536 numbers, not all of them finite"
    assert (found["sparse.weight"].changed, found["sparse.weight"].largest) == (1, None)
    assert sum(found.counts.values()) == len(found.tensors) == len(state) + 1
    assert list(found.counts) == [s for s in STATES if s in found.counts]
    assert json.loads(json.dumps(found.to_dict(), allow_nan=False))["counts"] == found.counts
    assert "changed small: 1 of 15 numbers, by " in str(found)
    with pytest.raises(ArgumentError, match=r"did you mean 'square\.weight'"):
        found["squar.weight"]


def test_a_zero_that_got_a_sign_is_another(known: tuple[State, Manifest], tmp_path: Path) -> None:
    state, manifest = known
    other = copy(state)
    other["square.bias"][3] = -0.0
    told = manifest.verify(saved(other, tmp_path / "a.safetensors"))["square.bias"]
    assert (told.state, told.changed, told.largest) == ("changed", 1, 0.0)


def test_what_was_tied_is_judged_by_each_of_its_names(
    known: tuple[State, Manifest], tmp_path: Path
) -> None:
    state, manifest = known
    other = copy(state)
    other["head.weight"][1] += 1
    found = manifest.verify(saved(other, tmp_path / "a.safetensors"))
    assert [t.name for t in found.others] == ["head.weight"]
    assert found["head.weight"].changed == 48
    del other["embed.weight"]
    found = manifest.verify(saved(other, tmp_path / "a.safetensors"))
    assert "embed.weight" not in [t.name for t in found.tensors]
    assert [t.state for t in found.others] == ["changed"]


@pytest.mark.parametrize("dtype", FLOATS)
def test_another_dtype_is_compared_in_it(
    known: tuple[State, Manifest], dtype: torch.dtype, tmp_path: Path
) -> None:
    state, manifest = known
    short = str(dtype).removeprefix("torch.")
    other = {n: t.to(dtype) if t.is_floating_point() else t for n, t in state.items()}
    for name in ("mask", "table"):  # by hash alone; -inf is none of a float8's numbers
        other[name] = state[name]
    path = saved(other, tmp_path / "a.safetensors")
    found = manifest.verify(path)
    assert found.ok, str(found)
    assert found["embed.weight"].detail == f"compared as {short}, which the manifest has as float32"
    assert {t.detail for t in found.tensors} == {"", found["embed.weight"].detail}
    other["embed.weight"].view(torch.uint8)[2, 5] ^= 0x40
    other["table"] = state["table"].to(dtype)
    found = manifest.verify(saved(other, path))
    assert [t.name for t in found.others] == ["table", "embed.weight"]
    assert found["embed.weight"].changed == 1
    assert found["table"].detail.endswith("the manifest has the hash of its float32")


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float8_e4m3fn, torch.float8_e5m2])
def test_what_was_narrow_and_was_widened_is_initial(dtype: torch.dtype, tmp_path: Path) -> None:
    """A checkpoint in bfloat16, loaded and saved as float32; or the stream's own float32."""
    model, plan = sorts()
    manifest = manifest_of(model, plan, dtype=str(dtype).removeprefix("torch."))
    drawn = {n: t.detach() for n, t in model.state_dict().items() if n not in ("mask", "table")}
    for wide in (torch.float32, torch.float64):
        widened = {
            n: t.to(dtype).to(wide) if t.is_floating_point() else t for n, t in drawn.items()
        }
        own = {n: t.to(wide) if n.endswith("weight") else widened[n] for n, t in drawn.items()}
        for state in (widened, own):
            found = manifest.verify(saved(state, tmp_path / "a.safetensors"))
            assert {t.name for t in found.others} == {"mask", "table"}, str(found)
        own["embed.weight"] = own["embed.weight"].clone()
        own["embed.weight"][0, :3] += 1
        found = manifest.verify(saved(own, tmp_path / "a.safetensors"))
        assert found["embed.weight"].changed == 3
        assert found["head.weight"].state == "initial"
        widened["small"] = widened["small"] + 1
        widened["embed.weight"] = own["head.weight"].to(dtype).to(wide)  # as it was
        widened["embed.weight"][:, 0] += 1
        found = manifest.verify(saved(widened, tmp_path / "a.safetensors"))
        assert {t.name: t.changed for t in found.others} == {"mask": None, "table": None, "small": 15, "embed.weight": 31}  # fmt: skip


def test_an_orthogonal_matrix_of_another_machine_is_equal_to_a_rounding(
    known: tuple[State, Manifest], tmp_path: Path
) -> None:
    state, manifest = known
    other, weight = copy(state), state["square.weight"]
    up = torch.nextafter(weight, torch.tensor(float("inf")))
    some = torch.zeros_like(weight, dtype=torch.bool)
    some[0, :3] = True
    other["square.weight"] = torch.where(some, up, weight)
    found = manifest.verify(saved(other, tmp_path / "a.safetensors"))
    assert found.ok
    assert found["square.weight"].detail == "3 of 1,536 numbers equal to a rounding"
    assert found["square.weight"].changed == 0
    other["square.weight"][3, 1] = float("nan")
    told = manifest.verify(saved(other, tmp_path / "a.safetensors"))["square.weight"]
    assert (told.state, told.changed, told.largest) == ("changed", 1, None)
    other["square.weight"] = weight * (1 + 2**-21)
    told = manifest.verify(saved(other, tmp_path / "a.safetensors"))["square.weight"]
    assert told.state == "changed"
    assert (told.changed or 0) > 1000


def test_a_matrix_that_moved_by_a_step_in_many_numbers_is_changed(
    known: tuple[State, Manifest], tmp_path: Path
) -> None:
    state, manifest = known
    other, weight = copy(state), state["square.weight"]
    up = torch.nextafter(weight, torch.tensor(float("inf")))
    other["square.weight"] = torch.where(torch.arange(48) % 4 == 0, up, weight)
    told = manifest.verify(saved(other, tmp_path / "a.safetensors"))["square.weight"]
    assert (told.state, told.changed) == ("changed", 384)
    assert told.largest == float((up - weight)[:, ::4].abs().max())


@pytest.mark.parametrize("dtype", ["bfloat16", "float16", "float8_e4m3fn"])
def test_a_step_of_a_narrow_dtype_is_no_rounding(dtype: str, tmp_path: Path) -> None:
    """Machines part before the rounding: only a number that lay between two would take the other."""
    model, plan = sorts()
    manifest = manifest_of(model, plan, dtype=dtype)
    state = {n: t.to(getattr(torch, dtype)) if t.is_floating_point() else t
             for n, t in model.state_dict().items()}  # fmt: skip
    whole = state["square.weight"]
    bits = whole.view(torch.uint8 if whole.itemsize == 1 else torch.int16).clone()
    bits[0, :3] += 1
    state["square.weight"] = bits.view(whole.dtype)
    told = manifest.verify(saved(state, tmp_path / "a.safetensors"))["square.weight"]
    assert (told.state, told.changed) == ("changed", 3)


def test_the_hash_stands_for_a_matrix_that_cannot_be_made_the_same(tmp_path: Path) -> None:
    """Where the bits in the file are those that were hashed, what this machine makes is no matter."""
    model, plan = sorts()
    path = saved(model.state_dict(), tmp_path / "a.safetensors")
    other = plan.override({"square.weight": iso.Orthogonal(7.0, size=48)})
    hashes = {r.entry.name: r.hash for r in manifest_of(model, plan).records if r.hash}
    entries = entries_of(model, other, seed=SEED)
    with_hash = Manifest.of(entries, seed=SEED, plan=other, hashes=hashes)
    without = Manifest.of(entries, seed=SEED, plan=other)
    assert with_hash.verify(path)["square.weight"].state == "initial"
    assert without.verify(path)["square.weight"].state == "changed"


def test_another_seed_is_another_checkpoint(known: tuple[State, Manifest], tmp_path: Path) -> None:
    state, manifest = known
    model, plan = sorts()
    other = Manifest.of_model(model, plan, seed=SEED + 1)
    found = other.verify(saved(state, tmp_path / "a.safetensors"))
    random = {d.name for d in plan if d.law.random or any(b.law.random for b in d.blocks)}
    assert {t.name for t in found.others} == {*random, "head.weight"}
    assert manifest.verify(tmp_path / "a.safetensors").ok


def test_large_tensors_take_the_memory_of_a_piece(tmp_path: Path) -> None:
    import tracemalloc

    model = nn.Linear(4096, 2048)  # 32 MiB
    plan = iso.initialize(model, seed=0)
    manifest = Manifest.of_model(model, plan, seed=0, hashes=False)
    with torch.no_grad():
        model.weight.mul_(1.5)
    path = saved(model.state_dict(), tmp_path / "a.safetensors")
    tracemalloc.start()
    told = manifest.verify(path, workers=1)["weight"]
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert told.changed == 4096 * 2048
    assert peak < 16 * compare.PIECE


def test_a_file_that_is_open_elsewhere_is_read_as_it_is(tmp_path: Path) -> None:
    model, plan = sorts()
    save_file({"other": torch.ones(2)}, tmp_path / "a.safetensors")
    found = manifest_of(model, plan).verify(tmp_path / "a.safetensors")
    assert found.counts == {"missing": len(manifest_of(model, plan)), "unexpected": 1}


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_what_a_sum_misses_is_many_steps_of_a_small_number(dtype: str) -> None:
    """Another machine misses a part of the whole matrix (here 1e-12), and not of each number."""
    made = np.array([1e-8, 1e-8, 1e-8, -1e-8, 0.25, 0.25], np.float32)
    moved = np.array([1e-8 + 3e-13, 1e-8 - 3e-13, 1e-8 + 1e-11, -1e-8 - 3e-13, 0.25, 0.26])
    there = compare._rounded(moved.astype(np.float32), "float32", [dtype])
    near = compare._near(made, there, [dtype], allowed=1e-12)
    same = compare._rounded(made, "float32", [dtype]) == there
    assert (near | same).tolist() == [True, True, dtype == "bfloat16", True, True, False]
    assert near[:2].all()
