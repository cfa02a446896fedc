"""Laws: the distribution of a tensor's elements, after all the maths.

A law is what is left once fans, gains and schemes have been worked out: `Normal(std=0.02)` says
everything there is to know. Laws are frozen, comparable, and carry the variance of one element.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from typing import ClassVar

from isometry.errors import ArgumentError

__all__ = [
    "LAWS",
    "CenteredOrthogonal",
    "Constant",
    "DeltaOrthogonal",
    "Dirac",
    "Factor",
    "Hadamard",
    "Identity",
    "Keep",
    "Law",
    "LogUniform",
    "MirroredOrthogonal",
    "Normal",
    "Orthogonal",
    "Sparse",
    "TruncatedNormal",
    "Uniform",
    "law_from_dict",
    "std_kept",
]

SCALE_MIN, SCALE_MAX = 2.0**-80, 2.0**80


def std_kept(cutoff: float) -> float:
    """The std of a standard normal cut at ±c: sqrt(1 - 2 c phi(c) / (2 Phi(c) - 1)).

    Summed as sqrt(T / (1 + T)), T = c²/3 + c⁴/(3·5) + c⁶/(3·5·7) + ...: the exponential cancels,
    so that IEEE arithmetic alone gives the same bits everywhere, whatever the maths library.
    """
    total, term, odd = 0.0, 1.0, 3
    while True:
        term *= cutoff * cutoff / odd
        if total + term == total:
            return math.sqrt(total / (1.0 + total))
        total += term
        odd += 2


def _number(owner: object, field: str, value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        raise ArgumentError(
            f"{type(owner).__name__}({field}={value!r}): {field} must be a finite number"
        )
    return float(value)


def _scale(owner: object, field: str, value: object) -> float:
    """A scale that float32 can carry without touching a subnormal: [2^-80, 2^80]."""
    number = _number(owner, field, value)
    if not SCALE_MIN <= number <= SCALE_MAX:
        hint = "; for zeros write Constant(0.0)" if number == 0 else ""
        raise ArgumentError(
            f"{type(owner).__name__}({field}={value!r}): {field} must lie in [2^-80, 2^80]{hint}"
        )
    return number


@dataclass(frozen=True, slots=True)
class Law:
    """The distribution of one tensor's elements. Use a subclass."""

    random: ClassVar[bool] = False  # does it draw from the stream?
    elementwise: ClassVar[bool] = True  # is element i a function of word i alone?

    @property
    def variance(self) -> float:
        """The variance of one element."""
        raise ArgumentError(f"{type(self).__name__} has no variance of its own: it keeps values")

    def to_dict(self) -> dict[str, object]:
        """A JSON-ready form; floats in hex, so that nothing is lost on the way."""
        out: dict[str, object] = {"law": type(self).__name__}
        for field in fields(self):
            value = getattr(self, field.name)
            out[field.name] = value.hex() if isinstance(value, float) else value
        return out

    def __str__(self) -> str:
        parts = []
        for place, field in enumerate(fields(self)):
            value = getattr(self, field.name)
            if value is None or (value == field.default and place > 0):
                continue
            parts.append(f"{value:.4g}" if isinstance(value, float) else str(value))
        return f"{type(self).__name__}({', '.join(parts)})"


@dataclass(frozen=True, slots=True)
class Keep(Law):
    """Leave the values as they are; on meta, recreate them as the module itself does."""


@dataclass(frozen=True, slots=True)
class Constant(Law):
    """Every element is `value`."""

    value: float = 0.0

    def __post_init__(self) -> None:
        object.__setattr__(self, "value", _number(self, "value", self.value))

    @property
    def variance(self) -> float:
        return 0.0


@dataclass(frozen=True, slots=True)
class Normal(Law):
    """A plain Gaussian N(mean, std²)."""

    std: float = 1.0
    mean: float = 0.0
    random: ClassVar[bool] = True

    def __post_init__(self) -> None:
        object.__setattr__(self, "std", _scale(self, "std", self.std))
        object.__setattr__(self, "mean", _number(self, "mean", self.mean))

    @property
    def variance(self) -> float:
        return self.std**2


@dataclass(frozen=True, slots=True)
class Uniform(Law):
    """Uniform on the closed interval [mean - bound, mean + bound]; variance bound²/3."""

    bound: float = 1.0
    mean: float = 0.0
    random: ClassVar[bool] = True

    def __post_init__(self) -> None:
        object.__setattr__(self, "bound", _scale(self, "bound", self.bound))
        object.__setattr__(self, "mean", _number(self, "mean", self.mean))

    @property
    def variance(self) -> float:
        return self.bound**2 / 3.0


