"""Schemes for a matrix as a whole: isometries, identities and sparse rows."""

from __future__ import annotations

from isometry.types import DeltaOrthogonal, Dirac, Identity, Law, Orthogonal, Sparse

__all__ = ["delta_orthogonal", "dirac", "identity", "orthogonal", "sparse"]


def identity(gain: float = 1.0) -> Law:
    """Ones on the diagonal: a layer that passes its input on.

        W[i, j] = gain if i = j, else 0

    Args:
        gain: the number on the diagonal.

    Returns:
        The law.

    Raises:
        ArgumentError: gain is not finite.

    Example:
        >>> identity()
        Identity(gain=1.0)

    Source: Le, Jaitly & Hinton 2015 (IRNN), for recurrent ReLU matrices.
    """
    return Identity(gain)


def dirac(gain: float = 1.0, groups: int = 1) -> Law:
    """A convolution that passes its input on: an identity at the kernel's centre.

        W[o, i, centre] = gain if o = i within each group, else 0

    Args:
        gain: the number on the diagonal.
        groups: each group of outputs starts again at its first input.

    Returns:
        The law.

    Raises:
        ArgumentError: gain is not finite.

    Example:
        >>> dirac(groups=2)
        Dirac(gain=1.0, groups=2)

    Source: Zagoruyko & Komodakis 2017 (DiracNets), sec. 3.
    """
    return Dirac(gain, groups)


def orthogonal(gain: float = 1.0, size: int | None = None) -> Law:
    """A random matrix that keeps every length: all its singular values are the gain.

        W Wᵀ = gain² I (or Wᵀ W, whichever is smaller),  Var W = gain² / max(rows, columns)

    Args:
        gain: all the singular values.
        size: max(rows, columns), rows the out axis and columns all the others.

    Returns:
        The law.

    Raises:
        ArgumentError: gain lies outside [2^-80, 2^80].

    Example:
        >>> orthogonal(size=256).variance
        0.00390625

    Source: Saxe, McClelland & Ganguli 2014; Mezzadri 2007 for drawing it evenly (Haar).
    """
    return Orthogonal(gain, size)


def delta_orthogonal(gain: float = 1.0, size: int | None = None) -> Law:
    """A convolution that keeps every length: orthogonal at the kernel's centre, zero elsewhere.

        W[:, :, centre] orthogonal times gain, W = 0 elsewhere

    Args:
        gain: the singular values of the centre.
        size: max(in, out) times the number of kernel positions.

    Returns:
        The law.

    Raises:
        ArgumentError: gain lies outside [2^-80, 2^80].

    Example:
        >>> delta_orthogonal()
        DeltaOrthogonal(gain=1.0, size=None)

    Source: Xiao et al. 2018, algorithm 1.
    """
    return DeltaOrthogonal(gain, size)


def sparse(sparsity: float = 0.9, std: float = 0.01) -> Law:
    """Gaussian, with most of the inputs of every output cut off.

        W ~ N(0, std²), and ceil(sparsity * fan_in) inputs of each output are 0

    Args:
        sparsity: the fraction of zeros, in [0, 1).
        std: of what is left.

    Returns:
        The law.

    Raises:
        ArgumentError: sparsity lies outside [0, 1), or std outside [2^-80, 2^80].

    Example:
        >>> sparse(0.5)
        Sparse(sparsity=0.5, std=0.01)

    Source: Martens 2010, sec. 5.

    Differs: PyTorch's `sparse_` cuts each input's outputs, not each output's inputs.
    """
    return Sparse(sparsity, std)
