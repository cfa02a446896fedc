"""Initializers whose scale follows from the fans: LeCun's, Glorot's and He's rule.

Keras's names, signatures and laws: its "normal" is cut at 2 sigmas, with the std corrected for it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from isometry import schemes
from isometry.keras.initializer import registered
from isometry.keras.initializer_scaling import VarianceScaling
from isometry.types import Law

__all__ = [
    "GlorotNormal",
    "GlorotUniform",
    "HeNormal",
    "HeUniform",
    "LecunNormal",
    "LecunUniform",
]


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
        >>> tuple(LecunNormal(seed=0)((400, 200)).shape)
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
        >>> tuple(LecunUniform(seed=0)((400, 200)).shape)
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
        >>> tuple(GlorotNormal(seed=0)((400, 200)).shape)
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
        >>> tuple(GlorotUniform(seed=0)((400, 200)).shape)
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
        >>> import keras
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
        >>> tuple(HeUniform(seed=0)((400, 200)).shape)
        (400, 200)

    Source: He et al. 2015, eq. 10.
    """

    _rule = (2.0, "fan_in", "uniform")

    def _law(self, shape: tuple[int, ...]) -> Law:
        return schemes.he_uniform(self._fans(shape))
