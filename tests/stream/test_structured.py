"""Laws of whole matrices, against their definitions and against torch's."""

from __future__ import annotations

import math
import tracemalloc
from typing import Any

import numpy as np
import pytest
import torch
from scipy import stats

from isometry.errors import ArgumentError
from isometry.stream import sample, words
from isometry.stream.haar import haar
from isometry.stream.haar_box import TOGETHER
from isometry.types import Axes, DeltaOrthogonal, Dirac, Identity, Law, Normal, Orthogonal, Sparse

CONV_TRANSPOSE = Axes(in_axis=(0,), out_axis=(1,))


def draw(law: Law, shape: tuple[int, ...], **more: Any) -> np.ndarray[Any, np.dtype[np.float64]]:
    return sample(law, shape, seed=0, name="w", **more).astype(np.float64)


def check_orthogonal(matrix: np.ndarray[Any, Any], gain: float = 1.0) -> None:
    rows, columns = matrix.shape
    square = matrix @ matrix.T if rows <= columns else matrix.T @ matrix
    # Each of n products rounds to float32 (2^-24 relative): n entries of size 1/n add up to 2^-24.
    np.testing.assert_allclose(square / gain**2, np.eye(min(rows, columns)), atol=1e-6)


@pytest.mark.parametrize("shape", [(8, 8), (3, 100), (100, 3), (16, 4, 3, 3), (2, 1), (1, 1), (300, 257), (600, 600)])  # fmt: skip
@pytest.mark.parametrize("gain", [1.0, math.sqrt(2)])
def test_orthogonal(shape: tuple[int, ...], gain: float) -> None:
    check_orthogonal(draw(Orthogonal(gain), shape).reshape(shape[0], -1), gain)


