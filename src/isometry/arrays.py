"""The schemes as NumPy arrays, in one call: `he_normal((256, 128), seed=0, name="fc1.weight")`.

Axes are named as in JAX: by default a kernel is (..., in, out). Element for element the array is
the transpose of the tensor that PyTorch's layer of the same seed and name has: its axes, put in
the order batch, out, in, receptive field, hold the stream in row-major order.
"""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from isometry.fan import fans_of, normalise_axes
from isometry.schemes import SCHEMES, Scheme
from isometry.schemes.describe import Arguments, describe
from isometry.stream import sample
from isometry.stream.index import shape_of
from isometry.types import Axes, Fans, Law

__all__ = [
    "ArrayScheme",
    "constant",
    "delta_orthogonal",
    "dirac",
    "glorot_normal",
    "glorot_uniform",
    "he_normal",
    "he_uniform",
    "identity",
    "kaiming_normal",
    "kaiming_uniform",
    "lecun_normal",
    "lecun_uniform",
    "normal",
    "ones",
    "orthogonal",
    "sparse",
    "truncated_normal",
    "uniform",
    "variance_scaling",
    "xavier_normal",
    "xavier_uniform",
    "zeros",
]


class ArrayScheme(Protocol):
    """A scheme that returns an array; `help` tells its parameters."""

    __name__: str

    def __call__(self, shape: Sequence[int], *args: Any, **kwargs: Any) -> NDArray[Any]: ...


_STREAM: Arguments = {
    "name": (
        None, "str | None",
        "of the parameter, \"fc1.weight\"; another name is another, independent stream. None names\n"
        "        it by its shape, \"256x128\": two arrays of one shape and seed are then equal, so give\n"
        "        each layer a name or a seed of its own.",
    ),
    "seed": (0, "int", "an integer in [0, 2^64)."),
}  # fmt: skip
_AXES: Arguments = {
    "in_axis": (-2, "AxisArgument", "the axis (or axes) summed over."),
    "out_axis": (-1, "AxisArgument", "the axis (or axes) of the outputs."),
    "batch_axis": (
        (), "AxisArgument",
        "axes that count independent matrices, such as experts. Every axis not named is\n"
        "        receptive field.",
    ),
}  # fmt: skip
_CONVOLUTION: Arguments = {
    "groups": (1, "int", "of a convolution, whose in_axis then holds the inputs of one group."),
    "stride": (
        1, "int | Sequence[int]",
        "of a convolution: it divides fan_out; one number, or one for each axis.",
    ),
}  # fmt: skip
_DTYPE: Arguments = {
    "dtype": (
        "float32", "DTypeLike",
        "\"float32\", \"float64\", \"float16\", \"bfloat16\", \"float8_e4m3fn\" or \"float8_e5m2\".\n"
        "        Each is the float32 value, rounded once or widened.",
    ),
}  # fmt: skip


def _array_scheme(name: str) -> ArrayScheme:
    """The function from a shape to an array that draws a scheme's law."""
    scheme = SCHEMES[name]
    takes_stream, takes_axes = _needs(scheme)

    def draw(*args: Any, **kwargs: Any) -> NDArray[Any]:
        try:
            bound = signature.bind(*args, **kwargs)
        except TypeError as error:
            raise TypeError(f"{name}() got {error}; its form is {name}{signature}") from None
        bound.apply_defaults()
        given = bound.arguments
        shape = shape_of(given["shape"])
        chosen = {key: given[key] for key in scheme.parameters}
        axes = _axes(shape, given, scheme) if takes_axes else None
        law = _law(scheme, shape, axes, given, chosen)
        order = _order(axes, len(shape))
        whole = sample(
            law,
            tuple(shape[a] for a in order),
            seed=given.get("seed", 0),
            name=_stream_name(given, shape, name),
            dtype=given["dtype"],
            axes=_torch_axes(axes),
        )
        return np.asarray(whole.transpose(np.argsort(order)), order="C")

    more = {
        **(_STREAM if takes_stream else {}),
        **(_AXES if takes_axes else {}),
        **(_CONVOLUTION if scheme.takes_fans else {}),
        **_DTYPE,
    }
    kernel = name in ("dirac", "delta_orthogonal")
    call = "(3, 3, 64, 64)" if kernel else "(256, 128)"
    call += ", 0.1" if name == "constant" else ""
    call += ', seed=0, name="fc1.weight"' if takes_stream else ""
    describe(
        draw,
        scheme,
        name=name,
        module=__name__,
        first=("shape", "Sequence[int]", "of the array."),
        more=more,
        returns=("NDArray[Any]", "An array of that shape and dtype."),
        raises="shape, axes, seed, name or dtype is not as above",
        example=f">>> w = {name}({call})\n>>> w.shape\n{(3, 3, 64, 64) if kernel else (256, 128)}",
        note=_NOTE if takes_stream else "",
    )
    signature = inspect.signature(draw)
    return draw


