"""Which part of a tensor a view shows: what the strides tell against what the values show.

The root is filled with its own linear indices and followed through random chains of views and
copies under the tracer; what the tracer claims is compared with where those values came from.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from torch import Tensor

from isometry.torch.trace import Tracer

SHAPES = st.lists(st.integers(1, 6), min_size=1, max_size=4).filter(lambda s: math.prod(s) <= 360)


def positions(view: Tensor, shape: tuple[int, ...]) -> list[NDArray[np.int64]]:
    """For each axis of the root, where along it every element of the view lies."""
    index = view.detach().numpy().astype(np.int64)
    return [np.asarray(p).reshape(view.shape) for p in np.unravel_index(index, shape)]


def covered(where: list[NDArray[np.int64]], dim: int) -> set[int]:
    """The axes of the root along which something changes when one moves along a view's axis."""
    return {axis for axis, p in enumerate(where) if (np.diff(p, axis=dim) != 0).any()}


def ranges(where: list[NDArray[np.int64]], shape: tuple[int, ...]) -> dict[int, tuple[int, int]]:
    found = {axis: (int(p.min()), int(p.max()) + 1) for axis, p in enumerate(where)}
    return {axis: r for axis, r in found.items() if r != (0, shape[axis])}


def step(draw: Any, view: Tensor) -> Tensor:
    """One reindexing of a view, chosen among those it allows."""
    dims = view.dim()
    dim = draw(st.integers(0, dims - 1))
    size = view.shape[dim]
    factors = [k for k in range(2, size) if size % k == 0]
    choices = ["permute", "slice", "split", "unsqueeze", "contiguous", "clone"]
    if dims > 1:
        choices += ["select", "flatten"]
    if size == 1:
        choices += ["expand"]
    if factors:
        choices += ["unflatten"]
    match draw(st.sampled_from(choices)):
        case "permute":
            return view.permute(draw(st.permutations(range(dims))))
        case "select":
            return view.select(dim, draw(st.integers(0, size - 1)))
        case "slice":
            start = draw(st.integers(0, size - 1))
            by = draw(st.integers(1, 3))
            index = [slice(None)] * dims
            index[dim] = slice(start, draw(st.integers(start + 1, size)), by)
            return view[tuple(index)]
        case "split":
            pieces = view.split(draw(st.integers(1, size)), dim)
            return draw(st.sampled_from(pieces))
        case "unsqueeze":
            return view.unsqueeze(dim)
        case "expand":
            return view.expand(*view.shape[:dim], draw(st.integers(2, 3)), *view.shape[dim + 1 :])
        case "unflatten":
            k = draw(st.sampled_from(factors))
            return view.reshape(*view.shape[:dim], k, size // k, *view.shape[dim + 1 :])
        case "flatten":
            last = draw(st.integers(dim, dims - 1))
            return view.flatten(dim, last)  # a copy where the strides do not allow a view
        case "contiguous":
            return view.contiguous()
    return view.clone(memory_format=torch.preserve_format)


@settings(max_examples=400, deadline=None, derandomize=True)
@given(data=st.data())
def test_a_window_says_what_the_values_say(data: st.DataObject) -> None:
    shape = tuple(data.draw(SHAPES))
    # The root as a layer holds it: contiguous, or with its axes in another order in memory.
    order = data.draw(st.permutations(range(len(shape))))
    root = torch.empty([shape[a] for a in order]).permute(
        [order.index(a) for a in range(len(shape))]
    )
    root.copy_(torch.arange(math.prod(shape), dtype=torch.float32).reshape(shape))
    tracer = Tracer()
    value = tracer.adopt(root)
    with tracer:
        view = root
        for _ in range(data.draw(st.integers(1, 7))):
            view = step(data.draw, view)
            if view.numel() > 2000:
                break
        window, part = tracer.window(view), tracer.part(view)
    assert part.root == value
    where = positions(view, shape)
    if window is None:  # strides that no positions along axes explain: the whole, to be safe
        assert part.ranges == {}
        return
    assert part.ranges == ranges(where, shape)
    for dim in range(view.dim()):
        assert set(window.covers(dim)) == covered(where, dim), dim
        assert len(window.covers(dim)) == len(set(window.covers(dim)))


@settings(max_examples=150, deadline=None, derandomize=True)
@given(data=st.data())
def test_what_layers_do_is_always_explained(data: st.DataObject) -> None:
    """Splitting an axis into parts and heads, reordering, cutting and copying loses nothing."""
    heads, size, rows = (data.draw(st.integers(2, 4)) for _ in range(3))
    parts = data.draw(st.integers(1, 3))
    shape = (rows, parts * heads * size)
    root = torch.arange(math.prod(shape), dtype=torch.float32).reshape(shape)
    tracer = Tracer()
    tracer.adopt(root)
    which = data.draw(st.integers(0, parts - 1))
    with tracer:
        if data.draw(st.booleans()):
            view = root.chunk(parts, dim=-1)[which].unflatten(-1, (heads, size))
        else:
            view = root.reshape(rows, parts, heads, size)[:, which]
        view = view.permute(data.draw(st.permutations(range(3))))
        if data.draw(st.booleans()):
            view = view.contiguous()
        view = view.narrow(0, 0, data.draw(st.integers(1, view.shape[0])))
        window, part = tracer.window(view), tracer.part(view)
    assert window is not None
    where = positions(view, shape)
    assert part.ranges == ranges(where, shape)
    assert [set(window.covers(d)) for d in range(3)] == [covered(where, d) for d in range(3)]


def test_known_views() -> None:
    """A handful by hand, so that the brute force above is checked too."""
    root = torch.arange(24.0).reshape(4, 6)
    tracer = Tracer()
    tracer.adopt(root)

    def seen(view: Tensor) -> tuple[list[tuple[int, ...]], dict[int, tuple[int, int]]]:
        window = tracer.window(view)
        assert window is not None
        return [window.covers(d) for d in range(view.dim())], dict(tracer.part(view).ranges)

    with tracer:
        assert seen(root) == ([(0,), (1,)], {})
        assert seen(root.T) == ([(1,), (0,)], {})
        assert seen(root[1:3]) == ([(0,), (1,)], {0: (1, 3)})
        assert seen(root[2]) == ([(1,)], {0: (2, 3)})
        assert seen(root[:, ::2]) == ([(0,), (1,)], {1: (0, 5)})
        assert seen(root.flatten()) == ([(0, 1)], {})
        assert seen(root.reshape(4, 3, 2)) == ([(0,), (1,), (1,)], {})
        assert seen(root.T.reshape(-1)) == ([(1, 0)], {})  # a copy
        assert seen(root[:, 2:4].clone()[1:]) == ([(0,), (1,)], {0: (1, 4), 1: (2, 4)})
        assert seen(root[0:1].expand(5, 6)) == ([(), (1,)], {0: (0, 1)})
        assert seen(root[0:1].expand(5, 6).clone().T) == ([(1,), ()], {0: (0, 1)})


def test_a_view_that_mixes_positions_is_not_explained() -> None:
    root = torch.arange(24.0).reshape(4, 6)
    tracer = Tracer()
    tracer.adopt(root)
    with tracer:
        diagonal = root.diagonal()
        mixed = root.flatten().reshape(3, 8)
        assert tracer.window(diagonal) is None
        assert tracer.window(mixed) is None
        assert tracer.part(mixed).ranges == {}


def test_a_copy_of_what_is_not_explained_claims_nothing() -> None:
    root = torch.arange(24.0).reshape(4, 6)
    tracer = Tracer()
    value = tracer.adopt(root)
    with tracer:
        one = root.flatten().reshape(3, 8).T.contiguous()[5, 1]
        part = tracer.part(one)
    assert part.root == value
    assert part.ranges in ({}, {0: (2, 3), 1: (1, 2)})


@pytest.mark.parametrize("memory", [torch.contiguous_format, torch.channels_last])
def test_images_keep_their_axes_in_any_memory_format(memory: torch.memory_format) -> None:
    root = torch.arange(2.0 * 3 * 4 * 5).reshape(2, 3, 4, 5).contiguous(memory_format=memory)
    tracer = Tracer()
    tracer.adopt(root)
    with tracer:
        tokens = root.flatten(2).transpose(1, 2)
        window = tracer.window(tokens)
        assert window is not None
        assert [window.covers(d) for d in range(3)] == [(0,), (2, 3), (1,)]
