"""The Triton kernels, run by Triton's interpreter on the CPU: a script of `test_triton.py`.

    TRITON_INTERPRET=1 python tests/stream/interpreted_kernels.py CHECK

In a process of its own: the variable is read when Triton is imported. Each check compares bits with
the NumPy reference and says how many values it compared.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from isometry.stream import sample
from isometry.stream._numpy import draw
from isometry.stream.draws import draw_of
from isometry.stream.index import select
from isometry.stream.keys import key
from isometry.stream.rounding import DTYPES, store
from isometry.types import Constant, Law, Normal, TruncatedNormal, Uniform, law_from_dict

triton = pytest.importorskip("triton", reason="Triton is not installed")
tl = triton.language

from isometry.stream import _triton  # noqa: E402
from isometry.stream.triton_kernels import _drawn, _philox, _rounded  # noqa: E402

LAWS: list[Law] = [
    Normal(0.02), Normal(0.02, mean=-1.0), Uniform(0.1), Uniform(0.1, mean=3.0),
    TruncatedNormal(0.02), TruncatedNormal(0.5, cutoff=3.0, mean=0.1),
]  # fmt: skip
KNOWN: dict[str, Any] = json.loads(
    Path(__file__).with_name("known_answers.json").read_text(encoding="utf-8")
)
TABLE = torch.from_numpy(_triton.TABLE)


def bits(values: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    return values.view(f"u{values.itemsize}")


def memory(shape: tuple[int, ...], dtype: str) -> torch.Tensor:
    """A poisoned tensor of this dtype."""
    storage = DTYPES[dtype].storage
    poison = np.full(shape, 0xA5, dtype=np.uint8)[..., None].repeat(storage.itemsize, -1)
    raw = torch.from_numpy(poison.view(bits(np.empty(0, storage)).dtype)[..., 0].copy())
    return raw.view(getattr(torch, dtype))


def raw(tensor: torch.Tensor) -> np.ndarray[Any, Any]:
    """Its bits, as a view."""
    of = {1: torch.uint8, 2: torch.uint16, 4: torch.uint32, 8: torch.uint64}
    return tensor.view(of[tensor.itemsize]).numpy()


def check(
    law: Law, shape: tuple[int, ...], index: Any, dtype: str, out: torch.Tensor, tile: int
) -> int:
    """The kernel's values of a part of a tensor, in this memory, against NumPy's."""
    how, selection = draw_of(law), select(shape, index)
    assert how is not None
    view = out[(*(slice(None) if kept else None for kept in selection.kept), ...)]
    if out.numel():
        _triton.elementwise(
            how, key(5, "w"), selection.dims, shape, dtype, view, TABLE, torch.from_numpy, tile
        )
    expected = sample(law, shape, seed=5, name="w", dtype=dtype, index=index, backend="numpy")
    np.testing.assert_array_equal(
        raw(out), bits(expected), err_msg=f"{law} {shape} {index} {dtype}"
    )
    return out.numel()


def known_answers() -> int:
    """Philox's words, the quantile's words, and values of every law and dtype."""
    seen = 0
    for row in KNOWN["philox"]:
        if row["rounds"] == 10:
            c0, c1, *rest = (int(w, 16) for w in f"{row['counter']} {row['key']}".split())
            block = np.array([c0 | c1 << 32], dtype=np.uint64).view(np.int64)
            out = torch.zeros(4, dtype=torch.int32)
            signed = np.array(rest, dtype=np.uint32).view(np.int32).tolist()
            of_block[(1,)](out, torch.from_numpy(block), *signed)
            assert [f"{w:08x}" for w in raw(out)] == row["words"].split()
            seen += 4
    asked = np.array([int(row["word"], 16) for row in KNOWN["quantile"]], dtype=np.uint32)
    z = [int(row["z"], 16) for row in KNOWN["quantile"]]
    assert raw(values_of(asked, Normal(1.0), "float32")).tolist() == z
    seen += len(z)
    for row in KNOWN["values"]:
        law = law_from_dict(row["law"])
        if not isinstance(law, Constant):
            for dtype in DTYPES:
                expected = [int(word, 16) for word in row[dtype].split()]
                out = memory((len(expected),), dtype)
                how = draw_of(law)
                assert how is not None
                _triton.elementwise(
                    how, key(row["seed"], row["name"]), [range(len(expected))], (len(expected),),
                    dtype, out, TABLE, torch.from_numpy,
                )  # fmt: skip
                assert raw(out).tolist() == expected, (law, dtype)
                seen += len(expected)
    return seen


@triton.jit
def of_block(out, blocks, h0, h1, k0, k1):
    w0, w1, w2, w3 = _philox(tl.load(blocks + tl.arange(0, 1)), h0, h1, k0, k1)
    words = tl.interleave(tl.interleave(w0, w2), tl.interleave(w1, w3))
    tl.store(out + tl.arange(0, 4), words.to(tl.int32, bitcast=True))


@triton.jit
def of_words(
    words, out, n, table, scale, mean_low, mean_high, low,
    KIND: tl.constexpr, MEAN: tl.constexpr, DTYPE: tl.constexpr, SIZE: tl.constexpr,
):  # fmt: skip
    at = tl.program_id(0) * SIZE + tl.arange(0, SIZE)
    w = tl.load(words + at, mask=at < n, other=0).to(tl.uint32, bitcast=True)
    z = _drawn(w, table, scale, mean_low, mean_high, low, KIND, MEAN)
    tl.store(out + at, _rounded(z, DTYPE), mask=at < n)


@triton.jit
def of_values(values, out, n, DTYPE: tl.constexpr, SIZE: tl.constexpr):
    at = tl.program_id(0) * SIZE + tl.arange(0, SIZE)
    z = tl.load(values + at, mask=at < n, other=0.0)
    tl.store(out + at, _rounded(z, DTYPE), mask=at < n)


def stored(out: torch.Tensor, dtype: str) -> Any:
    return triton.reinterpret(out, _triton.BITS[dtype]) if dtype in _triton.BITS else out


def values_of(words: np.ndarray[Any, Any], law: Law, dtype: str) -> torch.Tensor:
    """What these words stand for, by the kernels."""
    how = draw_of(law)
    assert how is not None
    out, size = memory(words.shape, dtype), 1 << 17
    of_words[(-(-words.size // size),)](
        torch.from_numpy(words.view(np.int32)), stored(out, dtype), words.size, TABLE,
        *_triton._parameters(how, key(0, ""))[4:],
        KIND="cut" if how.low else how.kind, MEAN=how.mean != 0, DTYPE=dtype, SIZE=size,
    )  # fmt: skip
    return out


def every_octave() -> int:
    """Words about every edge of the quantile's segments, of both signs, and random ones."""
    edges = [2**k + step for k in range(32) for step in (-3, -2, -1, 0, 1, 2, 3)]
    edges += [2**k + 2 ** (k - 1) + step for k in range(1, 31) for step in range(-300, 300)]
    v = np.array([e for e in edges if 0 <= e < 2**31], dtype=np.uint32)
    rng = np.random.default_rng(0)
    deep = rng.integers(0, 2**31, 60_000, dtype=np.uint32) >> rng.integers(0, 31, 60_000).astype(
        "u4"
    )
    words = np.concatenate([v, v | np.uint32(2**31), deep, deep | np.uint32(2**31)])
    tiny = [Normal(2.0**-80), Normal(2.0**80), Normal(2.0**-80, mean=2.0**-79), Uniform(2.0**-80)]
    tiny += [Normal(2.0**-80, mean=1e-45), TruncatedNormal(2.0**-79, cutoff=0.1)]
    seen = 0
    for law in [*LAWS, *tiny]:
        how = draw_of(law)
        assert how is not None
        expected = draw(how, words)
        np.testing.assert_array_equal(
            raw(values_of(words, law, "float32")), bits(expected), str(law)
        )
        seen += words.size
    return seen


