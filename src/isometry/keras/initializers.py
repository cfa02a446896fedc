"""Initializers whose scale follows from the fans: LeCun, Glorot, He and the rule they share.

Keras's names, signatures and laws: its "normal" is cut at 2 sigmas, with the std corrected for it.
They are `keras.initializers.VarianceScaling` too, which EinsumDense (and so MultiHeadAttention)
tells which axes are inputs and which outputs.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras

from isometry import schemes
from isometry.errors import ArgumentError
from isometry.fan import fans_of, normalise_axes
from isometry.keras.initializer import Drawn, positive, registered
from isometry.types import Axes, Fans, Law

__all__ = [
    "GlorotNormal",
    "GlorotUniform",
    "HeNormal",
    "HeUniform",
    "LecunNormal",
    "LecunUniform",
    "VarianceScaling",
]

_MODES = ("fan_in", "fan_out", "fan_avg")
_DISTRIBUTIONS = {  # Keras's name -> the schemes'
    "truncated_normal": "truncated_normal",
    "untruncated_normal": "normal",
    "uniform": "uniform",
}


@registered
class VarianceScaling(Drawn, keras.initializers.VarianceScaling):  # type: ignore[misc]
    """A variance divided by a fan.

        Var W = scale / max(1, n),  n = fan_in, fan_out or their mean

    Args:
        scale: the numerator, positive.
        mode: "fan_in", "fan_out" or "fan_avg".
        distribution: "truncated_normal", cut at 2 sigmas, with this variance after the cut
            ("normal" is another name for it); "untruncated_normal", a Gaussian; "uniform", of bound
            sqrt(3 Var W).
        seed: an integer in [0, 2^64), a `keras.random.SeedGenerator`, or None for a fresh one.
        input_axes: the axes whose product is fan_in; negative ones count from the end.
        output_axes: those whose product is fan_out. They may overlap, and come with input_axes or
            not at all: without, a kernel is (receptive field..., in, out).
        groups: of a convolution; they divide fan_out, while the kernel's in axis holds the inputs
            of one group already.

    Raises:
        ArgumentError: an argument is not as above; when called, axes do not fit the shape.

    Example:
        >>> VarianceScaling(scale=0.1, mode="fan_in", distribution="uniform", seed=0)((2, 2)).shape
        (2, 2)

    Source: He et al. 2015, sec. 2.2, for the condition; the common form is Keras's own.

    Differs: Keras leaves groups out of fan_out and takes one of the axes alone for none.
    """

    def __init__(
        self,
        scale: float = 1.0,
        mode: str = "fan_in",
        distribution: str = "truncated_normal",
        seed: Any = None,
        input_axes: int | Sequence[int] | None = None,
        output_axes: int | Sequence[int] | None = None,
        *,
        groups: int = 1,
    ) -> None:
        self.scale = positive(self, "scale", scale)
        if mode not in _MODES:
            raise ArgumentError(f"mode={mode!r}: expected one of {', '.join(_MODES)}")
        law = distribution.lower() if isinstance(distribution, str) else distribution
        law = "truncated_normal" if law == "normal" else law
        if law not in _DISTRIBUTIONS:
            raise ArgumentError(
                f"distribution={distribution!r}: expected one of {', '.join(_DISTRIBUTIONS)}"
            )
        if (input_axes is None) != (output_axes is None):
            raise ArgumentError(
                f"input_axes={input_axes!r}, output_axes={output_axes!r}: expected both or neither; "
                "for a matrix (in, out) write input_axes=[0], output_axes=[1]"
            )
        if isinstance(groups, bool) or not isinstance(groups, int) or groups < 1:
            raise ArgumentError(f"groups={groups!r}: expected a positive integer")
        self.mode = mode
        self.distribution = law
        self.input_axes = _listed("input_axes", input_axes)
        self.output_axes = _listed("output_axes", output_axes)
        self.groups = groups
        super().__init__(seed)

    def _fans(self, shape: tuple[int, ...]) -> Fans:
        """Keras's fans: at least 1, and of a vector its length twice."""
        if self.input_axes is not None and self.output_axes is not None:
            into = normalise_axes(shape, self.input_axes, ()).in_axis
            out = normalise_axes(shape, (), self.output_axes).out_axis
            rest = tuple(a for a in range(len(shape)) if a not in {*into, *out})
            axes = Axes(in_axis=into, out_axis=out, batch_axis=rest)
        elif len(shape) < 2:
            axes = Axes(in_axis=tuple(range(len(shape))), out_axis=tuple(range(len(shape))))
        else:
            axes = normalise_axes(shape)
        fans = fans_of(shape, axes, groups=self.groups)
        return Fans(max(1.0, fans.fan_in), max(1.0, fans.fan_out))

    def _law(self, shape: tuple[int, ...]) -> Law:
        return schemes.variance_scaling(
            self._fans(shape),
            scale=self.scale,
            mode=self.mode,
            distribution=_DISTRIBUTIONS[self.distribution],
        )

    def get_config(self) -> dict[str, Any]:
        """The arguments that make it again, the seed in use among them, ready for JSON."""
        return {
            **Drawn.get_config(self),
            "scale": self.scale,
            "mode": self.mode,
            "distribution": self.distribution,
            "input_axes": self.input_axes,
            "output_axes": self.output_axes,
            "groups": self.groups,
        }


