"""Laws of a matrix as a whole: what an element is depends on all the others."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from isometry.errors import ArgumentError
from isometry.types.law import Law, number, scale

__all__ = [
    "CenteredOrthogonal",
    "DeltaOrthogonal",
    "Dirac",
    "Factor",
    "Hadamard",
    "Identity",
    "MirroredOrthogonal",
    "Orthogonal",
    "Sparse",
]


@dataclass(frozen=True, slots=True)
class Orthogonal(Law):
    """A Haar-random (semi-)orthogonal matrix times `gain`: out axis by all the others.

    `size` is the longer side of the matrix, max(rows, columns), which a scheme or a plan fills
    in; an element's variance is gain²/size.
    """

    gain: float = 1.0
    size: int | None = None
    random: ClassVar[bool] = True
    elementwise: ClassVar[bool] = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "gain", scale(self, "gain", self.gain))

    @property
    def variance(self) -> float:
        if self.size is None:
            raise ArgumentError(
                "Orthogonal(gain): an element's variance is gain²/max(rows, columns), which needs "
                "the matrix; write Orthogonal(gain, size=max(rows, columns))"
            )
        return self.gain**2 / self.size


@dataclass(frozen=True, slots=True)
class DeltaOrthogonal(Orthogonal):
    """Zero but at the kernel's centre, which is orthogonal (Xiao et al. 2018, algorithm 1).

    `size` is max(in, out) times the number of kernel positions, so that the variance is that of
    an element drawn anywhere in the kernel.
    """


@dataclass(frozen=True, slots=True)
class CenteredOrthogonal(Orthogonal):
    """An orthogonal matrix that does not see the mean of what it reads, W 1 = 0, or gives numbers of
    mean 0, 1ᵀ W = 0, or both.

    For a sigmoid, whose output is 1/2 and an odd function: the 1/2 is not passed on. Its singular
    values are the gain, but for a 0 for every mean. `delta`: at the centre of a kernel, which is zero
    elsewhere. `size` is the longer side of what is left, max(rows - writes, columns - reads), by the
    kernel positions where `delta` is set.
    """

    reads: bool = True
    writes: bool = False
    delta: bool = False


@dataclass(frozen=True, slots=True)
class MirroredOrthogonal(Orthogonal):
    """Orthogonal between mirrored pairs of units, +W where both signs agree and -W where not.

        [W; -W] writes pairs,  [W, -W] reads pairs,  [[W, -W], [-W, W]] does both

    Unit i of n is paired with unit n - pairs + i, for i < pairs: the first and the last `pairs`
    units mirror each other. Units between them have no partner: what they give is multiplied by 0,
    and what they read is drawn as any row. `delta`: W stands at the centre of a kernel, which is
    zero elsewhere. `size` is the longer side of W, by the kernel positions where `delta` is set.
    """

    reads: int = 0
    writes: int = 0
    delta: bool = False


@dataclass(frozen=True, slots=True)
class Identity(Law):
    """`gain` on the diagonal of a matrix, zero elsewhere."""

    gain: float = 1.0

    def __post_init__(self) -> None:
        object.__setattr__(self, "gain", number(self, "gain", self.gain))

    @property
    def variance(self) -> float:
        return 0.0


@dataclass(frozen=True, slots=True)
class Dirac(Law):
    """A convolution that passes its input on: `gain` at the kernel's centre, per group."""

    gain: float = 1.0
    groups: int = 1

    def __post_init__(self) -> None:
        object.__setattr__(self, "gain", number(self, "gain", self.gain))

    @property
    def variance(self) -> float:
        return 0.0


@dataclass(frozen=True, slots=True)
class Hadamard(Law):
    """gain 2^(-m/2) (-1)^(ones of i & j) at row i and column j, m = ceil(log2(longer side)).

    Signs of a Sylvester-Hadamard matrix: columns that differ, from no random number. Where there is
    a kernel they stand at its centre, and all else is 0; each of `groups` has its own.
    """

    gain: float = 1.0
    groups: int = 1

    def __post_init__(self) -> None:
        object.__setattr__(self, "gain", number(self, "gain", self.gain))

    @property
    def variance(self) -> float:
        return 0.0


@dataclass(frozen=True, slots=True)
class Factor(Law):
    """One of the two factors of alpha Z + beta I, where Z is d by d of N(0, 1/d), head by head.

        alpha Z + beta I = U S Vᵀ,    left = U_k sqrt(S_k),    right = V_k sqrt(S_k)

    The other factor, another tensor, draws the same Z: `shared` names the stream that both read. Each
    of `heads` has its own Z and k = inner size / heads columns. `inner` says which axis of the
    tensor ("out" or "in") counts those columns. `singular` is the mean of the k largest singular
    values, which a recipe fills in; an element's variance is singular / d = singular / `outer`.
    """

    side: str = "left"
    shared: str = ""
    alpha: float = 0.7
    beta: float = 0.7
    heads: int = 1
    inner: str = "out"
    singular: float | None = None
    outer: int | None = None
    random: ClassVar[bool] = True
    elementwise: ClassVar[bool] = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "alpha", scale(self, "alpha", self.alpha))
        object.__setattr__(self, "beta", number(self, "beta", self.beta))
        if self.side not in ("left", "right") or self.inner not in ("out", "in"):
            raise ArgumentError(
                f"Factor(side={self.side!r}, inner={self.inner!r}): expected side 'left' or 'right' "
                "and inner 'out' or 'in'"
            )
        if type(self.heads) is not int or self.heads < 1:
            raise ArgumentError(f"Factor(heads={self.heads!r}): expected a number of heads")

    @property
    def variance(self) -> float:
        if self.singular is None or self.outer is None:
            raise ArgumentError(
                "Factor: an element's variance is the mean singular value over d; give both, "
                "Factor(..., singular=0.8, outer=d)"
            )
        return self.singular / self.outer

    def __str__(self) -> str:
        sign = "-" if self.beta < 0 else "+"
        heads = f", {self.heads} heads" if self.heads > 1 else ""
        return f"Factor({self.side} of {self.alpha:g} Z {sign} {abs(self.beta):g} I{heads})"


@dataclass(frozen=True, slots=True)
class Sparse(Law):
    """N(0, std²) with ceil(sparsity x fan_in) inputs of every output set to zero (Martens 2010)."""

    sparsity: float = 0.9
    std: float = 0.01
    random: ClassVar[bool] = True
    elementwise: ClassVar[bool] = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "std", scale(self, "std", self.std))
        sparsity = number(self, "sparsity", self.sparsity)
        if not 0.0 <= sparsity < 1.0:
            raise ArgumentError(f"Sparse(sparsity={sparsity!r}): sparsity must lie in [0, 1)")
        object.__setattr__(self, "sparsity", sparsity)

    @property
    def variance(self) -> float:
        return (1.0 - self.sparsity) * self.std**2
