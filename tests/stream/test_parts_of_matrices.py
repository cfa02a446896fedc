"""A part of a large orthogonal matrix, made alone, against the same part of the whole."""

from __future__ import annotations

import math
import subprocess
import sys
import tracemalloc
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from isometry.stream import haar_box, haar_part, sample
from isometry.stream.backend import backend
from isometry.stream.box import Box
from isometry.stream.haar import haar
from isometry.stream.haar_part import by_rows
from isometry.stream.orthogonal import orthogonal_tiles
from isometry.stream.panels import runs
from isometry.stream.structured import structured_tiles
from isometry.types import (
    Axes,
    Block,
    CenteredOrthogonal,
    Constant,
    DeltaOrthogonal,
    Hadamard,
    Law,
    MirroredOrthogonal,
    Normal,
    Orthogonal,
    Sparse,
)

from .strategies import entries, oracle

Array = np.ndarray[Any, np.dtype[Any]]

LAWS: list[Law] = [
    Orthogonal(1.4),
    DeltaOrthogonal(0.9),
    CenteredOrthogonal(0.5),
    CenteredOrthogonal(2.0, reads=False, writes=True),
    CenteredOrthogonal(writes=True, delta=True),
    MirroredOrthogonal(1.1, reads=2, writes=3),
    MirroredOrthogonal(reads=1),
    MirroredOrthogonal(writes=2, delta=True),
]


