"""Mirrored and centred orthogonal matrices, against their definitions."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from isometry.errors import ArgumentError
from isometry.stream import sample
from isometry.types import Axes, Block, CenteredOrthogonal, Law, MirroredOrthogonal, law_from_dict

Matrix = np.ndarray[Any, np.dtype[np.float64]]
ROUNDED = 1e-6  # n entries of size 1/n, each rounded by 2^-24


def draw(law: Law, shape: tuple[int, ...], **more: Any) -> Matrix:
    return sample(law, shape, seed=0, name="w", **more).astype(np.float64)


def check_orthogonal(matrix: Matrix) -> None:
    rows, columns = matrix.shape
    square = matrix @ matrix.T if rows <= columns else matrix.T @ matrix
    np.testing.assert_allclose(square, np.eye(min(rows, columns)), atol=ROUNDED)


SIZES = [(8, 8), (9, 7), (7, 9), (100, 64), (3, 2), (2, 3), (99, 100)]


@pytest.mark.parametrize("shape", SIZES)
def test_pairs_on_both_sides(shape: tuple[int, int]) -> None:
    rows, columns = shape
    reads, writes = columns // 2, rows // 2
    w = draw(MirroredOrthogonal(reads=reads, writes=writes), shape)
    upper, lower = w[: rows - writes], w[rows - writes :]
    np.testing.assert_array_equal(lower, -upper[:writes])
    np.testing.assert_array_equal(w[:, columns - reads :], -w[:, :reads])
    assert not w[:, reads : columns - reads].any()
    check_orthogonal(upper[:, :reads])


@pytest.mark.parametrize("shape", SIZES)
def test_pairs_on_one_side(shape: tuple[int, int]) -> None:
    rows, columns = shape
    first = draw(MirroredOrthogonal(writes=rows // 2), shape)
    check_orthogonal(first[: rows - rows // 2])
    np.testing.assert_array_equal(first[rows - rows // 2 :], -first[: rows // 2])
    last = draw(MirroredOrthogonal(reads=columns // 2), shape)
    check_orthogonal(last[:, : columns // 2])
    np.testing.assert_array_equal(last[:, columns - columns // 2 :], -last[:, : columns // 2])


def test_an_odd_function_of_pairs_is_passed_on_whatever_it_is() -> None:
    """[W, -W] of f([a; -a]) is W (f(a) - f(-a)), and of f = relu it is W a."""
    first = draw(MirroredOrthogonal(writes=32), (64, 32))
    second = draw(MirroredOrthogonal(reads=32), (32, 64))
    x = np.random.default_rng(0).standard_normal((32, 500))
    out = second @ np.maximum(first @ x, 0.0)
    np.testing.assert_allclose((out**2).sum(0), (x**2).sum(0), rtol=1e-5)


@pytest.mark.parametrize("shape", [(8, 8), (10, 64), (64, 10), (5, 2), (4, 1)])
def test_centred_matrices_do_not_see_the_mean(shape: tuple[int, int]) -> None:
    w = draw(CenteredOrthogonal(), shape)
    np.testing.assert_allclose(w.sum(1), 0.0, atol=ROUNDED * shape[1])
    kept = np.linalg.svd(w, compute_uv=False)[: min(shape[0], shape[1] - 1)]
    np.testing.assert_allclose(kept, 1.0, atol=ROUNDED)


@pytest.mark.parametrize("shape", [(8, 8), (10, 64), (64, 10), (5, 2), (2, 2), (3, 1), (1, 3)])
def test_centred_on_both_sides(shape: tuple[int, int]) -> None:
    w = draw(CenteredOrthogonal(writes=True), shape)
    np.testing.assert_allclose(w.sum(0), 0.0, atol=ROUNDED * shape[0])
    np.testing.assert_allclose(w.sum(1), 0.0, atol=ROUNDED * shape[1])
    kept = np.linalg.svd(w, compute_uv=False)[: min(shape) - 1]
    np.testing.assert_allclose(kept, 1.0, atol=ROUNDED)
    first = draw(CenteredOrthogonal(reads=False, writes=True), shape)
    np.testing.assert_allclose(first.sum(0), 0.0, atol=ROUNDED * shape[0])
    kept = np.linalg.svd(first, compute_uv=False)[: min(shape[0] - 1, shape[1])]
    np.testing.assert_allclose(kept, 1.0, atol=ROUNDED)


@pytest.mark.parametrize(
    "law",
    [MirroredOrthogonal(reads=3, writes=2, delta=True), CenteredOrthogonal(delta=True)],
    ids=str,
)
def test_a_kernel_has_it_at_its_centre(law: Law) -> None:
    w = draw(law, (5, 7, 3, 3))
    centre = w[:, :, 1, 1].copy()
    w[:, :, 1, 1] = 0.0
    assert not w.any()
    if isinstance(law, MirroredOrthogonal):
        check_orthogonal(centre[:3, :3])
    else:
        check_orthogonal(centre)


def test_a_whole_kernel_may_be_mirrored() -> None:
    w = draw(MirroredOrthogonal(reads=2, writes=3), (6, 4, 2, 2))
    check_orthogonal(w[:3, :2].reshape(3, -1))
    np.testing.assert_array_equal(w[3:], -w[:3])
    np.testing.assert_array_equal(w[:, 2:], -w[:, :2])


@pytest.mark.parametrize(
    ("law", "shape"),
    [(MirroredOrthogonal(2.0, reads=3, writes=4), (9, 7)),
     (CenteredOrthogonal(2.0), (9, 7)),
     (CenteredOrthogonal(2.0, writes=True), (9, 7)),
     (MirroredOrthogonal(reads=3, writes=4, delta=True), (9, 7, 3)),
     (MirroredOrthogonal(reads=3, writes=4), (9, 7, 3)),
     (CenteredOrthogonal(delta=True), (9, 7, 3))],
    ids=str,
)  # fmt: skip
def test_a_part_is_a_part_of_the_whole(law: Law, shape: tuple[int, ...]) -> None:
    whole = draw(law, shape)
    rng = np.random.default_rng(1)
    for _ in range(20):
        index = tuple(np.flatnonzero(rng.random(n) < 0.5) for n in shape)
        part = draw(law, shape, index=index)
        np.testing.assert_array_equal(part, whole[np.ix_(*index)])


def test_experts_are_mirrored_one_by_one() -> None:
    axes = Axes(in_axis=(2,), out_axis=(1,), batch_axis=(0,))
    w = draw(MirroredOrthogonal(reads=4, writes=3), (5, 6, 8), axes=axes)
    for each in w:
        check_orthogonal(each[:3, :4])
    assert len({each.tobytes() for each in w}) == 5


def test_a_block_is_mirrored_within_itself() -> None:
    block = Block("b", 1, 8, 16, MirroredOrthogonal(reads=4))
    w = draw(
        MirroredOrthogonal(reads=4),
        (4, 16),
        blocks=(Block("a", 1, 0, 8, MirroredOrthogonal(reads=4)), block),
    )
    np.testing.assert_array_equal(w[:, 12:], -w[:, 8:12])
    check_orthogonal(w[:, 8:12])


@pytest.mark.parametrize("law", [MirroredOrthogonal(reads=5), MirroredOrthogonal(writes=-1)])
def test_more_pairs_than_units(law: Law) -> None:
    with pytest.raises(ArgumentError, match="pairs of the 8 units"):
        draw(law, (8, 8))


def test_a_plan_keeps_them() -> None:
    for law in (
        MirroredOrthogonal(1.5, 8, reads=3, writes=4, delta=True),
        CenteredOrthogonal(2.0, 9),
    ):
        assert law_from_dict(law.to_dict()) == law