class _Named(VarianceScaling):
    """A case of the rule that has a name: scale, mode and distribution are given by it."""

    _rule = (1.0, "fan_in", "truncated_normal")

    def __init__(
        self,
        seed: Any = None,
        input_axes: int | Sequence[int] | None = None,
        output_axes: int | Sequence[int] | None = None,
        *,
        groups: int = 1,
    ) -> None:
        super().__init__(*self._rule, seed, input_axes, output_axes, groups=groups)

    def get_config(self) -> dict[str, Any]:
        """The arguments that make it again, the seed in use among them, ready for JSON."""
        config = super().get_config()
        return {k: v for k, v in config.items() if k not in ("scale", "mode", "distribution")}


@registered
class LecunNormal(_Named):
    """LeCun's rule: a sum of fan_in terms of unit variance has unit variance.

        Var W = 1 / fan_in,  cut at 2 sigmas, this variance after the cut

    Args:
        seed, input_axes, output_axes, groups: as for VarianceScaling.

    Example:
        >>> LecunNormal(seed=0)((400, 200)).shape
        (400, 200)

    Source: LeCun et al. 1998, Efficient BackProp, eq. 16; Klambauer et al. 2017 for SELU.
    """

    def _law(self, shape: tuple[int, ...]) -> Law:
        return schemes.lecun_normal(self._fans(shape), truncated=True)


@registered
class LecunUniform(_Named):
    """LeCun's rule, uniform.

        |W| <= sqrt(3 / fan_in)

    Args:
        seed, input_axes, output_axes, groups: as for VarianceScaling.

    Example:
        >>> LecunUniform(seed=0)((400, 200)).shape
        (400, 200)

    Source: LeCun et al. 1998, Efficient BackProp, eq. 16.
    """

    _rule = (1.0, "fan_in", "uniform")

    def _law(self, shape: tuple[int, ...]) -> Law:
        return schemes.lecun_uniform(self._fans(shape))


@registered
class GlorotNormal(_Named):
    """Glorot's rule: a compromise between the signal forward and the gradient back.

        Var W = 2 / (fan_in + fan_out),  cut at 2 sigmas, this variance after the cut

    Args:
        seed, input_axes, output_axes, groups: as for VarianceScaling.

    Example:
        >>> GlorotNormal(seed=0)((400, 200)).shape
        (400, 200)

    Source: Glorot & Bengio 2010, eq. 12.
    """

    _rule = (1.0, "fan_avg", "truncated_normal")

    def _law(self, shape: tuple[int, ...]) -> Law:
        return schemes.glorot_normal(self._fans(shape), truncated=True)


@registered
class GlorotUniform(_Named):
    """Glorot's rule, uniform, the paper's own form and Keras's default for kernels.

        |W| <= sqrt(6 / (fan_in + fan_out))

    Args:
        seed, input_axes, output_axes, groups: as for VarianceScaling.

    Example:
        >>> GlorotUniform(seed=0)((400, 200)).shape
        (400, 200)

    Source: Glorot & Bengio 2010, eq. 16.
    """

    _rule = (1.0, "fan_avg", "uniform")

    def _law(self, shape: tuple[int, ...]) -> Law:
        return schemes.glorot_uniform(self._fans(shape))


@registered
class HeNormal(_Named):
    """He's rule: keeps the second moment through a ReLU.

        Var W = 2 / fan_in,  cut at 2 sigmas, this variance after the cut

    Args:
        seed, input_axes, output_axes, groups: as for VarianceScaling.

    Example:
        >>> layer = keras.layers.Dense(3, kernel_initializer=HeNormal(seed=0))

    Source: He et al. 2015, eq. 10.
    """

    _rule = (2.0, "fan_in", "truncated_normal")

    def _law(self, shape: tuple[int, ...]) -> Law:
        return schemes.he_normal(self._fans(shape), truncated=True)


@registered
class HeUniform(_Named):
    """He's rule, uniform.

        |W| <= sqrt(6 / fan_in)

    Args:
        seed, input_axes, output_axes, groups: as for VarianceScaling.

    Example:
        >>> HeUniform(seed=0)((400, 200)).shape
        (400, 200)

    Source: He et al. 2015, eq. 10.
    """

    _rule = (2.0, "fan_in", "uniform")

    def _law(self, shape: tuple[int, ...]) -> Law:
        return schemes.he_uniform(self._fans(shape))


def _listed(name: str, axes: int | Sequence[int] | None) -> list[int] | None:
    if axes is None:
        return None
    found = [axes] if isinstance(axes, int) else list(axes)
    if any(isinstance(a, bool) or not isinstance(a, int) for a in found):
        raise ArgumentError(f"{name}={axes!r}: expected an integer, or a list of integers")
    return found
