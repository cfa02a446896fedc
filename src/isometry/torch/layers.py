"""What each parameter of a layer is: one table from class to axes, fans and blocks.

The graph tells more; this is what is known of a layer on its own, and where no graph can be had.
PyTorch lays weights out as Linear (out, in), Conv (out, in/groups, k...), ConvTranspose
(in, out/groups, k...), Embedding (rows, dim); LSTM gates are stacked i f g o, GRU gates r z n.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import nullcontext
from dataclasses import dataclass

import torch
from torch import nn
from torch.nn.parameter import is_lazy
from torch.nn.utils import parametrize

from isometry.errors import ArgumentError
from isometry.fan import fans_of
from isometry.torch.guard import as_if_never_run
from isometry.types import Axes, Fans

__all__ = ["BlockLayout", "ParamLayout", "fans", "layer_params"]


@dataclass(frozen=True, slots=True)
class BlockLayout:
    """A range of one axis of a fused weight that is a matrix of its own."""

    name: str
    axis: int
    start: int
    stop: int
    fans: Fans | None


@dataclass(frozen=True, slots=True)
class ParamLayout:
    """What is known of one parameter from its layer alone.

    Attributes:
        role: "weight", "recurrent", "projection" (of an LSTM's output), "table" (looked up),
            "bias", or "token" (a learned key or value).
        axes: of a weight; None for a bias.
        fans: of the whole where there are no blocks, of each block where there are (all alike, or
            None where they differ).
        blocks: covering one axis whole, in the order they are stacked.
    """

    role: str
    axes: Axes | None = None
    fans: Fans | None = None
    blocks: tuple[BlockLayout, ...] = ()


Params = dict[str, ParamLayout]
_MATRIX = Axes(in_axis=(1,), out_axis=(0,))
_TABLE = Axes(in_axis=(), out_axis=(1,), batch_axis=(0,))
_LSTM, _GRU = ("i", "f", "g", "o"), ("r", "z", "n")
_GATES: dict[type[nn.Module], tuple[str, ...]] = {
    nn.LSTM: _LSTM, nn.LSTMCell: _LSTM, nn.GRU: _GRU, nn.GRUCell: _GRU,
}  # fmt: skip
_BIAS = ParamLayout("bias")


def _matrix(weight: torch.Tensor, role: str = "weight", names: tuple[str, ...] = ()) -> ParamLayout:
    """A matrix (out, in), or several of the same size stacked along the outputs."""
    rows, columns = weight.shape
    if not names:
        return ParamLayout(role, _MATRIX, fans_of((rows, columns), _MATRIX))
    size = rows // len(names)
    each = fans_of((size, columns), _MATRIX)
    blocks = tuple(
        BlockLayout(name, 0, i * size, (i + 1) * size, each) for i, name in enumerate(names)
    )
    return ParamLayout(role, _MATRIX, each, blocks)


def _stacked_bias(bias: torch.Tensor, names: tuple[str, ...]) -> ParamLayout:
    size = len(bias) // max(len(names), 1)
    return ParamLayout(
        "bias",
        blocks=tuple(
            BlockLayout(name, 0, i * size, (i + 1) * size, None) for i, name in enumerate(names)
        ),
    )


def _linear(m: nn.Linear) -> Params:
    return {"weight": _matrix(m.weight), "bias": _BIAS}


def _bilinear(m: nn.Bilinear) -> Params:
    # y_k = x W_k z sums in1 * in2 products, and each product reaches every output.
    axes = Axes(in_axis=(1, 2), out_axis=(0,))
    return {"weight": ParamLayout("weight", axes, fans_of(m.weight.shape, axes)), "bias": _BIAS}


def _conv(m: nn.modules.conv._ConvNd) -> Params:
    axes = Axes(in_axis=(0,), out_axis=(1,)) if m.transposed else _MATRIX
    found = fans_of(m.weight.shape, axes, groups=m.groups, stride=m.stride, transposed=m.transposed)
    return {"weight": ParamLayout("weight", axes, found), "bias": _BIAS}


def _embedding(m: nn.Embedding | nn.EmbeddingBag) -> Params:
    return {"weight": ParamLayout("table", _TABLE, fans_of(m.weight.shape, _TABLE))}


def _attention(m: nn.MultiheadAttention) -> Params:
    names = ("q", "k", "v")
    found = {"bias_k": ParamLayout("token"), "bias_v": ParamLayout("token")}
    if m.in_proj_weight is not None:
        found["in_proj_weight"] = _matrix(m.in_proj_weight, names=names)
    else:
        for name in names:
            found[f"{name}_proj_weight"] = _matrix(getattr(m, f"{name}_proj_weight"))
    if m.in_proj_bias is not None:
        found["in_proj_bias"] = _stacked_bias(m.in_proj_bias, names)
    return found


def _recurrent(m: nn.RNNBase | nn.RNNCellBase) -> Params:
    """A recurrent layer, or a cell: weight_ih (gates * hidden, in), weight_hh, weight_hr."""
    gates = next((names for cls, names in _GATES.items() if isinstance(m, cls)), ())
    found: Params = {}
    for name, p in m.named_parameters(recurse=False):
        if name.startswith("weight_ih"):
            found[name] = _matrix(p, names=gates)
        elif name.startswith("weight_hh"):
            found[name] = _matrix(p, "recurrent", gates)
        elif name.startswith("weight_hr"):
            found[name] = _matrix(p, "projection")
        elif name.startswith("bias_"):
            found[name] = _stacked_bias(p, gates)
    return found


def _conv1d(m: nn.Module) -> Params:
    """transformers' Conv1D: a linear layer whose weight is (in, out)."""
    axes = Axes(in_axis=(0,), out_axis=(1,))
    weight = m.get_parameter("weight")
    return {"weight": ParamLayout("weight", axes, fans_of(weight.shape, axes)), "bias": _BIAS}


# NonDynamicallyQuantizableLinear is a Linear, and every convolution a _ConvNd.
_LAYERS: dict[type[nn.Module], Callable[..., Params]] = {
    nn.Linear: _linear,
    nn.Bilinear: _bilinear,
    nn.modules.conv._ConvNd: _conv,
    nn.Embedding: _embedding,
    nn.EmbeddingBag: _embedding,
    nn.MultiheadAttention: _attention,
    nn.RNNBase: _recurrent,
    nn.RNNCellBase: _recurrent,
}
# Known without importing the library that defines it: (module, class) -> reader.
_ELSEWHERE: dict[tuple[str, str], Callable[..., Params]] = {
    ("transformers.pytorch_utils", "Conv1D"): _conv1d,
}


def _reader(module: nn.Module) -> Callable[..., Params] | None:
    for cls in type(module).__mro__:
        found = _LAYERS.get(cls) or _ELSEWHERE.get((cls.__module__, cls.__name__))
        if found is not None:
            return found
    return None


def layer_params(module: nn.Module) -> Mapping[str, ParamLayout]:
    """What is known of each parameter that a layer owns itself (not those of its children).

    Args:
        module: any module; subclasses of a known layer are read as that layer.

    Returns:
        Parameter name -> ParamLayout, without the parameters that the layer has not got (a bias
        turned off); empty for a class that is not in the table.

    Raises:
        ArgumentError: the layer is lazy and has no shape yet.

    Example:
        >>> layout = layer_params(nn.Conv2d(64, 128, 3, groups=4))["weight"]
        >>> layout.fans
        Fans(fan_in=144.0, fan_out=288.0)
    """
    lazy = [n for n, p in module.named_parameters(recurse=False) if is_lazy(p)]
    if lazy:
        raise ArgumentError(
            f"{type(module).__name__}.{lazy[0]} is lazy and has no shape yet; run the model once "
            "on an input, then ask again"
        )
    reader = _reader(module)
    if reader is None:
        return {}
    # Reading a parametrised weight computes it, and spectral norm then moves its buffers.
    parametrised = parametrize.is_parametrized(module)
    with as_if_never_run(module) if parametrised else nullcontext():
        return {n: p for n, p in reader(module).items() if getattr(module, n, None) is not None}


def fans(layer: nn.Module) -> Fans | Mapping[str, Fans]:
    """The fans of a layer's weight; of each weight by name where it has several.

        fan_in: how many terms one output sums; fan_out: how many outputs one input reaches

    A fused weight (attention's in_proj, a recurrent layer's gates) counts as the separate matrices
    it is made of. A table that is looked up has fan_in 1.

    Args:
        layer: Linear, Bilinear, Conv*, ConvTranspose*, Embedding, EmbeddingBag,
            MultiheadAttention, RNN, LSTM, GRU and their cells, transformers' Conv1D, or a subclass.

    Returns:
        Fans, or a mapping from parameter name to Fans.

    Raises:
        ArgumentError: the layer is lazy, or of a class that is not known.

    Example:
        >>> fans(nn.Conv2d(64, 64, 3, groups=64))
        Fans(fan_in=9.0, fan_out=9.0)
        >>> fans(nn.GRU(8, 16))["weight_ih_l0"]
        Fans(fan_in=8.0, fan_out=16.0)

    Source: He et al. 2015, sec. 2.2.

    `torch.nn.init` reads (fan_in, fan_out) off axes 1 and 0 whatever the layer, and so leaves
    groups and strides out, swaps transposed convolutions and takes fused matrices for one.
    """
    found = {n: p.fans for n, p in layer_params(layer).items() if p.fans is not None}
    if not found:
        raise ArgumentError(
            f"{type(layer).__name__} is not a layer whose fans are known; pass the shape of its "
            "weight and its axes: fans(tuple(weight.shape), in_axis=1, out_axis=0)"
        )
    return found["weight"] if list(found) == ["weight"] else found
