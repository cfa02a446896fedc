"""Which file a tensor goes into, and where in it: as the hub and the safetensors library have it."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from huggingface_hub import split_torch_state_dict_into_shards
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import save

from isometry.checkpoint.safetensors_header import header
from isometry.checkpoint.shards import bytes_of, index_text, shards
from isometry.entry import CODES, STORAGE, Entry
from isometry.errors import ArgumentError


def entry(name: str, shape: tuple[int, ...], dtype: str = "uint8") -> Entry:
    return Entry(name, (), shape, dtype, value=np.zeros(shape, STORAGE[dtype]))


@given(st.lists(st.integers(1, 40), min_size=1, max_size=12), st.integers(1, 60))
def test_files_are_split_as_the_hub_splits_them(sizes: list[int], limit: int) -> None:
    state = {f"t{i}": torch.zeros(n, dtype=torch.uint8) for i, n in enumerate(sizes)}
    theirs = split_torch_state_dict_into_shards(state, max_shard_size=limit)
    ours = shards([entry(n, tuple(t.shape)) for n, t in state.items()], limit, {})
    split = {s.name: sorted(e.name for e, _ in s.tensors) for s in ours}
    # The hub closes a file that holds nothing yet where the first tensor is too large for any.
    expected = {f: sorted(names) for f, names in theirs.filename_to_tensors.items()}
    assert split == expected
    index = json.loads(index_text(ours))
    assert index["weight_map"] == theirs.tensor_to_filename
    assert index["metadata"]["total_size"] == theirs.metadata["total_size"]


@given(
    st.lists(
        st.tuples(st.sampled_from(list(CODES)), st.lists(st.integers(0, 3), max_size=3)), max_size=8
    )
)
def test_a_header_is_the_librarys(rows: list[tuple[str, list[int]]]) -> None:
    entries = [entry(f"é{i}.w", tuple(shape), dtype) for i, (dtype, shape) in enumerate(rows)]
    state = {e.name: torch.zeros(e.shape, dtype=getattr(torch, e.dtype)) for e in entries}
    theirs = save(state, {"format": "pt"})
    head, places = header(entries, {"format": "pt"})
    assert head == theirs[: len(head)]
    assert len(head) + sum(e.nbytes for e, _ in places) == len(theirs)
    assert all(offset % STORAGE[e.dtype].itemsize == 0 for e, offset in places)


def test_the_other_names_of_a_tensor_lead_to_its_first() -> None:
    tied = Entry("wte", ("head", "again"), (2,), "uint8", value=np.zeros(2, np.uint8))
    head, _ = header([tied], {"format": "pt"})
    table = json.loads(head[8:])
    assert table["__metadata__"] == {"format": "pt", "head": "wte", "again": "wte"}
    assert list(table) == ["__metadata__", "wte"]


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("5GB", 5 * 10**9),
        ("5 gb", 5 * 10**9),
        ("1.5KB", 1500),
        ("2GiB", 2**31),
        (10, 10),
        ("10", 10),
    ],
)
def test_a_size_in_words(text: int | str, size: int) -> None:
    assert bytes_of(text) == size


@pytest.mark.parametrize(
    "text", ["5XB", "", "GB", "-1GB", "0", 0, -5, True, "1e9", "5GB5", 2.5, None]
)
def test_what_is_no_size_is_said(text: int | str) -> None:
    with pytest.raises(ArgumentError, match=r"max_shard_size=.*expected a size such as '5GB'"):
        bytes_of(text)
