"""The file: small, exact, and anything else than it is a clear error."""

from __future__ import annotations

import copy
import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
import transformers as hf
from hypothesis import given, settings
from hypothesis import strategies as st

import isometry as iso
from isometry.errors import ArgumentError, IsometryError
from isometry.manifest import Manifest, document

from ..checkpoint.models import INPUTS, MODELS, weightless
from .networks import manifest_of, sorts


def text_of(manifest: Manifest, folder: Path) -> str:
    manifest.save(folder / "m.json")
    return (folder / "m.json").read_text(encoding="utf-8")


@pytest.mark.parametrize("kind", [*MODELS, "sorts"])
def test_it_is_read_back_as_it_was(kind: str, tmp_path: Path) -> None:
    if kind == "sorts":
        model, plan = sorts()
    else:
        model = weightless(MODELS[kind])
        plan = iso.plan(model, INPUTS.get(kind))
    manifest = manifest_of(model, plan, dtype="bfloat16")
    text = text_of(manifest, tmp_path)
    again = Manifest.load(tmp_path / "m.json")
    assert text_of(again, tmp_path) == text
    for mine, its in zip(manifest.records, again.records, strict=True):
        assert mine.entry.decision == its.entry.decision
        assert mine.hash == its.hash
        assert mine.known == its.known
    assert [p.name for p in tmp_path.iterdir()] == ["m.json"]
    fields = ("model", "parameters", "seed", "plan", "config", "isometry", "stream", "names")
    assert all(getattr(manifest, f) == getattr(again, f) for f in fields)
    assert (again.plan, again.isometry) == (plan.digest, iso.__version__)


def test_the_hash_is_that_of_the_bytes() -> None:
    model, plan = sorts()
    manifest = manifest_of(model, plan)
    for name, tensor in model.state_dict().items():
        data = tensor.contiguous().numpy().tobytes()
        assert manifest[name].hash == hashlib.blake2b(data, digest_size=16).hexdigest()
    assert all(r.hash is None for r in manifest_of(model, plan, hashes=False).records)


def test_llama_7b_takes_some_kilobytes(tmp_path: Path) -> None:
    model = weightless(lambda: hf.LlamaForCausalLM(hf.LlamaConfig()))
    manifest = manifest_of(model, iso.plan(model), hashes=False)
    assert len(manifest) == 291
    assert manifest.parameters == 6_738_415_616
    hashes = dict.fromkeys(manifest.names, "0123456789abcdef" * 2)
    entries = [record.entry for record in manifest.records]
    full = Manifest.of(entries, seed=0, plan=iso.plan(model), model=model, hashes=hashes)
    assert len(text_of(full, tmp_path)) < 30_000
    tiny = weightless(MODELS["llama"])
    assert len(text_of(manifest_of(tiny, iso.plan(tiny)), tmp_path)) < 4_000


def test_what_tensors_share_is_written_once(tmp_path: Path) -> None:
    model = weightless(MODELS["mixtral"])
    data = json.loads(text_of(manifest_of(model, iso.plan(model)), tmp_path))
    assert len(data["kinds"]) == len({json.dumps(k) for k in data["kinds"]})
    assert {line[1] for line in data["tensors"]} == set(range(len(data["kinds"])))


def test_a_configuration_tells_models_apart() -> None:
    small, large = (
        weightless(lambda n=n: hf.GPT2LMHeadModel(hf.GPT2Config(n_layer=1, n_embd=32, n_head=n)))
        for n in (2, 4)
    )
    plan = iso.plan(small)
    of_small, again, of_large = (
        manifest_of(m, plan, hashes=False).config for m in (small, small, large)
    )
    assert of_small == again != of_large
    small.config._name_or_path = "elsewhere"  # which says nothing of the model
    assert manifest_of(small, plan, hashes=False).config == of_small


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Any:
    return json.loads(text_of(manifest_of(*sorts()), tmp_path_factory.mktemp("good")))


def parse(data: Any) -> Any:
    return document.read(data if isinstance(data, str) else json.dumps(data))


WRONG: list[tuple[list[Any], Any, str]] = [
    (["format"], 2, "format 2, stream 1; this version of isometry reads format 1"),
    (["stream"], 7, "format 1, stream 7"),
    (["seed"], -1, "seed"),
    (["seed"], 2**64, "seed"),
    (["model"], 3, "3 where str is expected"),
    (["kinds", 0, "dtype"], "float31", "dtype 'float31' is not one of"),
    (["kinds", 0, "shape"], [-1], "shape"),
    (["kinds", 0, "shape"], [2**40, 2**40], "more than 2\\*\\*62 elements"),
    (["kinds", 0, "shape"], "48", "'48' where list is expected"),
    (["tensors", 0, 1], 10**6, "refers to no kind"),
    (["tensors", 0, 1], -1, "refers to no kind"),
    (["tensors", 0, 2], "xyz", "is not 32 hexadecimal digits"),
    (["tensors", 0, 0], "embed.weight", "'embed.weight' is the name of two tensors"),
    (["tensors", 0, 0], "\ud800", "expected text that UTF-8 can encode"),
]  # fmt: skip


