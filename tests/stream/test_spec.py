"""docs/spec/stream.md against the code: its tables, its figures, and its own implementation."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from isometry.stream import STREAM_VERSION, key, quantile, sample, words
from isometry.stream.quantile import COEFFICIENTS
from isometry.types import Normal, TruncatedNormal, Uniform, law_from_dict

SPEC = (Path(__file__).parents[2] / "docs" / "spec" / "stream.md").read_text(encoding="utf-8")
TABLE: dict[str, Any] = json.loads(
    Path(__file__).with_name("known_answers.json").read_text(encoding="utf-8")
)


def rows(header: str) -> list[list[str]]:
    """The cells of the Markdown table that has this header row."""
    lines = SPEC[SPEC.index(header) :].split("\n\n")[0].splitlines()
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines[2:]]


@pytest.fixture(scope="module")
def plain() -> dict[str, Any]:
    """The specification's Python, run."""
    names: dict[str, Any] = {}
    (program,) = re.findall(r"```python\n(.*?)```", SPEC, flags=re.DOTALL)
    exec(program, names)
    names["table"] = [[int(c) for c in row[3:]] for row in rows("| s | octave | half |")]
    return names


def test_the_version() -> None:
    assert SPEC.startswith(f"# The stream, version {STREAM_VERSION}\n")


def test_the_coefficients() -> None:
    table = rows("| s | octave | half |")
    assert [tuple(int(c) for c in row[3:]) for row in table] == list(COEFFICIENTS)
    assert [row[:3] for row in table] == [
        [str(s), str(s // 2), "1/2" if s % 2 else "0"] for s in range(63)
    ]


def test_the_known_answers_are_those_of_the_table() -> None:
    philox = [[str(r["rounds"]), r["counter"], r["key"], r["words"]] for r in TABLE["philox"]]
    assert rows("| rounds | counter |") == philox
    keys = [
        [
            str(r["seed"]),
            f"`{r['name']}`" if r["name"] else "(empty)",
            r["purpose"],
            r["key"],
            r["high"],
        ]
        for r in TABLE["key"]
    ]
    assert rows("| seed | name |") == keys
    assert rows("| first element |") == [[str(r["start"]), r["words"]] for r in TABLE["words"]]
    assert rows("| word | quantile") == [[r["word"], r["z"]] for r in TABLE["quantile"]]
    assert rows("| dtype | hash |") == [[d, h] for d, h in TABLE["every_word"].items()]
    values = []
    for row in TABLE["values"]:
        name, *numbers = (v if k == "law" else f"{k}={v}" for k, v in row["law"].items())
        values.append([f"`{' '.join((name, *numbers))}`", row["float32"]])
        assert law_from_dict(row["law"])
    assert rows("| law | values |") == values


def test_the_plain_python_gives_the_same_words(plain: dict[str, Any]) -> None:
    for row in TABLE["philox"]:
        counter, block_key, expected = (
            tuple(int(w, 16) for w in row[field].split()) for field in ("counter", "key", "words")
        )
        assert plain["philox"](counter, block_key, row["rounds"]) == expected
    for row in TABLE["key"]:
        derived = key(row["seed"], row["name"], row["purpose"])
        assert plain["key"](row["seed"], row["name"], row["purpose"]) == derived.key + derived.high
    for i in (0, 5, 2**34 + 3):
        assert plain["word"](9, "w", i, "mask") == words(9, "w", i, i + 1, "mask")[0]


def test_the_plain_python_gives_the_same_values(plain: dict[str, Any]) -> None:
    n, table = 3000, plain["table"]
    raw = words(0, "w", 0, n).tolist()

    def same(values: list[float], expected: np.ndarray[Any, Any]) -> None:
        np.testing.assert_array_equal(np.array(values).astype(np.float32), expected)

    same(
        [plain["normal"](w, 0.02, table) for w in raw],
        sample(Normal(0.02), (n,), seed=0, name="w"),
    )
    same([plain["uniform"](w, 0.3) for w in raw], sample(Uniform(0.3), (n,), seed=0, name="w"))
    for std, cutoff in [(0.02, 2.0), (1.0, 0.3), (7.5, 6.0)]:
        same(
            [plain["truncated"](w, std, cutoff, table) for w in raw[:300]],
            sample(TruncatedNormal(std, cutoff), (300,), seed=0, name="w"),
        )
    low = [w & 0xFFFF for w in raw]  # the tail, which words seldom reach
    same([plain["normal"](w, 1.0, table) for w in low], quantile(np.array(low, dtype=np.uint32)))


def test_the_figures_it_states() -> None:
    worst, ks = (
        float(re.search(rf"{label} +(\S+)", SPEC)[1])  # type: ignore[index]
        for label in (r"largest \|error\|", "Kolmogorov-Smirnov")
    )
    assert worst <= 3.39e-7
    assert ks <= 9.1e-8
    assert f"{quantile(np.uint32([1]))[0]:.9g}" in SPEC
    assert f"{quantile(np.uint32([2**31 - 1]))[0]:.9g}" in SPEC
