"""A rank takes the memory of its shards and a little more, never that of a whole tensor."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from .ranks import Ranks
from .scenarios import memory

MORE = 64 << 20  # bytes

pytestmark = pytest.mark.skipif(
    not Path("/proc/self/clear_refs").exists(),
    reason=f"the peak of a process's memory is read from /proc, which {sys.platform} has not",
)


def test_what_is_given_back_is_seen(ranks: Ranks) -> None:
    assert 200 << 20 <= ranks.alone(memory.peak_of, megabytes=200) <= 210 << 20


@pytest.mark.parametrize(
    ("how", "dtype"),
    [("FSDP", "float32"), ("FSDP", "bfloat16"), ("columns", "float32"), ("strided", "float32")],
)
def test_peak(ranks: Ranks, how: str, dtype: str) -> None:
    for answer in ranks(4, memory.filled, how=how, dtype=dtype):
        assert answer["own"] < answer["whole"] / 3  # what is not cut is small
        assert answer["own"] <= answer["grown"] + (16 << 20)  # the pages were really touched
        assert answer["grown"] <= answer["own"] + MORE, answer
