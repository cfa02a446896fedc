"""Initializers that need no fans: distributions whose scale is given, and orthogonal matrices."""

from __future__ import annotations

from typing import Any

from isometry import schemes
from isometry.errors import ArgumentError
from isometry.fan import normalise_axes
from isometry.keras.initializer import Drawn, real, registered
from isometry.types import Axes, Constant, Law, std_kept

__all__ = [
    "DeltaOrthogonal",
    "Orthogonal",
    "RandomNormal",
    "RandomUniform",
    "TruncatedNormal",
]


@registered
class RandomNormal(Drawn):
    """A plain Gaussian, cut nowhere.

        W ~ N(mean, stddev²)

    Args:
        mean: a number or a scalar tensor.
        stddev: likewise; 0 makes every element the mean.
        seed: an integer in [0, 2^64), a `keras.random.SeedGenerator`, or None for a fresh one.

    Raises:
        ArgumentError: an argument is not as above, or stddev is negative.

    Example:
        >>> values = RandomNormal(mean=0.0, stddev=1.0, seed=0)(shape=(2, 2))

    Source: elementary.
    """

    def __init__(self, mean: float = 0.0, stddev: float = 0.05, seed: Any = None) -> None:
        self.mean = real(self, "mean", mean)
        self.stddev = real(self, "stddev", stddev)
        if self.stddev < 0.0:
            raise ArgumentError(
                f"{type(self).__name__}(stddev={stddev!r}): expected 0 or a positive number"
            )
        super().__init__(seed)

    def _law(self, shape: tuple[int, ...]) -> Law:
        if self.stddev == 0.0:
            return Constant(self.mean)
        return schemes.normal(self.stddev, self.mean)

    def get_config(self) -> dict[str, Any]:
        """The arguments that make it again, the seed in use among them, ready for JSON."""
        return {**super().get_config(), "mean": self.mean, "stddev": self.stddev}


@registered
class TruncatedNormal(RandomNormal):
    """A Gaussian of which what lies more than two standard deviations out is drawn again.

        W = mean + stddev z,  z ~ N(0, 1) given |z| <= 2,  std W = .87962566 stddev

    Args:
        mean: a number or a scalar tensor.
        stddev: of the Gaussian before the cut, as Keras documents it; 0 makes every element the
            mean.
        seed: an integer in [0, 2^64), a `keras.random.SeedGenerator`, or None for a fresh one.

    Raises:
        ArgumentError: an argument is not as above, or stddev is negative.

    Example:
        >>> import keras
        >>> values = TruncatedNormal(stddev=0.02, seed=0)((64, 64))
        >>> float(keras.ops.max(keras.ops.abs(values))) <= 0.04
        True

    Source: Johnson, Kotz & Balakrishnan 1994, sec. 13.10.1.

    Differs: `iso.truncated_normal(std)` and VarianceScaling name the std after the cut.
    """

    def _law(self, shape: tuple[int, ...]) -> Law:
        if self.stddev == 0.0:
            return Constant(self.mean)
        return schemes.truncated_normal(self.stddev * std_kept(2.0), self.mean, cutoff=2.0)


@registered
class RandomUniform(Drawn):
    """Uniform on the closed interval from minval to maxval.

        W ~ U[minval, maxval]

    Args:
        minval: a number or a scalar tensor.
        maxval: likewise, not below minval.
        seed: an integer in [0, 2^64), a `keras.random.SeedGenerator`, or None for a fresh one.

    Raises:
        ArgumentError: an argument is not as above.

    Example:
        >>> values = RandomUniform(minval=0.0, maxval=1.0, seed=0)(shape=(2, 2))

    Source: elementary.

    Differs: Keras leaves maxval out, before it rounds to the dtype. Here both ends belong to the
        interval, so that its mean over all words is its middle.
    """

    def __init__(self, minval: float = -0.05, maxval: float = 0.05, seed: Any = None) -> None:
        self.minval = real(self, "minval", minval)
        self.maxval = real(self, "maxval", maxval)
        if self.minval > self.maxval:
            raise ArgumentError(
                f"RandomUniform(minval={minval!r}, maxval={maxval!r}): expected minval <= maxval"
            )
        super().__init__(seed)

    def _law(self, shape: tuple[int, ...]) -> Law:
        middle, half = (self.minval + self.maxval) / 2.0, (self.maxval - self.minval) / 2.0
        return Constant(middle) if half == 0.0 else schemes.uniform(half, middle)

    def get_config(self) -> dict[str, Any]:
        """The arguments that make it again, the seed in use among them, ready for JSON."""
        return {**super().get_config(), "minval": self.minval, "maxval": self.maxval}


@registered
class Orthogonal(Drawn):
    """A random matrix that keeps every length: all its singular values are the gain.

        W Wᵀ = gain² I (or Wᵀ W, whichever is smaller),  W the array as (all other axes, last axis)

    Args:
        gain: all the singular values; 0 makes every element 0.
        seed: an integer in [0, 2^64), a `keras.random.SeedGenerator`, or None for a fresh one.

    Raises:
        ArgumentError: an argument is not as above; when called, the shape has less than two axes.

    Example:
        >>> values = Orthogonal(seed=0)(shape=(2, 2))

    Source: Saxe, McClelland & Ganguli 2014; Mezzadri 2007 for drawing it evenly (Haar).
    """

    def __init__(self, gain: float = 1.0, seed: Any = None) -> None:
        self.gain = real(self, "gain", gain)
        if self.gain < 0.0:
            raise ArgumentError(
                f"{type(self).__name__}(gain={gain!r}): expected 0 or a positive number; the law of "
                "-W is that of W"
            )
        super().__init__(seed)

    def _law(self, shape: tuple[int, ...]) -> Law:
        self._axes(shape)
        return Constant(0.0) if self.gain == 0.0 else schemes.orthogonal(self.gain)

    def _axes(self, shape: tuple[int, ...]) -> Axes | None:
        if len(shape) < 2:
            raise ArgumentError(
                f"{type(self).__name__}: shape {shape} has {len(shape)} "
                f"{'axis' if len(shape) == 1 else 'axes'}; expected two or more, (..., in, out)"
            )
        return normalise_axes(shape)

    def get_config(self) -> dict[str, Any]:
        """The arguments that make it again, the seed in use among them, ready for JSON."""
        return {**super().get_config(), "gain": self.gain}


@registered
class DeltaOrthogonal(Orthogonal):
    """A convolution that keeps every length: orthogonal at the kernel's centre, zero elsewhere.

        W[centre] orthogonal times gain, W = 0 elsewhere

    Args:
        gain: the singular values of the centre; 0 makes every element 0.
        seed: an integer in [0, 2^64), a `keras.random.SeedGenerator`, or None for a fresh one.

    Raises:
        ArgumentError: an argument is not as above; when called, the shape is not that of a kernel,
            (receptive field..., in, out).

    Example:
        >>> values = DeltaOrthogonal(seed=0)(shape=(3, 3, 8, 16))

    Source: Xiao et al. 2018, algorithm 1.

    Differs: Keras has none; TensorFlow 1 had `ConvolutionDeltaOrthogonal`.
    """

    def _law(self, shape: tuple[int, ...]) -> Law:
        self._axes(shape)
        return Constant(0.0) if self.gain == 0.0 else schemes.delta_orthogonal(self.gain)
