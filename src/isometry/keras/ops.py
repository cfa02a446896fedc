"""Keras's operations by the graph's names: one table, no judgement.

Each entry reads one step and gives the views of its outputs. What is no arithmetic on
floating-point numbers is a constant; what is not in the table is "opaque".
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from isometry.keras.convolutions import CONVOLUTIONS
from isometry.keras.moves import MOVES
from isometry.keras.norms import NORMS
from isometry.keras.products import PRODUCTS
from isometry.keras.trace import Step
from isometry.views import View

if TYPE_CHECKING:
    from isometry.keras.reader import Reader

__all__ = ["OPS"]

Rule = Callable[["Reader", Step], "View | Sequence[View]"]
SELU = (1.6732632423543772, 1.0507009873554805, 1.0)

FUNCTIONS = {
    "Relu": "relu", "Relu6": "relu6", "Sigmoid": "sigmoid", "Silu": "silu", "Tanh": "tanh",
    "Softsign": "softsign", "LogSigmoid": "logsigmoid", "HardSigmoid": "hardsigmoid",
    "HardSilu": "hardswish", "TanhShrink": "tanhshrink", "Exp": "exp", "Exp2": "exp2", "Log": "log",
    "Log1p": "log1p", "Log2": "log2", "Expm1": "expm1", "Negative": "neg", "Absolute": "abs",
    "Fabs": "abs", "Sqrt": "sqrt", "Rsqrt": "rsqrt", "Sin": "sin", "Cos": "cos", "Square": "square",
    "Sign": "sign", "Mish": "mish", "Floor": "floor", "Ceil": "ceil", "Round": "round", "Sinh": "sinh",
    "Cosh": "cosh", "Arctan": "atan", "Arcsinh": "asinh", "Erf": "erf", "Reciprocal": "reciprocal",
}  # fmt: skip
BINARY = {
    "Add": "add", "Subtract": "sub", "Multiply": "mul", "Divide": "div", "TrueDivide": "div",
    "DivideNoNan": "div", "Maximum": "max", "Minimum": "min", "Fmax": "max", "Fmin": "min",
    "Power": "pow",
}  # fmt: skip
WITH_ARGUMENTS: dict[str, Callable[[Any], tuple[str, tuple[Any, ...]]]] = {
    "LeakyRelu": lambda o: ("leaky_relu", (float(o.negative_slope),)),
    "Elu": lambda o: ("elu", (float(o.alpha), 1.0, 1.0)),
    "Selu": lambda o: ("elu", SELU),
    "Celu": lambda o: ("celu", (float(o.alpha),)),
    "Gelu": lambda o: ("gelu_tanh" if o.approximate else "gelu", ()),
    "Softplus": lambda o: ("softplus", (1.0, 20.0)),
    "HardTanh": lambda o: ("clamp", (-1.0, 1.0)),
    "HardShrink": lambda o: ("hardshrink", (float(o.threshold),)),
    "SoftShrink": lambda o: ("softshrink", (float(o.threshold),)),
    "Threshold": lambda o: ("threshold", (float(o.threshold), float(o.default_value))),
    "SparseSigmoid": lambda o: ("clamp", (0.0, 1.0)),
    "Clip": lambda o: ("clamp", (o.x_min, o.x_max)),
}


def _relu(reader: Reader, step: Step) -> View | Sequence[View]:
    """Keras's layer of that name: also leaky, also with a ceiling."""
    slope, ceiling = float(step.operation.negative_slope), step.operation.max_value
    if step.operation.threshold or (slope and ceiling is not None):
        return reader.opaque(step)
    if slope:
        attrs: dict[str, Any] = {"fn": "leaky_relu", "args": (slope,)}
    elif ceiling is None:
        attrs = {"fn": "relu", "args": ()}
    else:
        attrs = (
            {"fn": "relu6", "args": ()}
            if ceiling == 6
            else {"fn": "clamp", "args": (0.0, float(ceiling))}
        )
    return reader.emit("pointwise", step, step.args[:1], attrs)


def _unary(fn: str) -> Rule:
    return lambda reader, step: reader.emit(
        "pointwise", step, step.args[:1], {"fn": fn, "args": ()}
    )


def _with_arguments(step: Step) -> dict[str, Any]:
    fn, args = WITH_ARGUMENTS[step.name](step.operation)
    return {"fn": fn, "args": args}


def _activation(reader: Reader, step: Step) -> View:
    return reader.emit("pointwise", step, step.args[:1], _with_arguments(step))


def _clip(reader: Reader, step: Step) -> View:
    bounds = tuple(reader.number(b) for b in (step.operation.x_min, step.operation.x_max))
    return reader.emit("pointwise", step, step.args[:1], {"fn": "clamp", "args": bounds})


def _sparse_sigmoid(reader: Reader, step: Step) -> View:
    """clip((x + 1) / 2, 0, 1)"""
    more = reader.emit("pointwise", step, step.args[:1], {"fn": "add", "args": (1.0,)})
    half = reader.emit("pointwise", step, [more], {"fn": "mul", "args": (0.5,)})
    return reader.emit("pointwise", step, [half], _with_arguments(step))


def _binary(op: str) -> Rule:
    def read(reader: Reader, step: Step) -> View:
        a, b = step.args[:2]
        known = reader.number(a), reader.number(b)
        if known == (None, None):
            return reader.emit(op, step, (a, b), {})
        place = 0 if known[1] is not None else 1
        value, other = known[1 - place], step.args[place]
        if op in ("max", "min"):
            fn, args = "clamp", (value, None) if op == "max" else (None, value)
            if op == "max" and value == 0:
                fn, args = "relu", ()  # type: ignore[assignment]
            return reader.emit("pointwise", step, [other], {"fn": fn, "args": args})
        fn = op if place == 0 or op in ("add", "mul") else f"r{op}"
        return reader.emit("pointwise", step, [other], {"fn": fn, "args": (value,)})

    return read


