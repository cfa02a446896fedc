"""What is streamed from meta is what a model in memory would have saved, to the byte."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file
from torch import nn

import isometry as iso
from isometry import checkpoint
from isometry.checkpoint import write_checkpoint

from .models import INPUTS, MODELS, weightless

SEED = 7


@pytest.fixture(params=MODELS)
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def planned(kind: str) -> tuple[nn.Module, iso.Plan]:
    model = weightless(MODELS[kind])
    return model, iso.plan(model, INPUTS.get(kind))


def applied(kind: str, plan: iso.Plan, dtype: torch.dtype = torch.float32) -> nn.Module:
    """The model in memory, filled as plan and seed say."""
    model = MODELS[kind]().to(dtype)
    plan.apply(model, seed=SEED)
    return model


def tensors_of(path: Path) -> bytes:
    """A safetensors file without its header."""
    data = path.read_bytes()
    return data[8 + int.from_bytes(data[:8], "little") :]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_one_file_has_the_bytes_of_a_saved_model(
    kind: str, dtype: torch.dtype, tmp_path: Path
) -> None:
    model, plan = planned(kind)
    write_checkpoint(model, plan, tmp_path / "streamed", seed=SEED, dtype=dtype)
    checkpoint.save(applied(kind, plan, dtype).state_dict(), tmp_path / "saved.safetensors")
    streamed = tmp_path / "streamed" / "model.safetensors"
    assert tensors_of(streamed) == tensors_of(tmp_path / "saved.safetensors")
    with safe_open(streamed, "pt") as mine, safe_open(tmp_path / "saved.safetensors", "pt") as its:
        assert list(mine.keys()) == list(its.keys())
        assert its.metadata().items() <= mine.metadata().items()  # aliases of tied tensors too


def test_many_files_hold_the_same_tensors(kind: str, tmp_path: Path) -> None:
    model, plan = planned(kind)
    write_checkpoint(model, plan, tmp_path, seed=SEED, max_shard_size=20_000, workers=3)
    index = json.loads((tmp_path / checkpoint.shards.INDEX).read_text())
    found = {}
    for path in sorted(tmp_path.glob("*.safetensors")):
        part = load_file(path)
        assert all(index["weight_map"][name] == path.name for name in part)
        assert len(part) == 1 or sum(t.nbytes for t in part.values()) <= 20_000
        found.update(part)
    assert found.keys() == index["weight_map"].keys()
    assert index["metadata"]["total_size"] == sum(t.nbytes for t in found.values())
    state = applied(kind, plan).state_dict()
    assert all(torch.equal(tensor, state[name]) for name, tensor in found.items())
    assert {t.data_ptr() for t in state.values()} == {state[n].data_ptr() for n in found}


@pytest.mark.parametrize("dtype", [None, "bf16"])
@pytest.mark.parametrize("kind", ["gpt2", "llama", "mixtral"])
def test_transformers_loads_it(kind: str, dtype: str | None, tmp_path: Path) -> None:
    model, plan = planned(kind)
    before = model.config.to_dict()
    write_checkpoint(model, plan, tmp_path, seed=SEED, dtype=dtype, max_shard_size="50KB")
    assert model.config.to_dict() == before
    loaded, report = type(model).from_pretrained(tmp_path, output_loading_info=True)
    assert not any(report.values())
    kind_of_number = torch.bfloat16 if dtype else torch.float32
    assert loaded.dtype == kind_of_number
    state, expected = loaded.state_dict(), applied(kind, plan, kind_of_number).state_dict()
    assert state.keys() == expected.keys()
    assert all(torch.equal(state[name], expected[name]) for name in state)


def test_transformers_widens_a_float8(tmp_path: Path) -> None:
    model, plan = planned("llama")
    write_checkpoint(model, plan, tmp_path, seed=SEED, dtype="fp8")
    loaded = type(model).from_pretrained(tmp_path)
    narrow = applied("llama", plan, torch.float8_e4m3fn).state_dict()
    assert loaded.dtype == torch.float32
    assert all(torch.equal(t, narrow[n].float()) for n, t in loaded.state_dict().items())


@pytest.mark.filterwarnings("ignore:torch.distributed is disabled")  # one process, as meant
@pytest.mark.parametrize("kind", ["llama", "resnet"])
def test_distributed_checkpoint_loads_it(kind: str, tmp_path: Path) -> None:
    import torch.distributed.checkpoint as dcp
    from torch.distributed.checkpoint.hf_storage import HuggingFaceStorageReader

    model, plan = planned(kind)
    write_checkpoint(model, plan, tmp_path, seed=SEED, max_shard_size=30_000)
    expected = applied(kind, plan).state_dict()
    state = {name: torch.zeros_like(tensor) for name, tensor in expected.items()}
    dcp.load(state, storage_reader=HuggingFaceStorageReader(str(tmp_path)))
    assert all(torch.equal(state[name], expected[name]) for name in state)


def test_the_models_own_values_are_kept(tmp_path: Path) -> None:
    """A model with values, and a plan that keeps some of them: they are written as they are."""
    model = MODELS["resnet"]()
    with torch.no_grad():
        model.mean.copy_(torch.randn(1, 3, 1, 1))
        model.head.weight.copy_(torch.randn(13, 7).T)
    plan = iso.plan(model, INPUTS["resnet"], overrides={"head.weight": iso.Keep()})
    write_checkpoint(model, plan, tmp_path, seed=SEED)
    found = load_file(tmp_path / "model.safetensors")
    assert torch.equal(found["mean"], model.mean)
    assert torch.equal(found["head.weight"], model.head.weight)
    plan.apply(model, seed=SEED)
    assert all(torch.equal(found[n], t) for n, t in model.state_dict().items())


def test_matrices_as_a_whole(tmp_path: Path) -> None:
    laws = {"0.weight": iso.Orthogonal(1.0, size=300), "2.weight": iso.Sparse(0.5, 0.1)}

    def make() -> nn.Module:
        return nn.Sequential(nn.Linear(300, 200), nn.ReLU(), nn.Linear(200, 100))

    model = weightless(make)
    plan = iso.plan(model, overrides=laws)
    write_checkpoint(model, plan, tmp_path, seed=SEED)
    found, real = load_file(tmp_path / "model.safetensors"), make()
    plan.apply(real, seed=SEED)
    assert all(torch.equal(found[n], t) for n, t in real.state_dict().items())


def test_the_stream_keeps_the_name_that_a_plan_gives(tmp_path: Path) -> None:
    model = weightless(lambda: nn.Sequential(nn.Linear(8, 8)))
    plan = iso.plan(model, names={"0": "trunk.first"})
    manifest = write_checkpoint(model, plan, tmp_path, seed=SEED)
    weight = load_file(tmp_path / "model.safetensors")["0.weight"]
    law = plan["trunk.first.weight"].law
    expected = iso.sample(law, (8, 8), seed=SEED, name="trunk.first.weight")
    assert torch.equal(weight, torch.from_numpy(expected))
    assert list(manifest) == ["0.weight", "0.bias"]


def test_the_manifest_has_the_hash_of_every_tensor(kind: str, tmp_path: Path) -> None:
    import hashlib

    model, plan = planned(kind)
    write_checkpoint(model, plan, tmp_path, seed=SEED, dtype="bf16")
    text = (tmp_path / checkpoint.MANIFEST).read_text()
    for tensor in load_file(tmp_path / "model.safetensors").values():
        data = tensor.contiguous().flatten().view(torch.uint8).numpy()
        assert hashlib.blake2b(data, digest_size=16).hexdigest() in text


def test_how_many_work_on_it_changes_no_byte(tmp_path: Path) -> None:
    model, plan = planned("mixtral")
    for workers in (1, 2, 5):
        write_checkpoint(model, plan, tmp_path / str(workers), seed=SEED, workers=workers)
    first, *others = (
        {p.name: p.read_bytes() for p in (tmp_path / str(n)).iterdir()} for n in (1, 2, 5)
    )
    assert all(other == first for other in others)
