"""What only moves elements: reshapes, transposes, slices, as moves of views."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from isometry.keras.trace import Step
from isometry.views import View

if TYPE_CHECKING:
    from isometry.keras.reader import Reader

__all__ = ["MOVES"]

Rule = Callable[["Reader", Step], "View | Sequence[View]"]


def _reshape(reader: Reader, step: Step) -> View:
    return reader.view(step.args[0]).reshape(tuple(step.outputs[0].shape))


def _same(reader: Reader, step: Step) -> View:
    """A cast, a copy: the same elements; whole numbers of what was computed, and the reverse, are
    others."""
    source, out = step.args[0], step.outputs[0]
    view = reader.view(source)
    was, now = reader.floating(source), reader.floating(out)
    is_input = view.root in reader.recording.inputs
    if was != now and not (now and is_input):
        return reader.emit("view", step, [view], {})
    return view


def _transpose(reader: Reader, step: Step) -> View:
    view = reader.view(step.args[0])
    axes = step.operation.axes or range(len(view.sizes) - 1, -1, -1)
    return view.transpose([a % len(view.sizes) for a in axes])


def _swapaxes(reader: Reader, step: Step) -> View:
    view = reader.view(step.args[0])
    order = list(range(len(view.sizes)))
    i, j = (a % len(order) for a in (step.operation.axis1, step.operation.axis2))
    order[i], order[j] = order[j], order[i]
    return view.transpose(order)


def _moveaxis(reader: Reader, step: Step) -> View:
    view = reader.view(step.args[0])
    count = len(view.sizes)
    source, target = (
        [a % count for a in (x if isinstance(x, (tuple, list)) else (x,))]
        for x in (step.operation.source, step.operation.destination)
    )
    order = [a for a in range(count) if a not in source]
    for there, here in sorted(zip(target, source, strict=True)):
        order.insert(there, here)
    return view.transpose(order)


def _broadcast(reader: Reader, step: Step) -> View:
    view, shape = reader.view(step.args[0]), tuple(step.outputs[0].shape)
    first = len(shape) - len(view.sizes)
    return view.broadcast(shape, range(first, len(shape)))


def _get_item(reader: Reader, step: Step) -> View:
    """Integers, slices, new axes and an ellipsis."""
    view, key = reader.view(step.args[0]), step.args[1]
    keys = list(key) if isinstance(key, (tuple, list)) else [key]
    if any(k is not None and k is not Ellipsis and not isinstance(k, (int, slice)) for k in keys):
        return reader.emit("view", step, [view], {})
    if not any(k is Ellipsis for k in keys):
        keys.append(Ellipsis)
    place = next(i for i, k in enumerate(keys) if k is Ellipsis)
    rest = len(view.sizes) - sum(k is not None for k in keys) + 1
    keys[place : place + 1] = [slice(None)] * rest
    ranges = [
        range(n)[k] if isinstance(k, slice) else range(k % n, k % n + 1)
        for k, n in zip((k for k in keys if k is not None), view.sizes, strict=True)
    ]
    if any(r.step < 0 for r in ranges):
        return reader.emit("view", step, [view], {})
    part = view.slice([r.start for r in ranges], [r.stop for r in ranges], [r.step for r in ranges])
    return part.reshape(tuple(step.outputs[0].shape))


def _slice(reader: Reader, step: Step) -> View:
    view, starts = reader.view(step.args[0]), [reader.number(s) for s in step.args[1]]
    if any(s is None for s in starts):
        return reader.emit("view", step, [view], {})
    first = [int(s or 0) for s in starts]
    stops = [f + n for f, n in zip(first, step.outputs[0].shape, strict=True)]
    return view.slice(first, stops, (1,) * len(first))


def _split(reader: Reader, step: Step) -> list[View]:
    view = reader.view(step.args[0])
    axis = getattr(step.operation, "axis", 0) % len(view.sizes)
    found, start = [], 0
    for out in step.outputs:
        starts, stops = [0] * len(view.sizes), list(view.sizes)
        starts[axis], stops[axis] = start, start + out.shape[axis]
        start = stops[axis]
        found.append(view.slice(starts, stops, (1,) * len(stops)))
    return found


def _unstack(reader: Reader, step: Step) -> list[View]:
    view = reader.view(step.args[0])
    axis = step.operation.axis % len(view.sizes)
    found = []
    for i, out in enumerate(step.outputs):
        starts, stops = [0] * len(view.sizes), list(view.sizes)
        starts[axis], stops[axis] = i, i + 1
        found.append(view.slice(starts, stops, (1,) * len(stops)).reshape(tuple(out.shape)))
    return found


def _stack(reader: Reader, step: Step) -> View:
    parts: list[Any] = list(step.args[0])
    axis = step.operation.axis % len(step.outputs[0].shape)
    rows = [reader.view(p) for p in parts]
    rows = [v.reshape((*v.sizes[:axis], 1, *v.sizes[axis:])) for v in rows]
    return reader.emit("concat", step, rows, {"axis": axis})


def _fixed(reader: Reader, step: Step) -> View:
    return reader.view(step.args[0])


MOVES: dict[str, Rule] = {
    **dict.fromkeys(("Reshape", "Ravel", "Squeeze", "ExpandDims"), _reshape),
    **dict.fromkeys(
        ("Cast", "SaturateCast", "ConvertToTensor", "Copy", "StopGradient", "Array"), _same
    ),
    "Transpose": _transpose, "Swapaxes": _swapaxes, "Moveaxis": _moveaxis,
    "Fixed": _fixed, "BroadcastTo": _broadcast, "GetItem": _get_item, "Slice": _slice,
    "Split": _split, "ArraySplit": _split, "Unstack": _unstack, "Stack": _stack,
}  # fmt: skip
