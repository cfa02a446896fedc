"""What only moves elements: reshapes, transposes, slices, as moves of views."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from isometry.jax.program import Step
from isometry.views import View

if TYPE_CHECKING:
    from isometry.jax.trace import Reader

__all__ = ["MOVES"]

Rule = Callable[["Reader", Step], Sequence[View]]
Views = tuple[View, ...]


def _moved(move: Callable[[View, Step], View]) -> Rule:
    return lambda reader, step: (move(reader.view(step.inputs[0]), step),)


def _reshape(view: View, step: Step) -> View:
    return view.reshape(step.params["new_sizes"])


def _transpose(view: View, step: Step) -> View:
    return view.transpose(step.params["permutation"])


def _broadcast(view: View, step: Step) -> View:
    dims = tuple(int(d) for d in step.params["broadcast_dimensions"])
    return view.broadcast(step.params["shape"], dims)


def _squeeze(view: View, step: Step) -> View:
    dropped = {d % len(view.sizes) for d in step.params["dimensions"]}
    return view.reshape([n for d, n in enumerate(view.sizes) if d not in dropped])


def _expand(view: View, step: Step) -> View:
    sizes = list(view.sizes)
    for d in sorted(step.params["dimensions"]):
        sizes.insert(d, 1)
    return view.reshape(sizes)


def _slice(view: View, step: Step) -> View:
    p = step.params
    steps = p["strides"] or (1,) * len(view.sizes)
    return view.slice(p["start_indices"], p["limit_indices"], steps)


def _at(view: View, step: Step) -> View:
    i, rest = step.params["index"], view.sizes[1:]
    one = view.slice((i, *(0 for _ in rest)), (i + 1, *rest), (1,) * len(view.sizes))
    return View(one.layout, one.sizes[1:], one.strides[1:], one.offset)


def _split(reader: Reader, step: Step) -> Views:
    view, axis = reader.view(step.inputs[0]), step.params["axis"]
    found, start = [], 0
    for size in (int(n) for n in step.params["sizes"]):
        starts, stops = [0] * len(view.sizes), list(view.sizes)
        starts[axis], stops[axis] = start, start + size
        found.append(view.slice(starts, stops, (1,) * len(view.sizes)))
        start += size
    return tuple(found)


def _dynamic_slice(reader: Reader, step: Step) -> Views:
    view = reader.view(step.inputs[0])
    starts = [reader.number(v) for v in step.inputs[1:]]
    if any(s is None for s in starts):
        return reader.emit("view", step, step.inputs[:1], {})
    first = [min(max(int(s or 0), 0), n - k) for s, n, k in zip(starts, view.sizes, step.params["slice_sizes"], strict=True)]  # fmt: skip
    stops = [f + k for f, k in zip(first, step.params["slice_sizes"], strict=True)]
    return (view.slice(first, stops, (1,) * len(first)),)


MOVES: dict[str, Rule] = {
    "reshape": _moved(_reshape), "transpose": _moved(_transpose),
    "broadcast_in_dim": _moved(_broadcast), "squeeze": _moved(_squeeze),
    "expand_dims": _moved(_expand), "slice": _moved(_slice), "at": _moved(_at),
    "split": _split, "dynamic_slice": _dynamic_slice,
}  # fmt: skip
