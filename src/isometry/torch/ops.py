"""ATen operations by the graph's names: one table, no judgement.

Each entry turns one recorded call into the operation, its tensor operands in order, and the
attributes that the core reads. Affine parts of a fused operation (a bias, a norm's weight) are
returned apart, as `mul` and `add` that follow it, so that the core sees one form.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

__all__ = ["COPIES", "OPS", "Op", "describe"]

Args = tuple[Any, ...]
Kwargs = Mapping[str, Any]


@dataclass(slots=True)
class Op:
    """One recorded call in the graph's terms; `then` holds (op, operand) applied to its output."""

    op: str
    operands: tuple[Any, ...]
    attrs: dict[str, Any] = field(default_factory=dict)
    then: tuple[tuple[str, Any], ...] = ()


# Copies that change nothing but where, how and how precisely values are stored.
COPIES = frozenset(
    "clone _to_copy contiguous lift_fresh_copy view_copy expand_copy to_dense _unsafe_view "
    "unsafe_split unsafe_split_with_sizes unsafe_chunk permute_copy slice_copy".split()
)


def _arg(args: Args, kwargs: Kwargs, place: int, name: str, default: Any = None) -> Any:
    return args[place] if len(args) > place else kwargs.get(name, default)


def _pointwise(fn: str, *names: tuple[int, str, Any]) -> Callable[..., Op]:
    def make(args: Args, kwargs: Kwargs, out: Any) -> Op:
        values = tuple(_arg(args, kwargs, *name) for name in names)
        return Op("pointwise", args[:1], {"fn": fn, "args": values})

    return make


def _gelu(args: Args, kwargs: Kwargs, out: Any) -> Op:
    tanh = kwargs.get("approximate", "none") == "tanh"
    return Op("pointwise", args[:1], {"fn": "gelu_tanh" if tanh else "gelu", "args": ()})


def _binary(op: str) -> Callable[..., Op]:
    def make(args: Args, kwargs: Kwargs, out: Any) -> Op:
        a, b = args[0], args[1]
        alpha = kwargs.get("alpha", 1)
        if not isinstance(b, Tensor):
            value = b * alpha if op in ("add", "sub", "rsub") else b
            return Op("pointwise", (a,), {"fn": op, "args": (float(value),)})
        if not isinstance(a, Tensor):
            return Op("pointwise", (b,), {"fn": f"r{op}", "args": (float(a),)})
        if op == "rsub":
            return Op("sub", (b, a), {})
        return Op(op, (a, b), {} if alpha == 1 else {"alpha": float(alpha)})

    return make


def _matmul(first: int, second: int) -> Callable[..., Op]:
    def make(args: Args, kwargs: Kwargs, out: Any) -> Op:
        then: tuple[tuple[str, Any], ...] = (("add", args[0]),) if first == 1 else ()
        if first == 1 and kwargs.get("beta", 1) == 0:
            then = ()
        scale = float(kwargs.get("alpha", 1))
        return Op("matmul", (args[first], args[second]), {"scale": scale}, then)

    return make


def _linear(args: Args, kwargs: Kwargs, out: Any) -> Op:
    bias = _arg(args, kwargs, 2, "bias")
    return Op("matmul_t", args[:2], {"scale": 1.0}, () if bias is None else (("add", bias),))


def _convolution(args: Args, kwargs: Kwargs, out: Any) -> Op:
    x, weight, bias, stride, padding, dilation, transposed = args[:7]
    attrs = {
        "stride": tuple(stride), "padding": tuple(padding), "dilation": tuple(dilation),
        "transposed": bool(transposed), "groups": int(args[8]),
        "size": tuple(x.shape[2:]), "kernel": tuple(weight.shape[2:]),
    }  # fmt: skip
    return Op("conv", (x, weight), attrs, () if bias is None else (("add", bias),))


