"""Laws: the distribution of a tensor's elements, after all the maths.

A law is what is left once fans, gains and schemes have been worked out: `Normal(std=0.02)` says
everything there is to know. Laws are frozen, comparable, and carry the variance of one element. Here
are those of single elements; those of whole matrices are in `matrix_laws`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from typing import ClassVar

from isometry.errors import ArgumentError
from isometry.types.law import Law, number, scale
from isometry.types.matrix_laws import (
    CenteredOrthogonal,
    DeltaOrthogonal,
    Dirac,
    Factor,
    Hadamard,
    Identity,
    MirroredOrthogonal,
    Orthogonal,
    Sparse,
)

__all__ = [
    "LAWS",
    "Constant",
    "Keep",
    "LogUniform",
    "Normal",
    "TruncatedNormal",
    "Uniform",
    "law_from_dict",
    "std_kept",
]


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


@dataclass(frozen=True, slots=True)
class Keep(Law):
    """Leave the values as they are; on meta, recreate them as the module itself does."""


@dataclass(frozen=True, slots=True)
class Constant(Law):
    """Every element is `value`."""

    value: float = 0.0

    def __post_init__(self) -> None:
        object.__setattr__(self, "value", number(self, "value", self.value))

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
        object.__setattr__(self, "std", scale(self, "std", self.std))
        object.__setattr__(self, "mean", number(self, "mean", self.mean))

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
        object.__setattr__(self, "bound", scale(self, "bound", self.bound))
        object.__setattr__(self, "mean", number(self, "mean", self.mean))

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
        object.__setattr__(self, "std", scale(self, "std", self.std))
        object.__setattr__(self, "mean", number(self, "mean", self.mean))
        cutoff = number(self, "cutoff", self.cutoff)
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
        low, high = (scale(self, f, getattr(self, f)) for f in ("low", "high"))
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
