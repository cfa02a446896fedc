"""Products with a weight, convolutions and padding, as JAX's dimension numbers say them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from isometry.jax.program import Step
from isometry.views import View

if TYPE_CHECKING:
    from isometry.jax.trace import Reader

__all__ = ["convolution", "padded", "product"]


def product(reader: Reader, step: Step) -> View:
    """A dot_general; where its first factor is the weight, the signal comes first in the graph."""
    contract, batch = step.params["dimension_numbers"]
    recording = reader.recording
    a, b = (reader.view(v) for v in step.inputs)
    out, dtype = step.outputs[0], reader.dtype(step.outputs[0])
    before, sizes = len(recording.nodes), reader.shape(out)
    if recording.is_weight(a) and not recording.is_weight(b) and not recording.is_constant(b):
        shared = len(batch[0])
        rows = range(shared, len(a.sizes) - len(contract[0]))
        columns = range(rows.stop, len(sizes))
        order = (*range(shared), *columns, *rows)
        view = recording.product(
            b, a, tuple(contract)[::-1], tuple(batch)[::-1], [sizes[i] for i in order], dtype
        )
        if len(recording.nodes) > before:
            reader.orders[len(recording.nodes) - 1] = order
        view = view.transpose([order.index(i) for i in range(len(order))])
    else:
        view = recording.product(a, b, contract, batch, sizes, dtype)
    _count_stacked(reader, before)
    return reader.noted(before, out, view)


def _count_stacked(reader: Reader, before: int) -> None:
    """One matrix of a stack (layers under scan): the axis along which it was picked counts
    matrices."""
    for node in reader.recording.nodes[before:]:
        if node.op != "linear" or "in_axis" not in node.attrs:
            continue
        part = node.parts[1]
        named = {a for k in ("in_axis", "out_axis", "batch_axis") for a in node.attrs[k]}
        picked = tuple(a for a, (s, e) in part.ranges.items() if a not in named and e - s == 1)
        attrs: Any = node.attrs
        attrs["batch_axis"] = (*picked, *attrs["batch_axis"])


def convolution(reader: Reader, step: Step) -> View:
    """A convolution by its dimension numbers; the weight in PyTorch's layout. Padding that differs
    before and after is an operation of its own."""
    p = step.params
    x, w = (reader.view(v) for v in step.inputs)
    lhs, rhs, out = p["dimension_numbers"]
    transposed = w.root in reader.transposed_kernels
    padding = [tuple(int(n) for n in pair) for pair in p["padding"]]
    if not transposed and any(lo != hi or lo < 0 for lo, hi in padding):
        pads = [(0, 0)] * len(lhs)
        for axis, (lo, hi) in zip(lhs[2:], padding, strict=True):
            pads[axis] = (max(lo, 0), max(hi, 0))
        x, padding = _padded(reader, x, pads, step), [(0, 0)] * len(padding)
    attrs = {
        "stride": tuple(p["lhs_dilation"] if transposed else p["window_strides"]),
        "padding": tuple(lo for lo, _ in padding), "dilation": tuple(p["rhs_dilation"]),
        "transposed": transposed, "groups": int(p["feature_group_count"]),
        "size": tuple(x.sizes[a] for a in lhs[2:]),
        "kernel": tuple(reader.shape(step.inputs[1])[a] for a in rhs[2:]),
    }  # fmt: skip
    last = out[1] == len(out) - 1 and len(out) > 2
    return reader.apply("conv", step, [x, w], attrs, channels_last=last)


def padded(reader: Reader, step: Step, pads: Sequence[tuple[int, int]]) -> View:
    """Zeros around a value."""
    before = len(reader.recording.nodes)
    view = _padded(reader, reader.view(step.inputs[0]), pads, step)
    return reader.noted(before, step.outputs[0], view)


def _padded(reader: Reader, view: View, pads: Sequence[tuple[int, int]], step: Step) -> View:
    """`pads` by the tensor's own axes; noted by those of the value, channels and all."""
    sizes = [n + lo + hi for n, (lo, hi) in zip(view.sizes, pads, strict=True)]
    before = len(reader.recording.nodes)
    made = reader.recording.apply("view", [view], {}, sizes, reader.dtype(step.outputs[0]))
    window = made.window
    if len(reader.recording.nodes) > before and window is not None:
        axes = [window.covers(d) for d in range(len(sizes))]
        order = sorted(range(len(sizes)), key=lambda d: axes[d] or (d,))
        attrs: Any = reader.recording.nodes[-1].attrs
        attrs["pad"] = tuple(pads[d] for d in order)[2:]
    return made