@pytest.mark.parametrize(("path", "value", "message"), WRONG)
def test_a_wrong_field_is_told(good: Any, path: list[Any], value: Any, message: str) -> None:
    data = copy.deepcopy(good)
    at = data
    for step in path[:-1]:
        at = at[step]
    assert at[path[-1]] != value
    at[path[-1]] = value
    with pytest.raises(ArgumentError, match=message):
        parse(data)


def test_a_law_that_does_not_fit_its_tensor_is_told(good: Any) -> None:
    for law in ({"law": "Keep"}, {"law": "Orthogonal", "gain": "0x1p0"}, {"law": "Nothing"}, {}):
        data = copy.deepcopy(good)
        kind = next(k for k in data["kinds"] if "law" in k and len(k["shape"]) == 1)
        kind["law"] = law
        with pytest.raises(ArgumentError, match="not a manifest"):
            parse(data)


@pytest.mark.parametrize("text", ["", "{", "[]", "null", "3", '"x"', "{}", "[" * 10**5, "\x00"])
def test_another_text_is_told(text: str, tmp_path: Path) -> None:
    path = tmp_path / "m.json"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(ArgumentError, match="not a manifest that isometry wrote"):
        Manifest.load(path)


def test_what_cannot_be_read_or_written_is_told(tmp_path: Path) -> None:
    with pytest.raises(ArgumentError, match="cannot be read from"):
        Manifest.load(tmp_path / "none.json")
    with pytest.raises(ArgumentError, match="cannot be read from"):
        Manifest.load(tmp_path)
    (tmp_path / "binary").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ArgumentError, match="cannot be read from"):
        Manifest.load(tmp_path / "binary")
    manifest = manifest_of(*sorts(), hashes=False)
    with pytest.raises(ArgumentError, match="the manifest cannot be written to"):
        manifest.save(tmp_path / "none" / "m.json")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["binary"]


def test_a_hostile_manifest_takes_memory_only_when_it_is_asked_to(
    good: Any, tmp_path: Path
) -> None:
    data = copy.deepcopy(good)
    number = next(i for i, k in enumerate(data["kinds"]) if len(k["shape"]) == 2 and "law" in k and k["law"]["law"] == "Normal")  # fmt: skip
    data["kinds"][number]["shape"] = [2**31, 2**31]
    value = next(line for line in data["tensors"] if line[0] == "zeros")
    data["kinds"][value[1]]["shape"] = [2**50]
    (tmp_path / "m.json").write_text(json.dumps(data))
    manifest = Manifest.load(tmp_path / "m.json")
    name = next(line[0] for line in data["tensors"] if line[1] == number)
    assert manifest.tensor(name, (2**30, slice(0, 5))).shape == (5,)
    assert manifest.tensor("zeros", slice(0, 3)).tolist() == [0.0, 0.0, 0.0]


JUNK = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8)
    | st.sampled_from(["Normal", "Orthogonal", "Factor", "0x1p-4", "bfloat16", 2**63, 10**30]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)  # fmt: skip


@settings(max_examples=600, deadline=None)
@given(data=st.data())
def test_a_mangled_manifest_is_an_isometry_error_or_a_manifest(
    good: Any, data: st.DataObject
) -> None:
    mangled = copy.deepcopy(good)
    for _ in range(data.draw(st.integers(1, 3))):
        at: Any = mangled
        while True:
            keys = list(at) if isinstance(at, dict) else list(range(len(at)))
            if not keys:
                break
            key = data.draw(st.sampled_from(keys))
            if isinstance(at[key], (dict, list)) and at[key] and data.draw(st.integers(0, 4)):
                at = at[key]
                continue
            how = data.draw(st.sampled_from(["junk", "drop", "twice", "near"]))
            if how == "drop":
                del at[key]
            elif how == "twice" and isinstance(at, list):
                at.append(copy.deepcopy(at[key]))
            elif how == "near" and isinstance(at[key], int):
                at[key] += data.draw(st.integers(-2, 2))
            else:
                at[key] = data.draw(JUNK)
            break
    try:
        head, records = parse(mangled)
    except IsometryError:
        return
    manifest = Manifest(records=records, **head)
    again = document.written({k: getattr(manifest, k) for k in head}, records)
    assert document.written(head, document.read(again)[1]) == again
    for record in records:
        name, shape = record.entry.name, record.entry.shape
        if record.entry.size > 10**7:
            continue
        try:
            part = manifest.tensor(name, tuple(slice(0, 2) for _ in shape))
        except IsometryError:
            continue
        assert part.shape == tuple(min(2, n) for n in shape)


@settings(max_examples=300, deadline=None)
@given(data=st.data())
def test_a_text_with_a_byte_changed_is_an_isometry_error_or_a_manifest(
    good: Any, data: st.DataObject
) -> None:
    text = json.dumps(good)
    place = data.draw(st.integers(0, len(text) - 1))
    text = (
        text[:place]
        + data.draw(st.sampled_from(list('0123456789abcxyz"[]{},:.-+ \\')))
        + text[place + 1 :]
    )
    try:
        head, records = parse(text)
    except IsometryError:
        return
    assert len(Manifest(records=records, **head)) == len(good["tensors"])