_NOTE = (
    "The array is the transpose of PyTorch's tensor of the same seed and name, bit for bit: its\n"
    "axes in the order batch, out, in, receptive field hold the stream in row-major order."
)


def _stream_name(given: dict[str, Any], shape: tuple[int, ...], scheme: str) -> str:
    """The name given; else one that tells arrays of different shapes apart."""
    if "name" not in given:
        return scheme  # a law that draws nothing
    named: str | None = given["name"]
    return "x".join(map(str, shape)) or "scalar" if named is None else named


def _needs(scheme: Scheme) -> tuple[bool, bool]:
    """Does the scheme draw from the stream, and does it matter which axis is which?"""
    if scheme.name in ("zeros", "ones", "constant"):
        return False, False
    return scheme.name not in ("identity", "dirac"), True


def _axes(shape: tuple[int, ...], given: dict[str, Any], scheme: Scheme) -> Axes | None:
    """The axes named; None for a vector whose law needs none."""
    named = tuple(given[key] for key in _AXES)
    defaults = tuple(default for default, _, _ in _AXES.values())
    plain = scheme.name in ("normal", "uniform", "truncated_normal")
    if plain and len(shape) < 2 and named == defaults:
        return None
    return normalise_axes(shape, *named)


def _law(
    scheme: Scheme,
    shape: tuple[int, ...],
    axes: Axes | None,
    given: dict[str, Any],
    chosen: dict[str, Any],
) -> Law:
    if scheme.takes_fans:
        assert axes is not None  # such a scheme has always named its axes
        # Of an array without elements nothing is drawn, and any scale will do.
        empty = 0 in shape
        found = fans_of(shape, axes, groups=given["groups"], stride=given["stride"])
        return scheme.make(Fans(1.0, 1.0) if empty else found, **chosen)
    return scheme.make(**chosen)


def _order(axes: Axes | None, ndim: int) -> tuple[int, ...]:
    """The array's axes in the order in which the stream runs through them."""
    if axes is None:
        return tuple(range(ndim))
    named = (*axes.batch_axis, *axes.out_axis, *axes.in_axis)
    return (*named, *(a for a in range(ndim) if a not in named))


def _torch_axes(axes: Axes | None) -> Axes | None:
    """The same axes, where they lie once the array's are in that order."""
    if axes is None:
        return None
    batch, out, into = len(axes.batch_axis), len(axes.out_axis), len(axes.in_axis)
    return Axes(
        batch_axis=tuple(range(batch)),
        out_axis=tuple(range(batch, batch + out)),
        in_axis=tuple(range(batch + out, batch + out + into)),
    )


zeros = _array_scheme("zeros")
ones = _array_scheme("ones")
constant = _array_scheme("constant")
identity = _array_scheme("identity")
dirac = _array_scheme("dirac")
uniform = _array_scheme("uniform")
normal = _array_scheme("normal")
truncated_normal = _array_scheme("truncated_normal")
variance_scaling = _array_scheme("variance_scaling")
lecun_normal = _array_scheme("lecun_normal")
lecun_uniform = _array_scheme("lecun_uniform")
glorot_normal = xavier_normal = _array_scheme("glorot_normal")
glorot_uniform = xavier_uniform = _array_scheme("glorot_uniform")
he_normal = kaiming_normal = _array_scheme("he_normal")
he_uniform = kaiming_uniform = _array_scheme("he_uniform")
orthogonal = _array_scheme("orthogonal")
delta_orthogonal = _array_scheme("delta_orthogonal")
sparse = _array_scheme("sparse")