def _norm(kind: str, weight: int, bias: int | None, eps: int) -> Callable[..., Op]:
    def make(args: Args, kwargs: Kwargs, out: Any) -> Op:
        affine = [("mul", args[weight])]
        if bias is not None and len(args) > bias:
            affine.append(("add", args[bias]))
        attrs = {"kind": kind, "eps": float(_arg(args, kwargs, eps, "eps", 0.0) or 0.0)}
        if kind == "group":
            attrs["channels"] = args[4] // args[6]  # in a group
        return Op("norm", args[:1], attrs, tuple(a for a in affine if a[1] is not None))

    return make


def _count(args: Args, out: Any) -> int:
    result = out[0] if isinstance(out, (tuple, list)) else out
    return int(max(1, args[0].numel() // max(1, result.numel())))


def _reduce(op: str, kind: str | None = None) -> Callable[..., Op]:
    def make(args: Args, kwargs: Kwargs, out: Any) -> Op:
        if len(args) > 1 and isinstance(args[1], Tensor):  # max.other: of two tensors
            return Op("max", args[:2], {})
        attrs: dict[str, Any] = {"count": _count(args, out)}
        if kind is not None:
            attrs["kind"] = kind
            attrs["dims"] = tuple(range(2, args[0].dim()))
        elif op in ("mean", "sum", "maximum"):
            attrs["dims"] = _dims(args, kwargs)
        return Op(op, args[:1], attrs)

    return make


def _dims(args: Args, kwargs: Kwargs) -> tuple[int, ...]:
    """The axes that a reduction runs over."""
    dim = _arg(args, kwargs, 1, "dim")
    if dim is None or isinstance(dim, (Tensor, bool, str)) or not args[0].dim():
        return tuple(range(args[0].dim()))
    return tuple(d % args[0].dim() for d in (dim if isinstance(dim, (list, tuple)) else (dim,)))


def _window(kind: str) -> Callable[..., Op]:
    def make(args: Args, kwargs: Kwargs, out: Any) -> Op:
        return Op("pool", args[:1], {"kind": kind, "count": math.prod(args[1])})

    return make


def _softmax(args: Args, kwargs: Kwargs, out: Any) -> Op:
    count = args[0].shape[args[1]] if args[0].dim() else 1
    return Op("softmax", args[:1], {"count": count, "axis": args[1]})


def _concat(args: Args, kwargs: Kwargs, out: Any) -> Op:
    return Op("concat", tuple(args[0]), {"axis": _arg(args, kwargs, 1, "dim", 0)})


def _reindex(args: Args, kwargs: Kwargs, out: Any) -> Op:
    return Op("view", args[:1], {})


def _pad(args: Args, kwargs: Kwargs, out: Any) -> Op:
    """Zeros around the last axes: (before, after) of each, the first axis first."""
    pairs = [tuple(args[1][i : i + 2]) for i in range(0, len(args[1]), 2)]
    zero = _arg(args, kwargs, 2, "value", 0) == 0
    return Op("view", args[:1], {"pad": tuple(reversed(pairs))} if zero else {})


def _index(args: Args, kwargs: Kwargs, out: Any) -> Op:
    indices = args[1] if isinstance(args[1], (list, tuple)) else (args[2],)
    return Op("lookup", (args[0], *(i for i in indices if i is not None)), {})


def _embedding(args: Args, kwargs: Kwargs, out: Any) -> Op:
    padding = int(_arg(args, kwargs, 2, "padding_idx", -1))
    return Op("lookup", args[:2], {} if padding < 0 else {"padding_idx": padding})


def _embedding_bag(args: Args, kwargs: Kwargs, out: Any) -> Op:
    padding = int(_arg(args, kwargs, 8, "padding_idx", -1))
    bags = max(1, out[0].shape[0] if isinstance(out, (tuple, list)) else out.shape[0])
    attrs: dict[str, Any] = {
        "bag": ("sum", "mean", "max")[int(_arg(args, kwargs, 4, "mode", 0))],
        "count": max(1, round(args[1].numel() / bags)),
    }
    return Op("lookup", args[:2], attrs if padding < 0 else {**attrs, "padding_idx": padding})


def _where(args: Args, kwargs: Kwargs, out: Any) -> Op:
    kept = tuple(a for a in args[1:3] if isinstance(a, Tensor))
    return Op("where", kept, {"square": _square(args[0])})


def _write(args: Args, kwargs: Kwargs, out: Any) -> Op:
    """An in-place write of part of a tensor: what was there, and what is put there."""
    rest = [a for a in args[1:] if isinstance(a, Tensor) and a.is_floating_point()]
    return Op("where", (args[0], *rest), {})


def _accumulate(args: Args, kwargs: Kwargs, out: Any) -> Op:
    rest = [a for a in args[1:] if isinstance(a, Tensor) and a.is_floating_point()]
    return Op("add", (args[0], *rest[:1]), {})


def _attention(args: Args, kwargs: Kwargs, out: Any) -> Op:
    query, key = args[0], args[1]
    mask = next((a for a in (*args[3:], *kwargs.values()) if isinstance(a, Tensor)), None)
    flag = any(a is True for a in (*args[3:], kwargs.get("is_causal")))
    scale = kwargs.get("scale")
    attrs = {
        "size": query.shape[-1], "count": key.shape[-2],
        "scale": None if scale is None else float(scale), "causal": flag or _square(mask),
    }  # fmt: skip
    return Op("attention", args[:3], attrs)


def _square(mask: Any) -> bool:
    """Does a mask tell pairs of places apart, as a causal one does and one for padding does not?"""
    if not isinstance(mask, Tensor) or mask.dim() < 2:
        return False
    n, m = mask.shape[-2:]
    return n == m and n > 1 and mask.stride(-2) != 0


def _masked(args: Args, kwargs: Kwargs, out: Any) -> Op:
    return Op("where", args[:1], {"square": _square(_arg(args, kwargs, 1, "mask"))})


def _fma(op: str) -> Callable[..., Op]:
    def make(args: Args, kwargs: Kwargs, out: Any) -> Op:
        return Op(op, args[1:3], {}, (("add", args[0]),))

    return make


def _lerp(args: Args, kwargs: Kwargs, out: Any) -> Op:
    return Op("where", args[:2], {})


_UNARY = (
    "relu silu sigmoid tanh mish hardswish hardsigmoid exp log neg abs sqrt rsqrt reciprocal sin "
    "cos erf square log1p expm1 sinh cosh relu6 sign exp2 log2 atan asinh floor round ceil"
)

OPS: dict[str, Callable[..., Op]] = {
    **{name: _pointwise(name) for name in _UNARY.split()},
    "gelu": _gelu,
    "log_sigmoid_forward": _pointwise("logsigmoid"),
    "leaky_relu": _pointwise("leaky_relu", (1, "negative_slope", 0.01)),
    "elu": _pointwise("elu", (1, "alpha", 1.0), (2, "scale", 1.0), (3, "input_scale", 1.0)),
    "celu": _pointwise("celu", (1, "alpha", 1.0)),
    "hardtanh": _pointwise("clamp", (1, "min_val", -1.0), (2, "max_val", 1.0)),
    "clamp": _pointwise("clamp", (1, "min", None), (2, "max", None)),
    "clamp_min": _pointwise("clamp", (1, "min", None), (9, "max", None)),
    "softplus": _pointwise("softplus", (1, "beta", 1.0), (2, "threshold", 20.0)),
    "hardshrink": _pointwise("hardshrink", (1, "lambd", 0.5)),
    "softshrink": _pointwise("softshrink", (1, "lambd", 0.5)),
    "threshold": _pointwise("threshold", (1, "threshold", 0.0), (2, "value", 0.0)),
    "glu": lambda args, kwargs, out: Op("glu", args[:1], {}),
    "pow": _binary("pow"),
    "add": _binary("add"), "sub": _binary("sub"), "rsub": _binary("rsub"),
    "mul": _binary("mul"), "div": _binary("div"),
    "maximum": _binary("max"), "minimum": _binary("min"),
    "addcmul": _fma("mul"), "addcdiv": _fma("div"), "lerp": _lerp,
    "mm": _matmul(0, 1), "bmm": _matmul(0, 1), "mv": _matmul(0, 1), "dot": _matmul(0, 1),
    "addmm": _matmul(1, 2), "baddbmm": _matmul(1, 2), "addmv": _matmul(1, 2),
    "linear": _linear, "_grouped_mm": _matmul(0, 1),
    "_trilinear": lambda args, kwargs, out: Op("bilinear", args[:3], {}),
    "convolution": _convolution,
    "_convolution": _convolution,
    "native_layer_norm": _norm("layer", 2, 3, 4),
    "native_group_norm": _norm("group", 1, 2, 7),
    "native_batch_norm": _norm("batch", 1, 2, 7),
    "cudnn_batch_norm": _norm("batch", 1, 2, 7),
    "_native_batch_norm_legit": _norm("batch", 1, 2, 7),
    "_native_batch_norm_legit_no_training": _norm("batch", 1, 2, 6),
    "_batch_norm_with_update": _norm("batch", 1, 2, 6),
    "_fused_rms_norm": _norm("rms", 2, None, 3),
    "rms_norm": _norm("rms", 2, None, 3),
    "_softmax": _softmax, "_safe_softmax": _softmax, "_log_softmax": _softmax,
    "embedding": _embedding, "_embedding_bag": _embedding_bag,
    "_embedding_bag_forward_only": _embedding_bag,
    "constant_pad_nd": _pad,
    "index": _index, "index_select": _index,
    "sum": _reduce("sum"), "mean": _reduce("mean"),
    "amax": _reduce("maximum"), "max": _reduce("maximum"), "amin": _reduce("maximum"),
    "var": _reduce("variance"), "std": _reduce("deviation"), "var_mean": _reduce("variance"),
    "linalg_vector_norm": _reduce("length"), "norm": _reduce("length"),
    "avg_pool1d": _window("avg"), "avg_pool2d": _window("avg"), "avg_pool3d": _window("avg"),
    "_adaptive_avg_pool2d": _reduce("pool", "avg"), "_adaptive_avg_pool3d": _reduce("pool", "avg"),
    "max_pool2d_with_indices": _window("max"), "max_pool3d_with_indices": _window("max"),
    "adaptive_max_pool2d": _reduce("pool", "max"), "adaptive_max_pool3d": _reduce("pool", "max"),
    "cat": _concat, "stack": _concat,
    "where": _where, "masked_fill": _masked,
    "copy": _write, "index_put": _write, "scatter": _write, "masked_scatter": _write,
    "slice_scatter": _write, "select_scatter": _write, "index_copy": _write,
    "index_add": _accumulate, "scatter_add": _accumulate,
    "native_dropout": lambda args, kwargs, out: Op("dropout", args[:1], {}),
    **dict.fromkeys((
        "_scaled_dot_product_flash_attention_for_cpu", "_scaled_dot_product_flash_attention",
        "_scaled_dot_product_efficient_attention", "_scaled_dot_product_cudnn_attention",
        "_scaled_dot_product_attention_math", "_scaled_dot_product_fused_attention_overrideable"), _attention),
    **dict.fromkeys((
        "roll flip gather repeat reflection_pad1d reflection_pad2d tril triu "
        "replication_pad1d replication_pad2d pixel_shuffle pixel_unshuffle repeat_interleave "
        "upsample_nearest1d upsample_nearest2d upsample_bilinear2d upsample_bicubic2d "
        "_upsample_bilinear2d_aa _upsample_bicubic2d_aa upsample_nearest3d upsample_linear1d "
        "im2col col2im unfold masked_select take channel_shuffle sort topk cumsum grid_sampler_2d "
        "index_fill nan_to_num").split(), _reindex),
}  # fmt: skip


def describe(name: str, args: Args, kwargs: Kwargs, out: Any) -> Op:
    """The graph's form of a call; an operation it does not know is "opaque" and named."""
    make = OPS.get(name)
    if make is not None:
        return make(args, kwargs, out)
    tensors: list[Any] = []
    for value in (*args, *kwargs.values()):
        items = value if isinstance(value, (list, tuple)) else (value,)
        tensors += [t for t in items if isinstance(t, Tensor)]
    return Op("opaque", tuple(tensors), {"name": name})
