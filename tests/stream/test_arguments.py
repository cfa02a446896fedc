"""What is refused, in which words, and that a refused call leaves the buffer as it was."""

from __future__ import annotations

import doctest
import importlib
import pkgutil
from typing import Any

import numpy as np
import pytest

import isometry.stream
from isometry.errors import ArgumentError
from isometry.stream import sample, write
from isometry.types import Axes, Block, Keep, Normal, Orthogonal

GOOD: dict[str, Any] = {
    "law": Normal(),
    "shape": (4, 6),
    "seed": 0,
    "name": "w",
    "dtype": "float32",
}

BAD: list[tuple[dict[str, Any], str]] = [
    ({"seed": True}, r"expected an integer in \[0, 2\*\*64\)"),
    ({"seed": None}, "the seed is never drawn for you"),
    ({"seed": -1}, "write for example seed=0"),
    ({"seed": 0.0}, "expected an integer"),
    ({"name": None}, "expected text"),
    ({"shape": (4, -6)}, "non-negative integers"),
    ({"shape": (4, 6.0)}, "non-negative integers"),
    ({"shape": (4, True)}, "non-negative integers"),
    ({"shape": 24}, r"for a vector"),
    ({"shape": "46"}, "expected a tuple"),
    ({"shape": (2**40, 2**40)}, r"more than 2\*\*62"),
    ({"dtype": "int32"}, "expected one of float32"),
    ({"dtype": "f4"}, "expected one of float32"),
    ({"dtype": None}, "expected one of float32"),
    ({"dtype": 7}, "expected one of float32"),
    ({"law": Keep()}, "gives no values to draw"),
    ({"law": "normal"}, "gives no values to draw"),
    ({"law": Normal(11000.0), "dtype": "float16"}, "float16 is drawn up to"),
    ({"index": 4}, "expected -4 <= index < 4"),
    ({"index": (0, -7)}, "expected -6 <= index < 6"),
    ({"index": (0, 0, 0)}, "write at most one entry an axis"),
    ({"index": (..., ...)}, "at most one Ellipsis"),
    ({"index": None, "axes": (0, 1)}, "expected isometry.types.Axes"),
    ({"index": (None, 0)}, "expected an integer, a slice"),
    ({"index": "0"}, "expected an integer, a slice"),
    ({"index": True}, "expected an integer, a slice"),
    ({"index": 1.0}, "expected an integer, a slice"),
    ({"index": slice(None, None, 0)}, "zero"),
    ({"index": slice("a", None)}, "integers"),
    ({"index": [0, 4]}, "runs from 0 to 4"),
    ({"index": [-5]}, "runs from -5"),
    ({"index": [0.5]}, "expected an integer, a slice"),
    ({"index": np.zeros((2, 2), int)}, "expected an integer, a slice"),
    ({"index": np.zeros((4, 6), bool)}, "expected an integer, a slice"),
    ({"index": [True, False]}, "boolean index of axis 0 has 2 entries; the axis has 4"),
    ({"blocks": None}, "expected a tuple of isometry.types.Block"),
    ({"blocks": ((0, 2),)}, "expected isometry.types.Block"),
    ({"blocks": (Block("q", 0, 0.0, 2, Normal()),)}, "integer axis, start"),  # type: ignore[arg-type]
    ({"blocks": (Block("q", 2, 0, 2, Normal()),)}, r"expected one axis in \[0, 2\)"),
    ({"blocks": (Block("q", 0, 0, 2, Normal()), Block("k", 1, 0, 2, Normal()))}, "one axis"),
    ({"blocks": (Block("q", 0, 0, 5, Normal()),)}, "do not overlap"),
    ({"blocks": (Block("q", 0, 0, 3, Normal()), Block("k", 0, 2, 4, Normal()))}, "do not overlap"),
    ({"blocks": (Block("q", 0, 0, 2, Keep()),)}, "gives no values to draw"),
    ({"law": Orthogonal(1.0), "shape": (24,)}, "a law of matrices"),
    ({"law": Orthogonal(1.0), "axes": Axes((5,), (0,))}, "distinct positions"),
]