def _softmax(reader: Reader, step: Step) -> View:
    axis, shape = step.operation.axis, step.outputs[0].shape
    axes = axis if isinstance(axis, (tuple, list)) else (axis,)
    count = math.prod(shape[a] for a in axes)
    attrs = {"count": count, "axis": axes[-1] % len(shape)}
    return reader.emit("softmax", step, step.args[:1], attrs)


def _glu(reader: Reader, step: Step) -> View:
    return reader.emit("glu", step, step.args[:1], {})


def _reduce(op: str) -> Rule:
    def read(reader: Reader, step: Step) -> View:
        x, axis = step.args[0], step.operation.axis
        dims = _axes(axis, len(x.shape))
        count = max(math.prod(x.shape[a] for a in dims), 1)
        return reader.emit(op, step, [x], {"count": count, "dims": dims})

    return read


def _axes(axis: Any, count: int) -> tuple[int, ...]:
    if axis is None:
        return tuple(range(count))
    return tuple(a % count for a in (axis if isinstance(axis, (tuple, list)) else (axis,)))


def _pool(kind: str) -> Rule:
    def read(reader: Reader, step: Step) -> View:
        x, out = step.args[0], step.outputs[0]
        size = getattr(step.operation, "pool_size", None)
        if size is None:  # down to a size given
            count = math.prod(x.shape) // max(math.prod(out.shape), 1)
        else:
            axes = len(x.shape) - 2
            count = math.prod(size) if isinstance(size, (tuple, list)) else int(size) ** axes
        return reader.emit("pool", step, [x], {"kind": kind, "count": count})

    return read


def _concat(reader: Reader, step: Step) -> View:
    axis = step.operation.axis % len(step.outputs[0].shape)
    return reader.emit("concat", step, list(step.args[0]), {"axis": axis})


def _take(reader: Reader, step: Step) -> View:
    return reader.emit("lookup", step, step.args[:2], {})


def _where(reader: Reader, step: Step) -> View:
    mask, *cases = step.args
    kept = [c for c in cases if c is not None and reader.number(c) is None]
    square = False
    if hasattr(mask, "shape") and len(mask.shape) > 1:
        n, m = mask.shape[-2:]
        square = n == m and n > 1 and reader.view(mask).strides[-2] != 0
    return reader.emit("where", step, kept or [mask], {"square": square})


def _update(reader: Reader, step: Step) -> View:
    return reader.emit("where", step, [step.args[0], step.args[-1]], {})


def _reindex(reader: Reader, step: Step) -> View:
    return reader.emit("view", step, step.args[:1], {})


def _pad(reader: Reader, step: Step) -> View:
    x, widths = step.args[0], step.operation.pad_width
    value = step.args[1] if len(step.args) > 1 else step.kwargs.get("constant_values")
    zero = step.operation.mode == "constant" and (value is None or reader.number(value) == 0)
    view = reader.emit("view", step, [x], {})
    window = view.window
    node = reader.made.get(id(step.outputs[0]))
    if zero and window is not None and node is not None:
        pairs = [(int(a), int(b)) for a, b in widths]
        axes = [window.covers(d) for d in range(len(pairs))]
        order = sorted(range(len(pairs)), key=lambda d: axes[d] or (d,))
        attrs: Any = reader.recording.nodes[node].attrs
        attrs["pad"] = tuple(pairs[d] for d in order)[2:]
    return view


def _moments(reader: Reader, step: Step) -> list[View]:
    dims = _axes(step.operation.axes, len(step.args[0].shape))
    count = math.prod(step.args[0].shape[a] for a in dims)
    attrs = {"count": count, "dims": dims}
    return [
        reader.emit("mean", step, step.args[:1], attrs),
        reader.emit("variance", step, step.args[:1], dict(attrs), place=1),
    ]


OPS: dict[str, Rule] = {
    **MOVES,
    **PRODUCTS,
    **CONVOLUTIONS,
    **NORMS,
    **{name: _unary(fn) for name, fn in FUNCTIONS.items()},
    **dict.fromkeys(WITH_ARGUMENTS, _activation),
    **{name: _binary(op) for name, op in BINARY.items()},
    "ReLU": _relu, "Clip": _clip, "SparseSigmoid": _sparse_sigmoid, "Glu": _glu,
    "Softmax": _softmax, "LogSoftmax": _softmax,
    "Sum": _reduce("sum"), "Mean": _reduce("mean"),
    **dict.fromkeys(("Max", "Amax", "Min", "Amin"), _reduce("maximum")),
    "Var": _reduce("variance"), "Std": _reduce("deviation"), "Moments": _moments,
    "MaxPool": _pool("max"), "AveragePool": _pool("avg"),
    "AdaptiveMaxPool": _pool("max"), "AdaptiveAveragePool": _pool("avg"),
    "Concatenate": _concat, "Take": _take, "TakeAlongAxis": _reindex, "Where": _where,
    "ScatterUpdate": _update, "SliceUpdate": _update,
    "Pad": _pad,
    **dict.fromkeys(
        ("Repeat", "Tile", "Flip", "Fliplr", "Flipud", "Roll", "Tril", "Triu", "Sort", "Cumsum",
         "Rot90", "Diagonal", "DepthToSpace", "SpaceToDepth", "Resize", "NanToNum", "Unfold"),
        _reindex,
    ),
}  # fmt: skip
