"""Orthogonal matrices distributed by Haar's measure, made from Gaussian ones."""

from __future__ import annotations

from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

__all__ = ["LEAF", "PANEL", "STRIP", "Floats", "haar", "reflections", "transposed", "triangle"]

PANEL = 256  # reflections applied at once, at most
LEAF = 64  # the side up to which a triangle is worked on as a square
STRIP = 2**19  # elements of a product added at once, so that it stays in the cache

Floats = NDArray[np.float64]
T = TypeVar("T", bound=np.generic)


def haar(normals: NDArray[np.floating]) -> Floats:
    """Haar-distributed orthonormal columns (rows, if they are fewer) from each matrix of N(0, 1).

    Q = H_1 H_2 ... H_n I_{m x n} D,   H_k = I - v_k v_k^T / c_k,   D = diag(-s_1, ..., -s_n),

    where x_k is column k of the normals from the diagonal down, s_k the sign of its first element,
    v_k is k - 1 zeros, then x_k + s_k |x_k| e_1, and c_k = |v_k|^2 / 2. H_k turns x_k into
    -s_k |x_k| e_k, so that column 1 of Q is x_1 / |x_1|. If m < n, Q is that of the transpose,
    transposed.

    A QR with a positive diagonal has the same law. It applies each H_k to the columns after it
    before it makes the next; but rotated normals are normals, so their law can do without, and what
    remains is 4/3 n^3 operations for a square, nearly all in matrix products: a block of reflections
    is I - V T V^T, T upper triangular (Schreiber and Van Loan, SIAM J. Sci. Stat. Comput. 10(1),
    1989). Blocks go last to first, each on the corner of Q that the later ones have filled.

    Args:
        normals: shape (..., m, n), no x_k all zero.

    Returns:
        Q, shape (..., m, n), to some n sqrt(m) 2^-53. Memory beyond it: at most twice as much, a
        quarter from n = 512 on; and 4 MB for each matrix.

    Source: G. W. Stewart, The efficient generation of random orthogonal matrices with an
    application to condition estimators, SIAM J. Numer. Anal. 17(3), 1980, section 3.
    """
    *many, rows, columns = normals.shape
    wide = rows < columns
    if wide:
        normals, rows, columns = transposed(normals), columns, rows

    def empty(height: int, width: int) -> Floats:
        """Of the normals' order in memory: copies from one order to the other are slow."""
        if wide:
            return transposed(np.empty((*many, width, height)))
        return np.empty((*many, height, width))

    width = min(PANEL, max(LEAF, columns // 8), columns)
    height = min(max(LEAF, STRIP // columns), rows)
    q, panel, strip = empty(rows, columns), empty(rows, width), empty(height, columns)
    weights = np.empty((*many, width, columns))
    for start in reversed(range(0, columns, width)):
        stop = min(columns, start + width)
        b, corner = stop - start, q[..., start:, start:]
        v = panel[..., start:, :b]
        c, signs = reflections(normals[..., start:, start:stop], v)
        minus_t = -triangle(v, c)

        # The corner starts as diag(-s, C), C being the last one. w = V^T corner, then -T w: in place,
        # since a row of T w needs none of the rows above.
        w = weights[..., :b, start:]
        np.multiply(transposed(v[..., :b, :]), -signs[..., None, :], out=w[..., :b])
        np.matmul(transposed(v[..., b:, :]), corner[..., b:, b:], out=w[..., b:])
        for i in range(0, b, LEAF):
            j = min(b, i + LEAF)
            np.matmul(minus_t[..., i:j, i:], w[..., i:, :], out=w[..., i:j, :])

        # corner + V w. Of the corner only C has been written: the rest is 0, but for the diagonal.
        for i in range(0, b, LEAF):
            j = min(b, i + LEAF)
            np.matmul(v[..., i:j, :j], w[..., :j, :], out=corner[..., i:j, :])
        corner[..., np.arange(b), np.arange(b)] -= signs
        for i in range(b, rows - start, height):
            part = corner[..., i : i + height, :]
            product = strip[..., : part.shape[-2], start:]
            np.matmul(v[..., i : i + height, :], w, out=product)
            part[..., :b] = product[..., :b]
            part[..., b:] += product[..., b:]
    return transposed(q) if wide else q


def reflections(normals: NDArray[np.floating], v: Floats) -> tuple[Floats, Floats]:
    """Write the v_k of a block, as columns, into v; return c_k and s_k."""
    b = v.shape[-1]
    diagonal = np.arange(b)
    v[...] = normals
    v[..., :b, :] = np.tril(v[..., :b, :])
    norm = np.sqrt(np.einsum("...ij,...ij->...j", v, v))
    first = v[..., diagonal, diagonal]
    signs = np.where(first < 0, -1.0, 1.0)
    v[..., diagonal, diagonal] += signs * norm
    return norm * (norm + np.abs(first)), signs


def triangle(v: Floats, c: Floats) -> Floats:
    """The T of I - V T V^T: the inverse of the upper triangle of V^T V, its diagonal halved to c."""
    b = v.shape[-1]
    h, t = b // 2, np.zeros((*v.shape[:-2], b, b))
    if b <= LEAF:
        gram = np.triu(transposed(v) @ v)
        gram[..., np.arange(b), np.arange(b)] = c
        t[...] = np.linalg.inv(gram)
        return t
    left, right = v[..., h:, :h], v[..., h:, h:]  # the rows in which both are not 0
    t[..., :h, :h] = first = triangle(v[..., :h], c[..., :h])
    t[..., h:, h:] = second = triangle(right, c[..., h:])
    t[..., :h, h:] = -first @ (transposed(left) @ right @ second)
    return t


def transposed(matrices: NDArray[T]) -> NDArray[T]:
    return matrices.swapaxes(-1, -2)