def reflected(a: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """The specification's Q, one reflection at a time."""
    rows, columns = a.shape
    if rows < columns:
        return reflected(a.T).T
    q = np.eye(rows, columns)
    for k in reversed(range(columns)):
        v = a[k:, k].copy()
        sign = math.copysign(1.0, v[0])
        v[0] += sign * math.sqrt(v @ v)
        q[k, k] = -sign
        q[k:, k:] -= np.outer(v, 2 / (v @ v) * (v @ q[k:, k:]))
    return q


@pytest.mark.parametrize("shape", [(1, 1), (1, 9), (9, 1), (40, 40), (64, 65), (3000, 10), (300, 257), (257, 300), (520, 300), (600, 600)])  # fmt: skip
def test_orthogonal_is_a_product_of_reflections(shape: tuple[int, int]) -> None:
    a = draw(Normal(), shape)
    q = reflected(a)
    # A reflection keeps lengths, and its two sums of up to m products err by about sqrt(m) 2^-53
    # each: n of them, on either side, leave a column, and so an element, off by at most
    error = 4 * min(shape) * math.sqrt(max(shape)) * 2**-53
    np.testing.assert_allclose(haar(a), q, rtol=0, atol=error)
    # float32 rounds by half of 2^-23 at most.
    np.testing.assert_allclose(draw(Orthogonal(1.7), shape), 1.7 * q, rtol=2**-24, atol=2 * error)


@pytest.mark.parametrize(("panel", "leaf", "strip"), [(1, 1, 1), (20, 2, 2**10), (16, 7, 2**19)])
@pytest.mark.parametrize("shape", [(200, 163), (163, 200), (160, 160)])
def test_however_reflections_are_grouped_their_product_is_the_same(
    shape: tuple[int, int], panel: int, leaf: int, strip: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    a = draw(Normal(), shape)
    whole = haar(a)
    for name, value in {"PANEL": panel, "LEAF": leaf, "STRIP": strip}.items():
        monkeypatch.setattr(f"isometry.stream.haar.{name}", value)
    error = 4 * min(shape) * math.sqrt(max(shape)) * 2**-53  # as above
    np.testing.assert_allclose(haar(a), whole, rtol=0, atol=error)


@pytest.mark.parametrize("shape", [(6, 6), (6, 3), (3, 6)])
def test_orthogonal_is_haar(shape: tuple[int, int]) -> None:
    """u^T Q w, u and w of length 1, is an element of a uniform direction: its square is Beta."""
    n, many = max(shape), 20_000
    q = draw(Orthogonal(1.0), (many, *shape), axes=Axes((2,), (1,), (0,)))
    law = stats.beta(1 / 2, (n - 1) / 2)
    rng = np.random.default_rng(0)
    slanted = [[v / np.linalg.norm(v) for v in map(rng.standard_normal, shape)] for _ in range(5)]
    straight = [(u, w) for u in np.eye(shape[0]) for w in np.eye(shape[1])]
    for u, w in [*slanted, *straight]:
        seen = np.einsum("i,aij,j->a", u, q, w)
        assert stats.kstest(seen**2, law.cdf).pvalue > 1e-4
        assert abs(np.mean(np.sign(seen))) < 4 / math.sqrt(many)


def test_the_eigenvalues_of_an_orthogonal_matrix_are_haars() -> None:
    """E tr Q^j is 1 for even j and 0 for odd, E (tr Q)^2 is 1, and either determinant is as likely."""
    n, many = 6, 20_000
    q = draw(Orthogonal(1.0), (many, n, n), axes=Axes((2,), (1,), (0,)))
    trace = [np.trace(np.linalg.matrix_power(q, j), axis1=1, axis2=2) for j in range(1, 5)]
    expected = [*zip(trace, (0, 1, 0, 1), strict=True), (trace[0] ** 2, 1), (np.linalg.det(q), 0)]
    for values, mean in expected:
        assert abs(values.mean() - mean) < 4 * values.std() / math.sqrt(many)


@pytest.mark.parametrize("shape", [(4, 4), (7, 1), (1, 7), (30, 20), (70, 65), (20, 300)])
def test_a_matrix_does_not_depend_on_its_batch(shape: tuple[int, int]) -> None:
    many, axes = 2 * TOGETHER // math.prod(shape) + 1, Axes((2,), (1,), (0,))
    whole = draw(Orthogonal(1.0), (many, *shape), axes=axes)
    for i in (0, 1, many // 2, many - 1):
        one = draw(Orthogonal(1.0), (many, *shape), axes=axes, index=i)
        np.testing.assert_array_equal(one, whole[i])


def test_orthogonal_takes_three_float64_copies_of_a_matrix_at_most() -> None:
    side = 1000
    draw(Orthogonal(1.0), (2, 2))
    tracemalloc.start()
    values = sample(Orthogonal(1.0), (side, side), seed=0, name="w")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak - values.nbytes < 3 * 8 * side**2


def test_each_matrix_of_a_batch_is_orthogonal_and_its_own() -> None:
    experts = draw(Orthogonal(2.0), (3, 5, 7), axes=Axes((1,), (2,), (0,)))
    for expert in experts:
        check_orthogonal(expert.T, 2.0)
    assert not np.allclose(experts[0], experts[1])


def test_axes_say_which_matrix_is_meant() -> None:
    w = draw(Orthogonal(1.0), (6, 4, 3, 3), axes=CONV_TRANSPOSE)
    check_orthogonal(w.transpose(1, 0, 2, 3).reshape(4, -1))
    # A square matrix and its transpose start from the same normals, read the other way.
    check_orthogonal(draw(Orthogonal(1.0), (9, 9), axes=CONV_TRANSPOSE).T)


@pytest.mark.parametrize("shape", [(8, 8, 3, 3), (16, 8, 5), (4, 8, 2, 4, 3), (6, 6)])
def test_delta_orthogonal(shape: tuple[int, ...]) -> None:
    w = draw(DeltaOrthogonal(0.5), shape)
    centre = tuple(k // 2 for k in shape[2:])
    check_orthogonal(w[(slice(None), slice(None), *centre)], 0.5)
    w[(slice(None), slice(None), *centre)] = 0
    assert not w.any()


def test_a_delta_orthogonal_convolution_keeps_the_norm() -> None:
    w = torch.from_numpy(sample(DeltaOrthogonal(1.0), (8, 8, 3, 3), seed=0, name="w"))
    x = torch.randn(4, 8, 10, 10, generator=torch.Generator().manual_seed(0))
    y = torch.nn.functional.conv2d(x, w, padding="same")
    assert abs(float(y.norm() / x.norm()) - 1) < 1e-6


@pytest.mark.parametrize("groups", [1, 2, 4])
@pytest.mark.parametrize("shape", [(8, 8, 3), (8, 3, 3, 3), (16, 5, 3, 4, 1), (4, 9, 2, 2)])
def test_dirac_is_that_of_torch(shape: tuple[int, ...], groups: int) -> None:
    expected = torch.nn.init.dirac_(torch.full(shape, 7.0), groups).numpy()
    np.testing.assert_array_equal(draw(Dirac(1.0, groups), shape), expected)
    np.testing.assert_array_equal(draw(Dirac(-0.5, groups), shape), -0.5 * expected)


def test_dirac_of_a_transposed_convolution() -> None:
    w = draw(Dirac(1.0), (3, 5, 3), axes=CONV_TRANSPOSE)
    np.testing.assert_array_equal(w.transpose(1, 0, 2), draw(Dirac(1.0), (5, 3, 3)))


@pytest.mark.parametrize("shape", [(4, 4), (3, 7), (7, 3), (0, 3)])
def test_identity(shape: tuple[int, int]) -> None:
    np.testing.assert_array_equal(draw(Identity(1.5), shape), 1.5 * np.eye(*shape))


def test_identity_of_a_batch() -> None:
    w = draw(Identity(1.0), (4, 3, 4), axes=Axes((0,), (2,), (1,)))
    for i in range(3):
        np.testing.assert_array_equal(w[:, i], np.eye(4))


@pytest.mark.parametrize("sparsity", [0.0, 0.1, 0.75, 0.9])
@pytest.mark.parametrize("shape", [(50, 40), (20, 3, 5)])
def test_sparse(shape: tuple[int, ...], sparsity: float) -> None:
    w = draw(Sparse(sparsity, 0.01), shape)
    rows = w.reshape(shape[0], -1)
    zeros = math.ceil(sparsity * rows.shape[1])
    assert ((rows == 0).sum(axis=1) == zeros).all()
    assert not np.signbit(w[w == 0]).any()
    np.testing.assert_array_equal(w[w != 0], draw(Normal(0.01), shape)[w != 0])
    marks = words(0, "w", 0, w.size, "mask").reshape(rows.shape)
    for row, mark in zip(rows, marks, strict=True):
        expected = sorted(range(mark.size), key=lambda i: (mark[i], i))[:zeros]
        assert set(np.flatnonzero(row == 0)) == set(expected)


def test_sparse_zeros_fall_evenly() -> None:
    w = draw(Sparse(0.5, 1.0), (4000, 10))
    zeros = (w == 0).sum(axis=0)
    # Without replacement: each input is hit 2000 times, variance 4000/4.
    assert np.abs(zeros - 2000).max() < 4.5 * math.sqrt(1000)
    assert abs(w[w != 0].std() - 1) < 4 / math.sqrt(2 * 20_000)


@pytest.mark.parametrize("law", [Orthogonal(1.0), DeltaOrthogonal(1.0), Sparse()], ids=str)
@pytest.mark.parametrize("shape", [(0, 3), (3, 0), (3, 4, 0), (0, 0)])
def test_nothing_of_a_matrix(law: Law, shape: tuple[int, ...]) -> None:
    assert sample(law, shape, seed=0, name="w").shape == shape


@pytest.mark.parametrize(
    ("law", "shape", "axes", "message"),
    [
        (Orthogonal(1.0), (5,), None, "a law of matrices"),
        (Sparse(), (), None, "a law of matrices"),
        (Identity(), (2, 2, 2), None, "Dirac"),
        (Dirac(), (2, 2), None, "Identity"),
        (Dirac(groups=3), (4, 4, 3), None, "positive divisor of the 4 outputs"),
        (Dirac(groups=0), (4, 4, 3), None, "positive divisor"),
        (Dirac(groups=True), (4, 4, 3), None, "positive divisor"),
        (Orthogonal(1.0), (4, 4), Axes((0,), (0,)), "distinct positions"),
        (Orthogonal(1.0), (4, 4), Axes((1,), (2,)), "distinct positions"),
        (Orthogonal(1.0), (4, 4), Axes((-1,), (0,)), "distinct positions"),
        (Orthogonal(1.0), (4, 4), Axes((), (0,)), "needs an in_axis"),
        (Identity(), (2, 2, 2), Axes((0, 1), (2,)), "plain matrices"),
    ],
)
def test_a_law_that_does_not_fit_its_shape(
    law: Law, shape: tuple[int, ...], axes: Axes | None, message: str
) -> None:
    with pytest.raises(ArgumentError, match=message):
        sample(law, shape, seed=0, name="w", axes=axes)
