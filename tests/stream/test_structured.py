"""Laws of whole matrices, against their definitions and against torch's."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from scipy import stats

from isometry.errors import ArgumentError
from isometry.stream import sample, words
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


def test_orthogonal_is_the_positive_factor_of_the_exact_normals() -> None:
    for shape in [(40, 40), (40, 25), (25, 40), (520, 300)]:
        a = draw(Normal(), shape)
        q = draw(Orthogonal(1.0), shape)
        tall, factor = (a.T, q.T) if shape[0] < shape[1] else (a, q)
        r = factor.T @ tall
        np.testing.assert_allclose(np.tril(r, -1), 0, atol=1e-5)
        assert (np.diagonal(r) > 0).all()


def test_orthogonal_is_haar() -> None:
    """The sign of a column is fair, the trace has variance 1, an entry is Beta-distributed."""
    n, many = 6, 4000
    q = draw(Orthogonal(1.0), (many, n, n), axes=Axes((2,), (1,), (0,)))
    trace = np.trace(q, axis1=1, axis2=2)
    assert abs(trace.mean()) < 4 / math.sqrt(many)
    assert abs(trace.var() - 1) < 4 * math.sqrt(2 / many)
    positive = np.count_nonzero(np.linalg.det(q) > 0)
    assert abs(positive - many / 2) < 4 * math.sqrt(many / 4)
    law = stats.beta(1 / 2, (n - 1) / 2)
    for i, j in [(0, 0), (n - 1, n - 1), (2, 4)]:
        assert stats.kstest(q[:, i, j] ** 2, law.cdf).pvalue > 1e-4
        assert abs(np.mean(np.sign(q[:, i, j]))) < 4 / math.sqrt(many)


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
