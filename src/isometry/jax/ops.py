"""JAX's primitives by the graph's names: one table, no judgement.

Each entry reads one step and gives the views of its outputs. What only moves elements moves views;
what is no arithmetic on floating-point numbers is a constant; what is not in the table is "opaque".
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from isometry.jax.moves import MOVES
from isometry.jax.products import convolution, padded, product
from isometry.jax.program import Step
from isometry.views import View

if TYPE_CHECKING:
    from isometry.jax.trace import Reader

__all__ = ["OPS"]

Rule = Callable[["Reader", Step], Sequence[View]]
Views = tuple[View, ...]

FUNCTIONS = {
    "tanh": "tanh", "logistic": "sigmoid", "erf": "erf", "exp": "exp", "exp2": "exp2", "log": "log",
    "log1p": "log1p", "expm1": "expm1", "neg": "neg", "abs": "abs", "sqrt": "sqrt",
    "rsqrt": "rsqrt", "sin": "sin", "cos": "cos", "square": "square", "sign": "sign",
    "floor": "floor", "ceil": "ceil", "round": "round", "sinh": "sinh", "cosh": "cosh",
    "atan": "atan", "asinh": "asinh",
}  # fmt: skip
BINARY = {
    "add": "add", "sub": "sub", "mul": "mul", "div": "div", "max": "max", "min": "min",
    "add_any": "add", "pow": "pow",
}  # fmt: skip


def _same(reader: Reader, step: Step) -> Views:
    """A cast, a copy, a barrier: the same elements."""
    was, now = (
        reader.dtype(v[0]).startswith(("float", "bfloat")) for v in (step.inputs, step.outputs)
    )
    if was != now and not (now and reader.is_input(step.inputs[0])):
        return reader.constants(step)
    return tuple(reader.view(v) for v in step.inputs)


def _reindex(reader: Reader, step: Step) -> Views:
    return reader.emit("view", step, step.inputs[:1], {})


def _reversed(reader: Reader, step: Step) -> Views:
    """A kernel that runs backwards is the same matrix; a signal is another."""
    view = reader.view(step.inputs[0])
    return (view,) if reader.recording.is_weight(view) else _reindex(reader, step)


def _pad(reader: Reader, step: Step) -> Views:
    config = step.params["padding_config"]
    plain = all(lo >= 0 and hi >= 0 and not inner for lo, hi, inner in config)
    if not plain or reader.number(step.inputs[1]) != 0:
        return _reindex(reader, step)
    return (padded(reader, step, [(lo, hi) for lo, hi, _ in config]),)


def _binary(op: str) -> Rule:
    def read(reader: Reader, step: Step) -> Views:
        a, b = (reader.exact(v) for v in step.inputs)
        if a is None and b is None:
            return reader.emit(op, step, step.inputs, {})
        place, value = (0, b) if b is not None else (1, a)
        if value is None or (a is not None and b is not None):
            return reader.constants(step)
        if op in ("max", "min"):
            fn, args = "clamp", (value, None) if op == "max" else (None, value)
            if op == "max" and value == 0:
                fn, args = "relu", ()  # type: ignore[assignment]
            if op == "max" and value == -math.inf:
                return (reader.view(step.inputs[place]),)
            return reader.emit("pointwise", step, (step.inputs[place],), {"fn": fn, "args": args})
        fn = op if place == 0 or op in ("add", "mul") else f"r{op}"
        return reader.emit("pointwise", step, (step.inputs[place],), {"fn": fn, "args": (value,)})

    return read


def _unary(fn: str, *args: float) -> Rule:
    return lambda reader, step: reader.emit(
        "pointwise", step, step.inputs[:1], {"fn": fn, "args": args}
    )


def _erfc(reader: Reader, step: Step) -> Views:
    erf = reader.apply("pointwise", step, [reader.view(step.inputs[0])], {"fn": "erf", "args": ()})
    return (reader.apply("pointwise", step, [erf], {"fn": "rsub", "args": (1.0,)}),)


def _integer_pow(reader: Reader, step: Step) -> Views:
    y = float(step.params["y"])
    attrs = {"fn": "square", "args": ()} if y == 2 else {"fn": "pow", "args": (y,)}
    return reader.emit("pointwise", step, step.inputs, attrs)


def _clamp(reader: Reader, step: Step) -> Views:
    low, _, high = (reader.exact(v) for v in step.inputs)
    return reader.emit("pointwise", step, step.inputs[1:2], {"fn": "clamp", "args": (low, high)})


def _select(reader: Reader, step: Step) -> Views:
    which, *cases = step.inputs
    kept = [v for v in cases if reader.number(v) is None]
    mask = reader.view(which)
    square = False
    if len(mask.sizes) > 1:
        n, m = mask.sizes[-2:]
        square = n == m and n > 1 and mask.strides[-2] != 0
    return reader.emit("where", step, kept, {"square": square}) if kept else reader.constants(step)


def _reduce(op: str) -> Rule:
    def read(reader: Reader, step: Step) -> Views:
        axes = tuple(int(a) for a in step.params["axes"])
        count = math.prod(reader.view(step.inputs[0]).sizes[a] for a in axes)
        return reader.emit(op, step, step.inputs[:1], {"count": max(count, 1), "dims": axes})

    return read


def _window(kind: str) -> Rule:
    def read(reader: Reader, step: Step) -> Views:
        count = math.prod(step.params["window_dimensions"])
        out = reader.emit("pool", step, step.inputs[:1], {"kind": kind, "count": count})
        if kind == "max":
            return out
        attrs = {"fn": "mul", "args": (float(count),)}  # a sum and no mean
        return (reader.apply("pointwise", step, out, attrs),)

    return read


def _concat(reader: Reader, step: Step) -> Views:
    return reader.emit("concat", step, step.inputs, {"axis": step.params["dimension"]})


def _stack(reader: Reader, step: Step) -> Views:
    if all(reader.is_constant(v) for v in step.inputs):
        return reader.constants(step)
    views = [reader.view(v) for v in step.inputs]
    rows = [v.reshape((1, *v.sizes)) for v in views]
    return (reader.apply("concat", step, rows, {"axis": 0}),)


def _gather(reader: Reader, step: Step) -> Views:
    return reader.emit("lookup", step, step.inputs[:2], {})


def _scatter(op: str) -> Rule:
    def read(reader: Reader, step: Step) -> Views:
        table, _, updates = step.inputs[:3]
        return reader.emit(op, step, (table, updates), {})

    return read


def _update(reader: Reader, step: Step) -> Views:
    return reader.emit("where", step, step.inputs[:2], {})


def _dot(reader: Reader, step: Step) -> Views:
    return (product(reader, step),)


def _conv(reader: Reader, step: Step) -> Views:
    return (convolution(reader, step),)


def _stop(reader: Reader, step: Step) -> Views:
    return tuple(reader.view(v) for v in step.inputs)


def _constant(reader: Reader, step: Step) -> Views:
    return reader.constants(step)


OPS: dict[str, Rule] = {
    **MOVES,
    "convert_element_type": _same, "copy": _same, "copy_p": _same, "reduce_precision": _same,
    "sharding_constraint": _same, "mesh_cast": _same, "reshard": _same, "optimization_barrier": _same,
    "stop_gradient": _stop, "pvary": _stop,
    "pad": _pad,
    "rev": _reversed,
    **dict.fromkeys(("sort", "cumsum", "cumprod", "cummax", "top_k"), _reindex),
    **{name: _binary(op) for name, op in BINARY.items()},
    **{name: _unary(fn) for name, fn in FUNCTIONS.items()},
    "erfc": _erfc, "integer_pow": _integer_pow, "clamp": _clamp, "select_n": _select,
    "reduce_sum": _reduce("sum"), "reduce_max": _reduce("maximum"), "reduce_min": _reduce("maximum"),
    "reduce_window_max": _window("max"), "reduce_window_min": _window("max"),
    "reduce_window_sum": _window("avg"),
    "concatenate": _concat, "stack": _stack, "gather": _gather,
    "scatter": _scatter("where"), "scatter-add": _scatter("add"), "scatter_add": _scatter("add"),
    "dynamic_update_slice": _update,
    "dot_general": _dot, "conv_general_dilated": _conv,
    "iota": _constant, "random_bits": _constant, "random_wrap": _constant,
    "random_unwrap": _constant, "random_seed": _constant, "random_fold_in": _constant,
    "random_split": _constant, "threefry2x32": _constant, "is_finite": _constant,
}  # fmt: skip
