"""Views that exist in thought alone: what they claim to show against NumPy's own views."""

from __future__ import annotations

import math

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from isometry.views import View

SHAPES = st.lists(st.integers(1, 6), min_size=1, max_size=4).filter(lambda s: math.prod(s) <= 360)


@settings(deadline=None, max_examples=300)
@given(SHAPES, st.data())
def test_a_chain_of_moves_shows_what_numpy_shows(sizes: list[int], data: st.DataObject) -> None:
    """The root is filled with its own linear indices and moved about beside the view."""
    view, array = View.whole(0, sizes), np.arange(math.prod(sizes)).reshape(sizes)
    for _ in range(data.draw(st.integers(1, 6))):
        move = data.draw(st.sampled_from(["transpose", "slice", "reshape"]))
        if move == "transpose":
            order = data.draw(st.permutations(range(array.ndim)))
            view, array = view.transpose(order), array.transpose(order)
        elif move == "slice" and array.size:
            cuts = []
            for n in array.shape:
                start = data.draw(st.integers(0, n - 1))
                cuts.append(
                    (start, data.draw(st.integers(start + 1, n)), data.draw(st.integers(1, 3)))
                )
            if cuts:
                view = view.slice(*zip(*cuts, strict=True))
            array = array[tuple(slice(*cut) for cut in cuts)]
        else:
            left, new = array.size, []
            while left > 1:
                step = data.draw(st.sampled_from([d for d in range(1, left + 1) if left % d == 0]))
                new.append(step)
                left //= step
            view, array = view.reshape(new), array.reshape(new)
    assert view.sizes == array.shape
    window = view.window
    if window is None:
        return
    places = np.unravel_index(array, sizes)
    for axis, place in enumerate(places):
        first, stop = window.ranges(sizes).get(axis, (0, sizes[axis]))
        assert (first, stop) == (place.min(), place.max() + 1)
    for dim, size in enumerate(array.shape):
        line = np.moveaxis(np.stack(places), dim + 1, 1).reshape(len(sizes), size, -1)
        moved = {a for a in range(len(sizes)) if (line[a] != line[a, :1]).any()}
        assert set(window.covers(dim)) == moved
    if window.is_ordered():
        assert (np.diff(array.ravel()) > 0).all()


def test_a_broadcast_axis_shows_nothing() -> None:
    view = View.whole(0, (3, 1)).broadcast((2, 3, 4), (1, 2))
    assert view.sizes == (2, 3, 4)
    assert view.window is not None
    assert [view.window.covers(d) for d in range(3)] == [(), (0,), ()]


def test_splitting_and_merging_needs_no_copy_where_strides_allow() -> None:
    view = View.whole(7, (12, 5)).reshape((3, 4, 5)).transpose((1, 0, 2))
    assert (
        view.layout is View.whole(7, (12, 5)).layout or view.layout == View.whole(7, (12, 5)).layout
    )
    merged = view.reshape((12, 5))  # (4, 3) cannot be one axis of these strides: a copy
    assert merged.layout != view.layout
    assert merged.window is not None
    assert merged.window.covers(0) == (0,)
    assert not merged.window.is_ordered()


def test_rows_with_a_gap_between_them_are_not_one_axis() -> None:
    """The first two columns of four: to merge the axes takes a copy, which still covers just those."""
    view = View.whole(0, (4, 4)).slice((0, 0), (4, 2), (1, 1)).reshape((8,))
    assert view.window is not None
    assert view.window.ranges((4, 4)) == {1: (0, 2)}
    assert view.window.covers(0) == (0, 1)
