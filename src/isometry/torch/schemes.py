"""The schemes on one tensor, in place: `he_normal_(layer.weight, seed=0, name="fc1.weight")`.

The scheme's name with an underscore, as in `torch.nn.init`. A weight is read as Linear's (out, in)
or Conv's (out, in, k...) unless told otherwise: pass `fans=fans(layer)` for everything else.
"""

from __future__ import annotations

import inspect
from typing import Any, Protocol

import torch

from isometry.errors import ArgumentError
from isometry.fan import fans_of
from isometry.schemes import SCHEMES, Scheme
from isometry.schemes.describe import Arguments, describe
from isometry.stream.index import shape_of
from isometry.torch.fill import fill_
from isometry.types import Axes, Fans, Law

__all__ = [
    "TensorScheme",
    "constant_",
    "delta_orthogonal_",
    "dirac_",
    "glorot_normal_",
    "glorot_uniform_",
    "he_normal_",
    "he_uniform_",
    "identity_",
    "kaiming_normal_",
    "kaiming_uniform_",
    "lecun_normal_",
    "lecun_uniform_",
    "normal_",
    "ones_",
    "orthogonal_",
    "sparse_",
    "truncated_normal_",
    "uniform_",
    "variance_scaling_",
    "xavier_normal_",
    "xavier_uniform_",
    "zeros_",
]


class TensorScheme(Protocol):
    """A scheme that fills a tensor in place; `help` tells its parameters."""

    __name__: str

    def __call__(self, tensor: torch.Tensor, *args: Any, **kwargs: Any) -> torch.Tensor: ...


_STREAM: Arguments = {
    "name": (
        inspect.Parameter.empty, "str",
        "of the parameter, \"fc1.weight\"; another name is another, independent stream.",
    ),
    "seed": (0, "int", "an integer in [0, 2^64)."),
}  # fmt: skip
_FANS: Arguments = {
    "fans": (
        None, "Fans | None",
        "of the weight. None reads Linear's (out, in) or Conv's (out, in, k...) off the\n"
        "        shape; for groups, strides, transposed convolutions, tables, bilinear layers and\n"
        "        fused matrices pass `fans(layer)`.",
    ),
}  # fmt: skip
_AXES: Arguments = {
    "axes": (
        None, "Axes | None",
        "what each axis is for, where it is not (out, in, receptive field):\n"
        "        Axes(in_axis=(2,), out_axis=(1,), batch_axis=(0,)) for experts.",
    ),
}  # fmt: skip
_PART: Arguments = {
    "index": (
        None, "Any",
        "where the tensor is a part of a larger one, which part: an entry an axis.",
    ),
    "shape": (None, "Sequence[int] | None", "of that larger tensor."),
}  # fmt: skip
_DEFAULT = Axes(in_axis=(1,), out_axis=(0,))


def _tensor_scheme(name: str) -> TensorScheme:
    """The function that fills a tensor by a scheme."""
    scheme, own = SCHEMES[name], f"{name}_"
    takes_stream = name not in ("zeros", "ones", "constant", "identity", "dirac")
    takes_axes = scheme.takes_fans or scheme.takes_size or name in ("identity", "dirac", "sparse")

    def fill(*args: Any, **kwargs: Any) -> torch.Tensor:
        try:
            bound = signature.bind(*args, **kwargs)
        except TypeError as error:
            raise TypeError(f"{own}() got {error}; its form is {own}{signature}") from None
        bound.apply_defaults()
        given = bound.arguments
        law = _law(scheme, given)
        return fill_(
            given["tensor"],
            law,
            seed=given.get("seed", 0),
            name=given.get("name", name),
            index=given.get("index"),
            shape=given.get("shape"),
            axes=given.get("axes"),
        )

    kernel = name in ("dirac", "delta_orthogonal")
    tensor = "torch.empty(64, 64, 3, 3)" if kernel else "torch.empty(128, 256)"
    call = f"{tensor}{', 0.1' if name == 'constant' else ''}"
    call += ', seed=0, name="fc1.weight"' if takes_stream else ""
    describe(
        fill,
        scheme,
        name=own,
        module=__name__,
        first=("tensor", "torch.Tensor", "floating-point, of any strides, on any device but meta."),
        more={
            **(_STREAM if takes_stream else {}),
            **(_FANS if scheme.takes_fans else {}),
            **(_AXES if takes_axes else {}),
            **(_PART if takes_stream or takes_axes else {}),
        },
        returns=("torch.Tensor", "The same tensor."),
        raises="the tensor cannot be filled, or another argument is not as above",
        example=f">>> w = {own}({call})\n>>> bool(w.isfinite().all())\nTrue",
    )
    signature = inspect.signature(fill)
    return fill


def _law(scheme: Scheme, given: dict[str, Any]) -> Law:
    chosen = {key: given[key] for key in scheme.parameters}
    if not scheme.takes_fans:
        return scheme.make(**chosen)
    fans, axes, whole = given["fans"], given["axes"], given["shape"]
    if fans is not None and not isinstance(fans, Fans):
        raise ArgumentError(
            f"fans={fans!r}: expected Fans, as fans(layer) returns; of a layer with several "
            "weights, those of one: fans(layer)['weight_ih_l0']"
        )
    sizes = shape_of(given["tensor"].shape if whole is None else whole)
    if fans is None and axes is None and len(sizes) < 2:
        raise ArgumentError(
            f"a tensor of shape {sizes} has no fans: expected two axes or more, (out, in, ...); "
            "pass fans=Fans(fan_in, fan_out), or choose a law that needs none, such as "
            "normal_(tensor, 0.02, ...) or zeros_(tensor)"
        )
    if 0 in sizes:  # nothing is drawn, and any scale will do
        fans = Fans(1.0, 1.0)
    return scheme.make(fans or fans_of(sizes, axes or _DEFAULT), **chosen)


zeros_ = _tensor_scheme("zeros")
ones_ = _tensor_scheme("ones")
constant_ = _tensor_scheme("constant")
identity_ = _tensor_scheme("identity")
dirac_ = _tensor_scheme("dirac")
uniform_ = _tensor_scheme("uniform")
normal_ = _tensor_scheme("normal")
truncated_normal_ = _tensor_scheme("truncated_normal")
variance_scaling_ = _tensor_scheme("variance_scaling")
lecun_normal_ = _tensor_scheme("lecun_normal")
lecun_uniform_ = _tensor_scheme("lecun_uniform")
glorot_normal_ = xavier_normal_ = _tensor_scheme("glorot_normal")
glorot_uniform_ = xavier_uniform_ = _tensor_scheme("glorot_uniform")
he_normal_ = kaiming_normal_ = _tensor_scheme("he_normal")
he_uniform_ = kaiming_uniform_ = _tensor_scheme("he_uniform")
orthogonal_ = _tensor_scheme("orthogonal")
delta_orthogonal_ = _tensor_scheme("delta_orthogonal")
sparse_ = _tensor_scheme("sparse")