@pytest.mark.parametrize(("change", "message"), BAD, ids=lambda v: str(v)[:50])
def test_bad_arguments_are_refused_before_anything_is_written(
    change: dict[str, Any], message: str
) -> None:
    with pytest.raises(ArgumentError, match=message):
        sample(**{**GOOD, **change})
    out = np.full((4, 6), 9.0, dtype=np.float32)
    with pytest.raises(ArgumentError, match=message):
        write(out, **{**GOOD, **change})
    assert (out == 9.0).all()


def read_only() -> np.ndarray[Any, Any]:
    out = np.full((4, 6), 9.0, dtype=np.float32)
    out.flags.writeable = False
    return out


@pytest.mark.parametrize(
    ("out", "more", "message"),
    [
        (np.full((6, 4), 9.0, np.float32), {}, r"shape \(6, 4\): expected \(4, 6\)"),
        (np.full((4, 6), 9.0, np.float32), {"index": 0}, r"expected \(6,\)"),
        (np.full((4, 6), 9.0, np.float64), {}, "expected a NumPy array of float32"),
        (np.full((4, 6), 9.0, np.float32), {"dtype": "bfloat16"}, "NumPy array of uint16"),
        ([[9.0] * 6] * 4, {}, "out is list"),
        (read_only(), {}, "read-only"),
        (np.broadcast_to(np.float32(9.0), (4, 6)), {}, "read-only"),
        (np.lib.stride_tricks.as_strided(np.full(6, 9.0, np.float32), (4, 6), (0, 4)), {}, "share memory"),
    ],
)  # fmt: skip
def test_a_bad_buffer_is_refused_untouched(out: Any, more: dict[str, Any], message: str) -> None:
    with pytest.raises(ArgumentError, match=message):
        write(out, **{**GOOD, **more})
    assert (np.asarray(out) == 9.0).all()


def test_backends() -> None:
    for name in ("numpy", "native"):
        np.testing.assert_array_equal(sample(**GOOD, backend=name), sample(**GOOD))
    for bad in ("cuda", ["numpy"], 0):
        with pytest.raises(ArgumentError, match="expected None"):
            sample(**GOOD, backend=bad)


@pytest.mark.parametrize("threads", [0, -1, 1.5, True, "2"])
def test_threads_that_are_none(threads: Any) -> None:
    with pytest.raises(ArgumentError, match="expected a positive integer"):
        sample(**GOOD, threads=threads)


@pytest.mark.parametrize("shape", [(), (0,), (3, 0), (1,), [4, 6], np.array([2, 3])])
def test_shapes_of_all_kinds(shape: Any) -> None:
    x = sample(**{**GOOD, "shape": shape})
    assert isinstance(x, np.ndarray)
    assert x.shape == tuple(shape)


def test_an_index_of_integers_gives_an_array_of_no_axes() -> None:
    x = sample(**GOOD, index=(1, 2))
    assert isinstance(x, np.ndarray)
    assert x.shape == ()
    assert x == sample(**GOOD)[1, 2]


def test_arrays_on_two_axes_combine_outerly() -> None:
    whole = sample(**GOOD)
    np.testing.assert_array_equal(
        sample(**GOOD, index=([0, 3], [1, 1])), whole[np.ix_([0, 3], [1, 1])]
    )
    np.testing.assert_array_equal(sample(**GOOD, index=(..., [5])), whole[:, [5]])
    np.testing.assert_array_equal(sample(**GOOD, index=(range(3), ...)), whole[:3])
    np.testing.assert_array_equal(sample(**GOOD, index=np.int64(2)), whole[2])


def test_the_examples_run() -> None:
    tried = 0
    for found in pkgutil.iter_modules(isometry.stream.__path__, "isometry.stream."):
        result = doctest.testmod(importlib.import_module(found.name))
        assert result.failed == 0
        tried += result.attempted
    assert tried >= 15
