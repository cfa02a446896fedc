"""A narrower dtype is the float32 value, rounded to nearest even, once; ml_dtypes is the oracle."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import ml_dtypes
import numpy as np
import pytest

from isometry.stream import sample, write
from isometry.stream.rounding import DTYPES, bfloat16_bits, float8_bits, store
from isometry.types import Constant, Law, Normal, TruncatedNormal, Uniform

FLOAT8 = {
    "float8_e4m3fn": (ml_dtypes.float8_e4m3fn, 448.0),
    "float8_e5m2": (ml_dtypes.float8_e5m2, 57344.0),
}
LAWS: list[Law] = [
    Normal(0.02),
    Normal(2.0**-12),
    Normal(80.0, mean=3.0),
    Uniform(1e-3),
    TruncatedNormal(0.5),
    Constant(1 / 3),
]


def floats() -> np.ndarray[Any, np.dtype[np.float32]]:
    """Finite float32s: every sign, exponent and top 14 bits, with tails that tie and nearly tie."""
    top = np.arange(2**16, dtype=np.uint32) << np.uint32(16)
    tails = [0, 1, 0x7FFF, 0x8000, 0x8001, 0xFFFF]
    every = np.concatenate([top | np.uint32(tail) for tail in tails]).view(np.float32)
    return every[np.isfinite(every)]


def test_bfloat16_bits() -> None:
    x = floats()
    expected = x.astype(ml_dtypes.bfloat16).view(np.uint16)
    np.testing.assert_array_equal(bfloat16_bits(x), expected)


@pytest.mark.parametrize("name", FLOAT8)
def test_float8_bits_and_saturation(name: str) -> None:
    x = floats()
    kind, most = FLOAT8[name]
    out = np.empty(x.shape, dtype=np.uint8)
    store(x, name, out)
    expected = np.clip(x, -most, most).astype(kind).view(np.uint8)
    np.testing.assert_array_equal(out, expected)
    assert np.isfinite(out.view(kind).astype(np.float32)).all()


def test_float8_bits_has_no_opinion_on_shape() -> None:
    x = np.asfortranarray(np.ones((3, 4), dtype=np.float32))
    assert float8_bits(x, mantissa=3, smallest=-6, largest=0x7E).shape == (3, 4)


@pytest.mark.parametrize("law", LAWS, ids=str)
def test_every_dtype_is_the_float32_rounded(law: Law) -> None:
    known: Any = {"seed": 4, "name": "w"}
    wide = sample(law, (257, 33), **known)
    assert wide.dtype == np.float32
    double = sample(law, (257, 33), dtype="float64", **known)
    np.testing.assert_array_equal(double, wide.astype(np.float64))
    with np.errstate(under="ignore"):
        half = wide.astype(np.float16)
    np.testing.assert_array_equal(sample(law, (257, 33), dtype="float16", **known), half)
    brain = sample(law, (257, 33), dtype="bfloat16", **known)
    assert brain.dtype == ml_dtypes.bfloat16
    np.testing.assert_array_equal(
        brain.view(np.uint16), wide.astype(ml_dtypes.bfloat16).view(np.uint16)
    )
    for name, (kind, most) in FLOAT8.items():
        small = sample(law, (257, 33), dtype=name, **known)
        assert small.dtype == kind
        expected = np.clip(wide, -most, most).astype(kind)
        np.testing.assert_array_equal(small.view(np.uint8), expected.view(np.uint8))


def test_a_dtype_by_any_of_its_names() -> None:
    known: Any = {"seed": 0, "name": "w"}
    for dtype in (np.float16, np.dtype("float16"), "float16"):
        assert sample(Normal(), (3,), dtype=dtype, **known).dtype == np.float16
    assert sample(Normal(), (3,), dtype=ml_dtypes.bfloat16, **known).dtype == ml_dtypes.bfloat16


def test_small_values_underflow_quietly_whatever_numpy_is_told() -> None:
    out = np.ones(1000, dtype=np.float16)
    with np.errstate(all="raise"):
        write(out, Normal(1e-9), (1000,), seed=0, name="w", dtype="float16")
        sample(Normal(1e-20, mean=0.5), (1000,), seed=0, name="w", dtype="bfloat16")
    assert not out.any()


def test_without_ml_dtypes_write_works_and_sample_says_what_to_type() -> None:
    program = """
import sys
sys.modules["ml_dtypes"] = None
import numpy as np
from isometry.errors import BackendError
from isometry.stream import sample, write
from isometry.types import Normal
for dtype, bits in (("bfloat16", "u2"), ("float8_e4m3fn", "u1"), ("float8_e5m2", "u1")):
    out = np.zeros(64, dtype=bits)
    write(out, Normal(), (64,), seed=0, name="w", dtype=dtype)
    assert out.all()
    try:
        sample(Normal(), (64,), seed=0, name="w", dtype=dtype)
    except BackendError as error:
        print(error)
"""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", program], capture_output=True, text=True, check=True
    )
    assert done.stdout.count("run: pip install ml_dtypes") == 3


def test_the_table_of_dtypes() -> None:
    assert {n: f.storage.itemsize for n, f in DTYPES.items()} == {
        "float32": 4,
        "float64": 8,
        "float16": 2,
        "bfloat16": 2,
        "float8_e4m3fn": 1,
        "float8_e5m2": 1,
    }
