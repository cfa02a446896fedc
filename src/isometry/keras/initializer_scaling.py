"""The rule that LeCun, Glorot and He are cases of: a variance divided by a fan.

It is a `keras.initializers.VarianceScaling` too, which EinsumDense (and so MultiHeadAttention) tells
which axes are inputs and which outputs.
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

__all__ = ["VarianceScaling"]

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
        >>> tuple(VarianceScaling(scale=0.1, mode="fan_in", distribution="uniform", seed=0)((2, 2)).shape)
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


def _listed(name: str, axes: int | Sequence[int] | None) -> list[int] | None:
    if axes is None:
        return None
    found = [axes] if isinstance(axes, int) else list(axes)
    if any(isinstance(a, bool) or not isinstance(a, int) for a in found):
        raise ArgumentError(f"{name}={axes!r}: expected an integer, or a list of integers")
    return found