@pytest.fixture
def large(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every matrix counts as large, and is worked out a few rows or columns at a time."""
    monkeypatch.setattr(haar_box, "SMALL", 0)
    monkeypatch.setattr(haar_box, "VECTORS", 60)
    monkeypatch.setattr(haar_part, "NARROWEST", 1)
    monkeypatch.setattr(haar_part, "PANEL_ELEMENTS", 40)


def error(m: int, n: int) -> float:
    """How far apart two groupings of n reflections of length m can come, at most: see test_structured."""
    return 4 * min(m, n) * math.sqrt(max(m, n)) * 2**-53


def from_normals(a: Array) -> haar_part.Panel:
    """The panels of a matrix that exists."""

    def panel(start: int, stop: int, out: Array) -> None:
        out[...] = a[start:, start:stop]

    return panel


def ascending(size: int) -> st.SearchStrategy[Array]:
    return st.sets(st.integers(0, size - 1), min_size=1).map(lambda s: np.array(sorted(s)))


@settings(max_examples=150, deadline=None, derandomize=True)
@given(st.data(), st.integers(1, 60), st.integers(1, 60), st.integers(1, 9))
def test_rows_and_columns_of_a_haar_matrix(
    data: st.DataObject, one: int, other: int, width: int
) -> None:
    m, n = max(one, other), min(one, other)
    a = np.random.default_rng(one).standard_normal((m, n))
    rows, columns = data.draw(ascending(m)), data.draw(ascending(n))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(haar_part, "NARROWEST", width)
        patch.setattr(haar_part, "PANEL_ELEMENTS", 0)
        part = haar_part.haar_part(from_normals(a), (m, n), rows, columns)
    whole = haar(a)[np.ix_(rows, columns)]
    np.testing.assert_allclose(part, whole, rtol=0, atol=error(m, n))


@pytest.mark.parametrize("shape", [(300, 257), (520, 300), (600, 600), (3000, 10)])
def test_both_ways_give_the_same(shape: tuple[int, int]) -> None:
    m, n = shape
    a = np.random.default_rng(0).standard_normal(shape)
    whole, panel, bound = haar(a), from_normals(a), error(m, n)
    few, all_columns = np.arange(3, m, max(2, m // 9)), np.arange(n)
    assert by_rows(shape, few[:1], all_columns)
    across = np.concatenate(
        [haar_part.haar_part(panel, shape, few[i : i + 1], all_columns) for i in range(len(few))]
    )
    np.testing.assert_allclose(across, whole[few], rtol=0, atol=bound)
    few = np.arange(0, n, max(1, n // 9))
    assert not by_rows(shape, np.arange(m), few)
    along = haar_part.haar_part(panel, shape, np.arange(m), few)
    np.testing.assert_allclose(along, whole[:, few], rtol=0, atol=bound)


@pytest.mark.parametrize("side", [0, 1])
@pytest.mark.parametrize("shape", [(700, 700), (900, 500), (500, 900)])
def test_parts_put_together_are_orthogonal(side: int, shape: tuple[int, int]) -> None:
    """In float64, where they are worked out: each element off by `error`, n of them in a product."""
    m, n = max(shape), min(shape)
    a = np.random.default_rng(1).standard_normal((m, n))
    everything = [np.arange(m), np.arange(n)]
    pieces = []
    for own in np.array_split(everything[side], 5):
        sides = [own if s == side else everything[s] for s in (0, 1)]
        pieces.append(haar_part.haar_part(from_normals(a), (m, n), sides[0], sides[1]))
    q = np.concatenate(pieces, axis=side)
    # Elements of size 1/sqrt(m), m of them in a product, twice: 2 sqrt(m) times what each is off.
    np.testing.assert_allclose(q.T @ q, np.eye(n), rtol=0, atol=2 * math.sqrt(m) * error(m, n))


@settings(
    max_examples=200,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(data=st.data())
def test_any_part_of_any_law(large: None, data: st.DataObject) -> None:
    law = data.draw(st.sampled_from(LAWS))
    shape = tuple(data.draw(st.lists(st.integers(6, 11), min_size=2, max_size=2)))
    shape += tuple(data.draw(st.lists(st.integers(1, 3), max_size=2)))
    order = list(range(len(shape)))
    axes = None
    if data.draw(st.booleans()):
        order = data.draw(st.permutations(order))
        axes = Axes((order[0],), (order[1],), tuple(order[2:3]))
        shape = tuple(np.array(shape)[np.argsort(order)].tolist())
    index = tuple(data.draw(entries(n)) for n in shape)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(haar_box, "SMALL", 2**22)
        whole = sample(law, shape, seed=3, name="w", axes=axes)
    part = sample(law, shape, seed=3, name="w", axes=axes, index=index)
    check_close(part, oracle(whole, index), error(33, 33))


def check_close(part: Array, whole: Array, off: float) -> None:
    """The same to `off` before either is rounded to float32, by half of 2^-23 at most."""
    np.testing.assert_allclose(part, whole, rtol=2**-23, atol=3 * off)
    np.testing.assert_array_equal(part == 0, whole == 0)
    assert not np.signbit(part[part == 0]).any()


def test_a_block_of_a_large_tensor_is_a_matrix_of_its_own(
    large: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    gates = tuple(Block(g, 0, 20 * i, 20 * i + 20, Orthogonal(1.0)) for i, g in enumerate("ifgo"))
    known: Any = {"seed": 0, "name": "hh", "blocks": gates}
    part = sample(Constant(0.0), (80, 20), index=(slice(15, 65), slice(None, None, 3)), **known)
    monkeypatch.setattr(haar_box, "SMALL", 2**22)
    whole = sample(Constant(0.0), (80, 20), **known)
    check_close(part, whole[15:65, ::3], error(20, 20))


def test_experts_and_kernels_of_several_axes(large: None, monkeypatch: pytest.MonkeyPatch) -> None:
    axes = Axes(in_axis=(1, 4), out_axis=(0, 3), batch_axis=(2,))
    shape, index = (4, 3, 5, 6, 7, 2), (slice(1, 3), [2, 0], [4, 0, 4], ..., slice(0, 1))
    part = sample(Orthogonal(2.0), shape, seed=1, name="e", axes=axes, index=index)
    monkeypatch.setattr(haar_box, "SMALL", 2**22)
    whole = sample(Orthogonal(2.0), shape, seed=1, name="e", axes=axes, index=index)
    check_close(part, whole, error(42, 24))


def test_a_small_matrix_is_made_whole_and_cut() -> None:
    """To the bit: as many elements as are made whole at most."""
    shape = (1024, 4096)
    assert math.prod(shape) == haar_box.SMALL
    whole = sample(Orthogonal(1.0), shape, seed=0, name="w")
    for index in [(slice(0, 100), slice(None)), (slice(None), [5, 4000])]:
        part = sample(Orthogonal(1.0), shape, seed=0, name="w", index=index)
        np.testing.assert_array_equal(part, oracle(whole, index))


@pytest.mark.parametrize(
    ("shape", "index", "cut"),
    [
        ((8192, 8192), (slice(0, 1024), slice(None)), 0),
        ((8192, 8192), (slice(None), slice(1024, 2048)), 1),
        ((2048, 8192), (slice(None), slice(0, 1024)), 1),
        ((2048, 8192), (slice(0, 512), slice(None)), 0),
        ((9000, 1000), (slice(None), slice(0, 500)), 1),
        ((9000, 1000), (slice(0, 4500), slice(None)), 1),  # few columns cost less than many rows
        ((1000, 9000), (slice(None), slice(0, 4500)), 0),
        ((8192, 8192), (slice(None), slice(None)), None),
        ((1024, 4096), (slice(0, 1000), slice(None)), None),
    ],
)
def test_what_costs_less_is_made_some_at_a_time(
    shape: tuple[int, int], index: tuple[slice, slice], cut: int | None
) -> None:
    """Rows or columns, 24 MB of them in float64; what is small or asked for whole is made at once."""
    dims = [range(n)[i] for n, i in zip(shape, index, strict=True)]
    whole = tuple(range(n) for n in shape)
    box = Box(0, "w", shape, whole, Axes((1,), (0,)), backend(), 1)
    found = list(orthogonal_tiles(Orthogonal(1.0), box, dims))
    assert len(found) == 1 if cut is None else len(found) > 1
    for tile in found:
        sizes = [t.stop - t.start for t in tile]
        assert all(
            s == len(d) for axis, (s, d) in enumerate(zip(sizes, dims, strict=True)) if axis != cut
        )
        assert cut is None or sizes[cut] * max(shape) <= haar_box.VECTORS


def test_a_whole_matrix_is_made_as_one() -> None:
    """To the bit, whatever it is made by: the product of `haar`, rounded."""
    side = 2100
    assert side**2 > haar_box.SMALL
    normals = sample(Normal(), (side, side), seed=0, name="w")
    whole = sample(Orthogonal(1.0), (side, side), seed=0, name="w")
    np.testing.assert_array_equal(whole, haar(normals).astype(np.float32))


@pytest.mark.parametrize("law", [Orthogonal(1.4), CenteredOrthogonal(writes=True)], ids=str)
def test_without_the_kernel_the_same(large: None, law: Law) -> None:
    known: Any = {"seed": 5, "name": "w", "index": (slice(2, 9), [0, 7, 3])}
    for shape in [(30, 21), (21, 30)]:
        np.testing.assert_array_equal(
            sample(law, shape, backend="numpy", **known), sample(law, shape, **known)
        )


def test_parts_of_a_large_matrix_differ_from_the_whole_in_rare_last_bits() -> None:
    side = 2304
    whole = sample(Orthogonal(1.0), (side, side), seed=0, name="w")
    for index in [(slice(600, 900), slice(None)), (slice(None), slice(2000, 2304))]:
        part, cut = (
            sample(Orthogonal(1.0), (side, side), seed=0, name="w", index=index),
            whole[index],
        )
        steps = np.abs(part.view(np.int32).astype(np.int64) - cut.view(np.int32))
        # Seen apart by 1e-16 on the mean, where float32's steps are 2^-30: 1 in 10^7 is expected.
        assert (steps > 0).mean() < 1e-5
        large = np.abs(cut) > 1e-6
        assert steps[large].max() <= 1


@pytest.mark.parametrize("index", [(slice(0, 1024), slice(None)), (slice(None), slice(3072, 4096)),
                                   (slice(1024, 3072), slice(0, 2048)), (slice(None, None, -4), slice(None))])  # fmt: skip
def test_memory_beyond_a_part_is_constant(index: tuple[slice, slice]) -> None:
    sample(Orthogonal(1.0), (2, 2), seed=0, name="w")
    tracemalloc.start()
    part = sample(Orthogonal(1.0), (4096, 4096), seed=0, name="w", index=index)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert part.size == 4096 * 1024
    assert peak < 2 * part.nbytes + 2**26


@pytest.mark.parametrize(
    ("law", "shape", "index"),
    [
        (Orthogonal(1.0), (4096, 4096), (slice(0, 1100), slice(None))),
        (CenteredOrthogonal(1.0), (1448, 1448), (slice(0, 724), slice(None))),
        (CenteredOrthogonal(1.0), (1500, 1500), (slice(0, 750), slice(None))),
        (MirroredOrthogonal(reads=2000), (2100, 4096), (slice(0, 700), slice(None))),
        (Orthogonal(1.0), (9, 1000, 1000), (slice(None), slice(0, 500), slice(None))),
        (Sparse(0.9, 1.0), (3000, 2000), (slice(None), slice(None))),
        (Hadamard(), (4096, 4096), (slice(None), slice(None))),
    ],
    ids=str,
)
def test_tiles_take_no_more_than_64_MB(
    law: Law, shape: tuple[int, ...], index: tuple[slice, ...]
) -> None:
    """However large what is asked for is; put together they are it."""
    axes = Axes((len(shape) - 1,), (len(shape) - 2,), tuple(range(len(shape) - 2)))
    dims = [range(n)[i] for n, i in zip(shape, index, strict=True)]
    box = Box(0, "w", shape, tuple(map(range, shape)), axes, backend(), 1)
    whole = np.empty([len(d) for d in dims], dtype=np.float32)
    tracemalloc.start()
    for tile, values in structured_tiles(law, box, dims):
        whole[tile] = values
        del values
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2**26
    np.testing.assert_array_equal(
        whole, sample(law, shape, seed=0, name="w", axes=axes, index=index)
    )


def test_a_rank_grows_by_its_shard_and_little_more() -> None:
    """What the system says: every allocation, BLAS's own too. Whole it would be 128 MB in float64."""
    code = """
        from pathlib import Path
        from isometry.stream import sample
        from isometry.types import Orthogonal
        def most():  # ru_maxrss would begin at what pytest has
            lines = Path("/proc/self/status").read_text().splitlines()
            return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM"))
        sample(Orthogonal(1.0), (600, 600), seed=0, name="w")
        before = most()
        part = sample(Orthogonal(1.0), (4096, 4096), seed=0, name="w", index=slice(0, 1024))
        print(most() - before)
    """
    program = "\n".join(line[8:] for line in code.splitlines())
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert (
        int(done.stdout) < (8 * 1024 * 4096 + 2**26) / 1024
    )  # KiB: the shard in float64, and 64 MB


@given(st.lists(st.integers(1, 4), min_size=1, max_size=4), st.data())
def test_runs_cover_once_in_order(lengths: list[int], data: st.DataObject) -> None:
    size = math.prod(lengths)
    start = data.draw(st.integers(0, size))
    stop = data.draw(st.integers(start, size))
    numbers = np.arange(size).reshape(lengths)
    found: list[int] = []
    for offset, ranges in runs(lengths, start, stop):
        assert offset == len(found)
        found += numbers[np.ix_(*ranges)].ravel().tolist()
    assert found == list(range(start, stop))
