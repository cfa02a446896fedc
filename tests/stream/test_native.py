"""The compiled kernel against the NumPy reference: every law, dtype, part, stride and thread count."""

from __future__ import annotations

import ctypes
import runpy
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from isometry.stream import _kernel, quantile, sample, words, write
from isometry.stream._native import CODES, kernels
from isometry.stream.backend import backend
from isometry.stream.draws import draw_of
from isometry.stream.index import select
from isometry.stream.rounding import DTYPES, store
from isometry.torch.fill import fill_
from isometry.types import Law, Normal, TruncatedNormal, Uniform

from .strategies import ANY_SHAPE, big, cases, entries

ROOT = Path(__file__).parents[2]
ELEMENTWISE = [law for law in ANY_SHAPE if law.random]


def both(law: Law, shape: tuple[int, ...], **more: Any) -> None:
    """Assert that the kernel in use and NumPy give the same bits."""
    found = sample(law, shape, seed=5, name="w", **more)
    expected = sample(law, shape, seed=5, name="w", backend="numpy", **more)
    np.testing.assert_array_equal(bits(found), bits(expected))


def bits(values: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    return values.view(f"u{values.itemsize}")


@pytest.mark.usefixtures("isa")
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("law", ELEMENTWISE, ids=str)
def test_a_tensor_of_several_chunks(law: Law, dtype: str) -> None:
    both(law, (3, 7001), dtype=dtype)
    both(law, (70_001,), dtype=dtype, index=slice(1, None))


@pytest.mark.usefixtures("isa")
def test_any_first_element_and_length() -> None:
    whole = sample(Normal(), (700,), seed=5, name="w", backend="numpy")
    raw = words(5, "w", 0, 700)
    for start in (0, 1, 2, 3, 4, 5, 127, 128, 255):
        for count in (0, 1, 2, 3, 4, 31, 32, 33, 63, 64, 65, 127, 128, 129, 257):
            part = sample(Normal(), (700,), seed=5, name="w", index=slice(start, start + count))
            np.testing.assert_array_equal(part, whole[start : start + count])
            np.testing.assert_array_equal(
                words(5, "w", start, start + count), raw[start : start + count]
            )


@pytest.mark.usefixtures("isa")
@pytest.mark.parametrize("block", [2**32, 2**33, 2**59])
def test_across_a_carry_of_the_counter(block: int) -> None:
    for before in (1, 130, 3000):
        start = 4 * block - before
        shape = (2**62,)
        both(Normal(), shape, index=slice(start, min(start + 2 * before, 2**62)))
        both(Normal(), shape, index=slice(start, min(start + 2 * before, 2**62), 3))


@settings(max_examples=300, deadline=None, derandomize=True)
@given(cases(), st.integers(1, 8))
def test_any_part_in_any_strides(case: Any, threads: int) -> None:
    law, shape, index, dtype, axes, blocks = case
    known: Any = {
        "seed": 3,
        "name": "w",
        "axes": axes,
        "blocks": blocks,
        "dtype": dtype,
        "index": index,
    }
    expected = sample(law, shape, backend="numpy", **known)
    np.testing.assert_array_equal(
        bits(sample(law, shape, threads=threads, **known)), bits(expected)
    )


@st.composite
def buffers(
    draw: st.DrawFn,
) -> tuple[Law, tuple[int, ...], tuple[Any, ...], str, np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """A part of a tensor, its dtype, and memory for it: any axis order, gaps, reversed, misaligned."""
    dtype = draw(st.sampled_from(list(DTYPES)))
    storage = DTYPES[dtype].storage
    shape = tuple(
        draw(
            st.lists(st.sampled_from([0, 1, 2, 3, 5, 17, 64, 200]), min_size=1, max_size=4).filter(
                lambda s: int(np.prod(s)) <= 80_000
            )
        )
    )
    index = tuple(draw(entries(n)) if n < 60 else draw(big(n)) for n in shape)
    part = select(shape, index).shape
    order = draw(st.permutations(range(len(part))))
    gaps = [draw(st.integers(1, 3)) for _ in part]
    lengths = [part[a] * gaps[a] for a in order]
    shift = draw(st.integers(0, storage.itemsize - 1))
    memory = np.full(int(np.prod(lengths)) * storage.itemsize + shift, 0xA5, dtype=np.uint8)
    frame = memory[shift:].view(storage).reshape(lengths)
    view = frame.transpose(np.argsort(order))
    steps = tuple(slice(None, None, g if draw(st.booleans()) else -g) for g in gaps)
    return draw(st.sampled_from(ELEMENTWISE)), shape, index, dtype, view[(*steps, ...)], frame


@settings(max_examples=400, deadline=None, derandomize=True)
@given(buffers(), st.integers(1, 8))
def test_any_memory(case: Any, threads: int) -> None:
    law, shape, index, dtype, out, frame = case
    poison = bits(frame).ravel()[:1].copy()
    write(out, law, shape, seed=1, name="w", dtype=dtype, index=index, threads=threads)
    expected = sample(law, shape, seed=1, name="w", dtype=dtype, index=index, backend="numpy")
    np.testing.assert_array_equal(
        bits(np.ascontiguousarray(out)), bits(np.ascontiguousarray(expected))
    )
    untouched = np.count_nonzero(bits(frame) == poison) if frame.size else 0
    assert untouched >= frame.size - out.size


@pytest.mark.parametrize("threads", [1, 2, 5])
def test_large_parts_in_every_way(threads: int) -> None:
    """Direct, transposed, scattered and picked, each on several threads."""
    shape = (310, 40, 5, 7)
    expected = sample(Normal(), shape, seed=0, name="w", backend="numpy")
    layouts = [(0, 1, 2, 3), (0, 2, 3, 1), (3, 2, 1, 0), (1, 0, 2, 3)]
    for order in layouts:
        memory = np.zeros([shape[a] for a in order], dtype=np.float32)
        view = memory.transpose(np.argsort(order))
        write(view, Normal(), shape, seed=0, name="w", dtype="float32", threads=threads)
        np.testing.assert_array_equal(view, expected)
    some = (slice(None, None, 2), slice(None), slice(None), [6, 0, 3])
    part = sample(Normal(), shape, seed=0, name="w", index=some, threads=threads)
    np.testing.assert_array_equal(part, expected[::2][..., [6, 0, 3]])


@pytest.mark.usefixtures("isa")
@pytest.mark.parametrize("threads", range(1, 9))
def test_any_number_of_threads(threads: int) -> None:
    w = np.zeros((600, 700), dtype=np.float32)
    expected = sample(Normal(), w.shape, seed=0, name="w", backend="numpy")
    write(w, Normal(), w.shape, seed=0, name="w", dtype="float32", threads=threads)
    np.testing.assert_array_equal(w, expected)
    t = np.zeros((700, 600), dtype=np.float32).T
    write(t, Normal(), w.shape, seed=0, name="w", dtype="float32", threads=threads)
    np.testing.assert_array_equal(t, expected)


@pytest.mark.parametrize("kernel", kernels)
def test_given_words(kernel: str) -> None:
    """The quantile and the rounding alone, on tails and on the edges of every segment."""
    edges = np.array(
        [o + d for k in range(31) for o in (2**k, 3 * 2 ** max(k - 1, 0)) for d in range(-3, 4)]
    )
    low = np.arange(200_000)
    top = 2**31 - 1 - np.arange(3000)
    v = np.unique(np.concatenate((edges, low, top)).clip(0, 2**31 - 1)).astype(np.uint32)
    every = np.concatenate((v, v | np.uint32(2**31)))
    for dtype, form in DTYPES.items():
        out = np.zeros(every.size, dtype=form.storage)
        _kernel.map(kernel, every, (0, 2.0**-27, 0.0, 0), CODES[dtype], out)
        expected = np.zeros_like(out)
        store(quantile(every), dtype, expected)
        np.testing.assert_array_equal(bits(out), bits(expected))


@pytest.mark.parametrize("kernel", kernels)
@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float8_e4m3fn", "float8_e5m2"])
def test_rounding_near_every_step(kernel: str, dtype: str) -> None:
    """Uniforms of many scales reach subnormals, ties and saturation of the narrow dtypes."""
    every = np.random.default_rng(0).integers(0, 2**32, 40_000, dtype=np.uint32)
    for power in range(-60, 40, 3):
        scale = np.float32(2.0 ** (power - 31))
        if dtype == "float16" and power > 15:
            continue  # refused: it would overflow
        values = (every | np.uint32(1)).view(np.int32).astype(np.float32) * scale
        expected = np.zeros(every.size, dtype=DTYPES[dtype].storage)
        store(values, dtype, expected)
        out = np.zeros_like(expected)
        _kernel.map(kernel, every, (1, float(scale), 0.0, 0), CODES[dtype], out)
        np.testing.assert_array_equal(bits(out), bits(expected))


ROUNDING = {"down": 0x400, "up": 0x800, "toward zero": 0xC00}  # of fesetround on x86


@contextmanager
def rounding(mode: int) -> Iterator[ctypes.CDLL]:
    libm = ctypes.CDLL("libm.so.6")
    try:
        assert libm.fesetround(mode) == 0
        yield libm
    finally:
        libm.fesetround(0)


@pytest.mark.usefixtures("isa")
@pytest.mark.parametrize("mode", ROUNDING)
@pytest.mark.parametrize(
    "law",
    [Normal(0.0213), Normal(0.02, mean=0.7), Uniform(0.0313), TruncatedNormal(0.0217)],
    ids=str,
)
def test_a_caller_with_another_rounding_mode(law: Law, mode: str) -> None:
    expected = sample(law, (3000,), seed=0, name="w")
    tensor = torch.zeros(300_000)
    big_one = fill_(torch.zeros(300_000), law, seed=0, name="w")
    draw_of.cache_clear()
    with rounding(ROUNDING[mode]) as libm:
        found = sample(law, (3000,), seed=0, name="w")
        fill_(tensor, law, seed=0, name="w")
        assert libm.fegetround() == ROUNDING[mode]
        one, tiny = np.float32(1.0), np.float32(2.0**-30)
        assert (one + tiny == one) == (mode != "up")  # the caller's mode is in force again
    np.testing.assert_array_equal(found, expected)
    assert torch.equal(tensor, big_one)


@pytest.mark.parametrize("dtype", ["float16", "float32", "float8_e4m3fn"])
def test_a_caller_that_flushes_to_zero(dtype: str) -> None:
    law = Normal(2.0**-16)  # float16 holds it in subnormals
    expected = bits(sample(law, (5000,), seed=0, name="w", dtype=dtype))
    assert torch.set_flush_denormal(True)
    try:
        found = bits(sample(law, (5000,), seed=0, name="w", dtype=dtype))
        small = torch.tensor(1e-39)
        assert float(small * 1.0) == 0.0  # still flushing
    finally:
        torch.set_flush_denormal(False)
    np.testing.assert_array_equal(found, expected)
    assert np.count_nonzero(expected) > 0 or dtype == "float8_e4m3fn"


def test_the_kernels_table_is_the_reference_s() -> None:
    tool = runpy.run_path(str(ROOT / "tools" / "kernel_table.py"))
    assert tool["HEADER"].read_text(encoding="utf-8") == tool["text"]()


def test_the_backend_in_use_is_the_kernel() -> None:
    assert backend().kernel == kernels[0]
    assert backend("numpy").kernel is None
    assert "portable" in kernels


def test_what_the_kernel_refuses() -> None:
    out = np.zeros(4, dtype=np.float32)
    key, how = (0, 0, 0, 0), (0, 1.0, 0.0, 0)
    good: list[Any] = ["portable", key, how, 0, 0, [(1, None)], out, 1]
    bad = [
        (0, "avx1024", "cannot run the kernel avx1024"),
        (2, (2, 1.0, 0.0, 0), "no such law"),
        (2, (0, 1.0, 0.0, 2**31), "no such law"),
        (3, 6, "not one of the six"),
        (3, 1, "items or axes"),
        (5, [], "items or axes"),
        (5, [(1, None), (1, None)], "items or axes"),
        (5, [(0, np.zeros(3, dtype=np.int64))], "another number of positions"),
        (5, [(0, np.zeros(8, dtype=np.int32))], "another item size"),
    ]
    for place, value, message in bad:
        with pytest.raises(ValueError, match=message):
            _kernel.fill(*(value if i == place else x for i, x in enumerate(good)))
    frozen = np.zeros(4, dtype=np.float32)
    frozen.flags.writeable = False
    with pytest.raises((ValueError, BufferError), match="read-only"):
        _kernel.fill(*(frozen if i == 6 else x for i, x in enumerate(good)))
    assert not out.any()
    _kernel.fill(*good)
    assert out.all()
