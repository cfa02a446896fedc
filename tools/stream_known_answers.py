"""Writes tests/stream/known_answers.json, which every implementation of the stream is tested with.

    python tools/stream_known_answers.py

Floats and words are hexadecimal bits. The rows of Philox are Random123's (`tests/kat_vectors`),
kept as they are; the hashes of every word are those of `make verify`; the others come from the NumPy implementation, which is the norm. A change to any
of them is a new version of the stream.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from isometry.stream import STREAM_VERSION, key, quantile, words, write
from isometry.stream.rounding import DTYPES
from isometry.types import Constant, Law, Normal, TruncatedNormal, Uniform

TABLE = Path(__file__).parent.parent / "tests" / "stream" / "known_answers.json"

STREAMS = [
    (0, "", "weight"),
    (0, "fc1.weight", "weight"),
    (0, "fc1.weight", "mask"),
    (1, "fc1.weight", "weight"),
    (2**64 - 1, "fc1.weight", "weight"),
    (2**32, "couche.é.重み", "weight"),
]
QUANTILE_WORDS = [
    *(0x00000000, 0x00000001, 0x00000002, 0x00000003, 0x00000005, 0x00000007, 0x000000FF),
    *(0x0000FFFF, 0x00010000, 0x000178DD, 0x00FFFFFF, 0x01000001, 0x0147AE14, 0x02E90EDD),
    *(0x15555555, 0x20000000, 0x30000000, 0x3FFFFFFF, 0x40000000, 0x5FFFFFFF, 0x60000000),
    *(0x7FFFFF3F, 0x7FFFFFBF, 0x7FFFFFC0, 0x7FFFFFFF, 0x80000000, 0x80000001, 0x9E3779B9),
    *(0xBB67AE85, 0xC0000000, 0xDEADBEEF, 0xFFFFFFFF),
]
LAWS: list[Law] = [
    Constant(0.1),
    Normal(std=0.02),
    Normal(std=2.0**-80),
    Normal(std=0.02, mean=1.0),
    Uniform(bound=0.05),
    Uniform(bound=0.05, mean=-0.3),
    TruncatedNormal(std=0.02),
    TruncatedNormal(std=1.0, cutoff=0.5, mean=0.25),
]


def bits(array: np.ndarray[Any, Any]) -> str:
    """Each element's bits, in hexadecimal, most significant digit first."""
    width = 2 * array.itemsize
    return " ".join(f"{int(x):0{width}x}" for x in array.view(f"u{array.itemsize}"))


def generate(philox: list[dict[str, Any]], every_word: dict[str, str]) -> dict[str, Any]:
    """The whole table, the given rows of Philox and hashes of every word included."""
    table: dict[str, Any] = {"version": STREAM_VERSION, "philox": philox, "every_word": every_word}
    table["key"] = []
    for seed, name, purpose in STREAMS:
        derived = key(seed, name, purpose)
        table["key"].append(
            {
                "seed": seed,
                "name": name,
                "purpose": purpose,
                "key": bits(np.array(derived.key, dtype=np.uint32)),
                "high": bits(np.array(derived.high, dtype=np.uint32)),
            }
        )
    table["words"] = [
        {
            "seed": 0,
            "name": "fc1.weight",
            "start": start,
            "words": bits(words(0, "fc1.weight", start, start + 6)),
        }
        for start in (0, 3, 4 * 2**32 - 2)
    ]
    asked = np.array(QUANTILE_WORDS, dtype=np.uint32)
    table["quantile"] = [{"word": bits(w), "z": bits(quantile(w))} for w in asked.reshape(-1, 1)]
    table["values"] = []
    for law in LAWS:
        row: dict[str, Any] = {"law": law.to_dict(), "seed": 0, "name": "fc1.weight"}
        for dtype, form in DTYPES.items():
            out = np.empty(8, dtype=form.storage)
            write(out, law, (8,), seed=0, name="fc1.weight", dtype=dtype)
            row[dtype] = bits(out)
        table["values"].append(row)
    return table


def main() -> None:
    known = json.loads(TABLE.read_text(encoding="utf-8"))
    text = (
        json.dumps(generate(known["philox"], known["every_word"]), indent=1, ensure_ascii=False)
        + "\n"
    )
    TABLE.write_text(text, encoding="utf-8")
    print(f"wrote {TABLE}")


if __name__ == "__main__":
    main()