@dataclass(frozen=True, slots=True)
class TruncatedNormal(Law):
    """A Gaussian cut at ±cutoff sigmas of the uncut one, whose std *after* the cut is `std`."""

    std: float = 1.0
    cutoff: float = 2.0
    mean: float = 0.0
    random: ClassVar[bool] = True

    def __post_init__(self) -> None:
        object.__setattr__(self, "std", _scale(self, "std", self.std))
        object.__setattr__(self, "mean", _number(self, "mean", self.mean))
        cutoff = _number(self, "cutoff", self.cutoff)
        if not 0.1 <= cutoff <= 6.0:
            raise ArgumentError(
                f"TruncatedNormal(cutoff={self.cutoff!r}): cutoff is in sigmas of the uncut "
                "Gaussian and must lie in [0.1, 6]; without a cut write Normal(std)"
            )
        object.__setattr__(self, "cutoff", cutoff)

    @property
    def uncut_std(self) -> float:
        """The std of the Gaussian before the cut."""
        return self.std / std_kept(self.cutoff)

    @property
    def bound(self) -> float:
        """The largest distance from the mean that is ever drawn."""
        return self.cutoff * self.uncut_std

    @property
    def variance(self) -> float:
        return self.std**2


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
        object.__setattr__(self, "gain", _scale(self, "gain", self.gain))

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
        object.__setattr__(self, "gain", _number(self, "gain", self.gain))

    @property
    def variance(self) -> float:
        return 0.0


@dataclass(frozen=True, slots=True)
class Dirac(Law):
    """A convolution that passes its input on: `gain` at the kernel's centre, per group."""

    gain: float = 1.0
    groups: int = 1

    def __post_init__(self) -> None:
        object.__setattr__(self, "gain", _number(self, "gain", self.gain))

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
        object.__setattr__(self, "gain", _number(self, "gain", self.gain))

    @property
    def variance(self) -> float:
        return 0.0


@dataclass(frozen=True, slots=True)
class LogUniform(Law):
    """sign x ln U, U uniform on (low, high): the bias whose gate forgets after U steps.

    `offset` is added to an element's index to find its word, so that one range of a vector can
    repeat another's draws, with the other sign: b_i = -b_f.
    """

    low: float = 1.0
    high: float = 2.0
    sign: int = 1
    offset: int = 0
    random: ClassVar[bool] = True
    elementwise: ClassVar[bool] = False

    def __post_init__(self) -> None:
        low, high = (_scale(self, f, getattr(self, f)) for f in ("low", "high"))
        object.__setattr__(self, "low", low)
        object.__setattr__(self, "high", high)
        if not low < high:
            raise ArgumentError(
                f"LogUniform(low={low:g}, high={high:g}): expected low < high; for one value write "
                "Constant(math.log(low))"
            )
        whole = all(type(n) is int for n in (self.sign, self.offset))
        if not whole or self.sign not in (-1, 1):
            raise ArgumentError(
                f"LogUniform(sign={self.sign!r}, offset={self.offset!r}): expected sign 1 or -1 and "
                "a whole number of elements"
            )

    @property
    def mean(self) -> float:
        """sign x E[ln U]."""
        return self.sign * self._power(1)

    @property
    def variance(self) -> float:
        return self._power(2) - self._power(1) ** 2

    def _power(self, power: int) -> float:
        """E[(ln U)^power] for power 1 and 2."""

        def integral(u: float) -> float:
            log = math.log(u)
            return u * (log - 1.0) if power == 1 else u * (log * log - 2.0 * log + 2.0)

        return (integral(self.high) - integral(self.low)) / (self.high - self.low)


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
        object.__setattr__(self, "alpha", _scale(self, "alpha", self.alpha))
        object.__setattr__(self, "beta", _number(self, "beta", self.beta))
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
        object.__setattr__(self, "std", _scale(self, "std", self.std))
        sparsity = _number(self, "sparsity", self.sparsity)
        if not 0.0 <= sparsity < 1.0:
            raise ArgumentError(f"Sparse(sparsity={sparsity!r}): sparsity must lie in [0, 1)")
        object.__setattr__(self, "sparsity", sparsity)

    @property
    def variance(self) -> float:
        return (1.0 - self.sparsity) * self.std**2


LAWS: dict[str, type[Law]] = {
    law.__name__: law
    for law in (
        Keep, Constant, Normal, Uniform, TruncatedNormal,
        Orthogonal, DeltaOrthogonal, CenteredOrthogonal, MirroredOrthogonal, Identity, Dirac, Hadamard,
        Sparse, LogUniform, Factor,
    )
}  # fmt: skip


def law_from_dict(data: dict[str, object]) -> Law:
    """The law that `Law.to_dict` wrote. Raises ArgumentError on anything else."""
    rest = dict(data)
    name = rest.pop("law", None)
    if name not in LAWS:
        raise ArgumentError(f"law {name!r} is not one of {', '.join(LAWS)}")
    known = {field.name: str(field.type) for field in fields(LAWS[str(name)])}
    if set(rest) - set(known):
        raise ArgumentError(f"{name} takes {sorted(known)}, received {sorted(rest)}")
    try:
        values = {
            k: float.fromhex(v) if isinstance(v, str) and known[k] != "str" else v
            for k, v in rest.items()
        }
    except ValueError as error:
        raise ArgumentError(f"{name}: a number in a plan is a hex float: {error}") from None
    return LAWS[str(name)](**values)