def roundings() -> int:
    """float32 of every exponent, exact ties and their neighbours, in every dtype."""
    rng = np.random.default_rng(1)
    patterns = rng.integers(0, 2**32, 300_000, dtype=np.uint32)
    for keep in (10, 9, 7, 3, 2, 1):  # ties of all the formats, above and below their subnormals
        tie = (patterns[:60_000] >> np.uint32(23 - keep) | np.uint32(1)) << np.uint32(23 - keep)
        patterns = np.concatenate([patterns, tie, tie + np.uint32(1), tie - np.uint32(1)])
    values = patterns.view(np.float32)
    values = np.concatenate([values[np.isfinite(values)], np.float32([0.0, -0.0])])
    seen = 0
    for dtype, form in DTYPES.items():
        some = values[np.abs(values.astype(np.float64)) <= form.limit]
        out, size = memory(some.shape, dtype), 1 << 17
        of_values[(-(-some.size // size),)](
            torch.from_numpy(some), stored(out, dtype), some.size, DTYPE=dtype, SIZE=size
        )
        expected = np.empty(some.shape, form.storage)
        store(some, dtype, expected)
        np.testing.assert_array_equal(raw(out), bits(expected), dtype)
        seen += some.size
    return seen


def random_elements(law: Law, dtype: str) -> int:
    """A million elements anywhere below 2^62, a third of them below 2^36."""
    rng = np.random.default_rng(2)
    places = rng.integers(0, 2**62, 1_000_000)
    places[:333_333] >>= 26
    return check(law, (2**62,), places, dtype, memory(places.shape, dtype), 1 << 18)


def runs() -> int:
    """Runs that begin and end anywhere, across carries of the block's number, in any rows."""
    seen, dtypes = 0, list(DTYPES)
    for number, start in enumerate(
        [0, 1, 2, 3, 4, 5, 7, *(p + s for p in (2**31, 2**32, 2**34, 2**36) for s in (-130, -3, 0))]
    ):
        for length in (1, 3, 4, 255, 1024, 1025, 4999):
            index = slice(start, start + length)
            dtype = dtypes[(number + length) % len(dtypes)]
            out = memory((length,), dtype)
            seen += check(LAWS[number % len(LAWS)], (2**40,), index, dtype, out, 1024)
    end = slice(2**62 - 5000, None)
    seen += check(Normal(), (2**62,), end, "float32", memory((5000,), "float32"), 1024)
    for columns in (2000, 2001):  # rows that begin blocks, and rows that do not
        for index in (
            (slice(2, 9), slice(400, 1600)),
            (slice(2, 9), slice(401, 1600)),
            (slice(8, None, -2), slice(400, 1604)),
            ([7, 1, 4, 4], slice(0, 800)),
            ([7, 1, 4, 4], slice(3, 1000)),
        ):
            lengths = select((10, columns), index).shape
            for gap in (0, 4, 5):  # between rows in memory
                wide = memory((lengths[0], lengths[1] + gap), "bfloat16")
                before = raw(wide).copy()
                out = wide[:, : lengths[1]]
                seen += check(LAWS[0], (10, columns), index, "bfloat16", out, 1024)
                np.testing.assert_array_equal(raw(wide)[:, lengths[1] :], before[:, lengths[1] :])
    return seen


def any_memory() -> int:
    """Any part of any tensor, of shards too, in memory of any order, with gaps."""
    rng = np.random.default_rng(3)
    seen = 0
    for number in range(160):
        _triton.NARROW = (
            0 if number % 2 else 2**32
        )  # the numbers of places as wide as of a huge part
        shape = tuple(rng.choice([1, 2, 3, 5, 17, 64, 300], rng.integers(0, 5)).tolist())
        while np.prod(shape) > 60_000:
            shape = shape[1:]
        index = tuple(entry(rng, n) for n in shape)
        part, dtype = select(shape, index).shape, str(rng.choice(list(DTYPES)))
        order, gaps = rng.permutation(len(part)), rng.integers(1, 4, len(part))
        frame = memory(tuple(int(part[a] * gaps[a]) for a in order), dtype)
        out = frame.permute(np.argsort(order).tolist())[tuple(slice(None, None, g) for g in gaps)]
        law = LAWS[rng.integers(len(LAWS))]
        before = raw(frame).copy()
        seen += check(law, shape, index, dtype, out, int(rng.choice([256, 1024])))
        assert np.count_nonzero(raw(frame) != before) <= out.numel(), "wrote outside the view"
    return seen


def entry(rng: np.random.Generator, size: int) -> Any:
    """An index of one axis: a slice, an integer, a list, or what a strided shard takes."""
    match rng.integers(6):
        case 0:
            return int(rng.integers(size))
        case 1:
            return rng.integers(0, size, rng.integers(0, 7))
        case 2:
            return (
                np.arange(size).reshape(-1, size // 2 or 1)[::2].reshape(-1)
                if size % 2 == 0
                else []
            )
        case 3:
            return slice(None, None, int(rng.choice([-3, -1, 2])))
        case 4:
            return slice(*sorted(rng.integers(0, size + 1, 2).tolist()))
    return slice(None)


CHECKS = {f.__name__: f for f in (known_answers, every_octave, roundings, runs, any_memory)}

if __name__ == "__main__":
    assert triton.knobs.runtime.interpret, "set TRITON_INTERPRET=1"
    if sys.argv[1] == "random_elements":
        print(sum(random_elements(LAWS[int(n)], d) for n in sys.argv[2:] for d in DTYPES))
    else:
        print(CHECKS[sys.argv[1]]())
