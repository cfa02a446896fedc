"""The table of known answers, which every implementation of the stream must give."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from isometry.stream import STREAM_VERSION, key, philox, quantile, words, write
from isometry.stream.rounding import DTYPES
from isometry.types import law_from_dict

TABLE: dict[str, Any] = json.loads(
    Path(__file__).with_name("known_answers.json").read_text(encoding="utf-8")
)


def unhex(text: str, bits: int = 32) -> np.ndarray[Any, Any]:
    return np.array([int(word, 16) for word in text.split()], dtype=f"u{bits // 8}")


def test_the_table_is_of_this_version() -> None:
    assert TABLE["version"] == STREAM_VERSION == 1


@pytest.mark.parametrize("row", TABLE["philox"], ids=lambda r: f"{r['rounds']}-{r['counter'][:8]}")
def test_philox(row: dict[str, Any]) -> None:
    out = philox(unhex(row["counter"]), unhex(row["key"]), rounds=row["rounds"])
    assert out.dtype == np.uint32
    np.testing.assert_array_equal(out, unhex(row["words"]))


def test_philox_works_on_arrays_and_broadcasts() -> None:
    rows = [r for r in TABLE["philox"] if r["rounds"] == 10]
    counters = np.array([unhex(r["counter"]) for r in rows])
    keys = np.array([unhex(r["key"]) for r in rows])
    expected = np.array([unhex(r["words"]) for r in rows])
    np.testing.assert_array_equal(philox(counters, keys), expected)
    every = philox(counters[:, None], keys)
    assert every.shape == (3, 3, 4)
    np.testing.assert_array_equal(every[[0, 1, 2], [0, 1, 2]], expected)
    assert philox(counters[:0], keys[0]).shape == (0, 4)


@pytest.mark.parametrize("row", TABLE["key"], ids=lambda r: f"{r['seed']}-{r['name']}")
def test_key(row: dict[str, Any]) -> None:
    derived = key(row["seed"], row["name"], row["purpose"])
    assert derived.key == tuple(unhex(row["key"]))
    assert derived.high == tuple(unhex(row["high"]))


@pytest.mark.parametrize("row", TABLE["words"], ids=lambda r: str(r["start"]))
@pytest.mark.usefixtures("isa")
def test_words(row: dict[str, Any]) -> None:
    expected = unhex(row["words"])
    out = words(row["seed"], row["name"], row["start"], row["start"] + expected.size)
    np.testing.assert_array_equal(out, expected)


def test_quantile() -> None:
    asked = np.concatenate([unhex(row["word"]) for row in TABLE["quantile"]])
    expected = np.concatenate([unhex(row["z"]) for row in TABLE["quantile"]])
    np.testing.assert_array_equal(quantile(asked).view(np.uint32), expected)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("row", TABLE["values"], ids=lambda r: str(law_from_dict(r["law"])))
@pytest.mark.usefixtures("isa")
def test_values(row: dict[str, Any], dtype: str) -> None:
    storage = DTYPES[dtype].storage
    expected = unhex(row[dtype], 8 * storage.itemsize)
    out = np.full(expected.shape, 77, dtype=storage)  # poisoned first
    law = law_from_dict(row["law"])
    write(out, law, out.shape, seed=row["seed"], name=row["name"], dtype=dtype)
    np.testing.assert_array_equal(out.view(expected.dtype), expected)
