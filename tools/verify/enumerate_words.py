"""All 2^32 words through every kernel and the NumPy reference: one hash for each dtype.

Run with PYTHONPATH at a build that emulates AVX-512, it covers that kernel too.
"""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import builds
import numpy as np

from isometry.stream import _kernel, quantile
from isometry.stream._native import CODES, kernels
from isometry.stream.rounding import DTYPES, store

CHUNK = 1 << 20
DTYPES_HASHED = ("float32", "bfloat16", "float16")
TABLE = Path(__file__).parents[2] / "tests" / "stream" / "known_answers.json"


def digest(values: Callable[[np.ndarray[Any, Any]], np.ndarray[Any, Any]]) -> str:
    """BLAKE2b-128 of the values of words 0, 1, 2, ..., 2^32 - 1, little-endian."""
    total = hashlib.blake2b(digest_size=16)

    def chunk(first: int) -> np.ndarray[Any, Any]:
        return values(np.arange(first, first + CHUNK, dtype=np.uint32))

    workers = os.cpu_count() or 1
    with ThreadPoolExecutor(workers) as pool:
        pending = []
        for first in range(0, 2**32, CHUNK):
            pending.append(pool.submit(chunk, first))
            if len(pending) > 2 * workers:
                total.update(pending.pop(0).result())
        for future in pending:
            total.update(future.result())
    return total.hexdigest()


def by_kernel(name: str, dtype: str) -> Callable[[np.ndarray[Any, Any]], np.ndarray[Any, Any]]:
    def values(words: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        out = np.empty(words.size, dtype=DTYPES[dtype].storage)
        _kernel.map(name, words, (0, 2.0**-27, 0.0, 0), CODES[dtype], out)
        return out

    return values


def by_numpy(dtype: str) -> Callable[[np.ndarray[Any, Any]], np.ndarray[Any, Any]]:
    def values(words: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        out = np.empty(words.size, dtype=DTYPES[dtype].storage)
        step = 1 << 14
        for i in range(0, words.size, step):
            store(quantile(words[i : i + step]), dtype, out[i : i + step])
        return out

    return values


def main(quick: bool = False) -> bool:
    """Print the hashes; True where they are those that the specification states."""
    expected = json.loads(TABLE.read_text(encoding="utf-8"))["every_word"]
    good = True
    ways = [(name, lambda dtype, name=name: by_kernel(name, dtype)) for name in kernels]
    for name, way in [*ways, ("numpy", by_numpy)]:
        for dtype in DTYPES_HASHED:
            start = time.perf_counter()
            found = digest(way(dtype))
            same = found == expected[dtype]
            good = good and same
            took = time.perf_counter() - start
            print(
                f"{name:9} {dtype:9} {found} {'' if same else 'NOT '}as stated ({took:.0f} s)",
                flush=True,
            )
    if "avx512" not in kernels:
        good = _emulated() and good
    return good


def _emulated() -> bool:
    where = builds.ROOT / "build" / "emulated-python"
    if not where.exists():
        print("avx512    not on this processor; `python tools/verify emulated` builds it on SIMDe")
        return True
    code = (
        "import enumerate_words as e, json\n"
        "expected = json.loads(e.TABLE.read_text())['every_word']\n"
        "for d in e.DTYPES_HASHED:\n"
        "    found = e.digest(e.by_kernel('avx512', d))\n"
        "    print('avx512 on SIMDe', d, found, 'as stated' * (found == expected[d]), flush=True)\n"
        "    assert found == expected[d]\n"
    )
    return builds.python(where, code).returncode == 0
