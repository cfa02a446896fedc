"""Requests of every kind: laws, shapes, indices, axes, blocks, dtypes."""

from __future__ import annotations

from typing import Any

import numpy as np
from hypothesis import strategies as st

from isometry.stream.rounding import DTYPES
from isometry.types import (
    Axes,
    Block,
    CenteredOrthogonal,
    Constant,
    DeltaOrthogonal,
    Dirac,
    Identity,
    Law,
    MirroredOrthogonal,
    Normal,
    Orthogonal,
    Sparse,
    TruncatedNormal,
    Uniform,
)

ANY_SHAPE: list[Law] = [
    Constant(0.3),
    Normal(0.02),
    Normal(0.02, mean=-1.0),
    Uniform(0.1),
    Uniform(0.1, mean=3.0),
    TruncatedNormal(0.02),
    TruncatedNormal(0.5, cutoff=3.0, mean=0.1),
]
MATRICES: list[Law] = [
    Orthogonal(1.4),
    DeltaOrthogonal(0.9),
    CenteredOrthogonal(0.5),
    CenteredOrthogonal(2.0, reads=False, writes=True, delta=True),
    MirroredOrthogonal(1.1),
    Sparse(0.6, 0.01),
]


@st.composite
def entries(draw: st.DrawFn, size: int) -> Any:
    """One valid entry of an index, for an axis of this size."""
    bound = st.none() | st.integers(-size - 2, size + 2)
    step = st.none() | st.integers(-4, 4).filter(bool)
    options: list[st.SearchStrategy[Any]] = [st.builds(slice, bound, bound, step)]
    options.append(st.lists(st.booleans(), min_size=size, max_size=size).map(np.array))
    if size:
        places = st.integers(-size, size - 1)
        options.append(places)
        options.append(st.lists(places, max_size=6).map(lambda p: np.array(p, dtype=np.int32)))
    else:
        options[-1] = st.just(np.zeros(0, dtype=np.bool_))
    return draw(st.one_of(options))


def oracle(whole: np.ndarray[Any, Any], index: tuple[Any, ...]) -> np.ndarray[Any, Any]:
    """Outer indexing, an axis at a time, from the last so that those before keep their number."""
    for axis in reversed(range(len(index))):
        whole = whole[(slice(None),) * axis + (index[axis],)]
    return whole


@st.composite
def cases(draw: st.DrawFn) -> tuple[Law, tuple[int, ...], tuple[Any, ...], str, Any, Any]:
    law = draw(st.sampled_from([*ANY_SHAPE, *MATRICES, Identity(0.7), Dirac(0.5), Dirac(2.0, 2)]))
    least, most = (
        (2, 2) if isinstance(law, Identity) else (3, 4) if isinstance(law, Dirac) else (2, 4)
    )
    least = 0 if law in ANY_SHAPE else least
    shape = tuple(draw(st.lists(st.integers(0, 7), min_size=least, max_size=most)))
    if isinstance(law, Dirac):
        shape = (shape[0] * law.groups, *shape[1:])
    axes = None
    if law not in ANY_SHAPE and not isinstance(law, (Identity, Dirac)):
        order = draw(st.permutations(range(len(shape))))
        batch = tuple(order[2:3]) if draw(st.booleans()) else ()
        axes = draw(st.sampled_from([None, Axes((order[0],), (order[1],), batch)]))
    blocks: tuple[Block, ...] = ()
    if shape and draw(st.booleans()) and not isinstance(law, (Identity, Dirac)):
        axis = draw(st.integers(0, len(shape) - 1))
        cuts = sorted(draw(st.lists(st.integers(0, shape[axis]), min_size=2, max_size=2)))
        other = draw(st.sampled_from(ANY_SHAPE if law in ANY_SHAPE else MATRICES))
        blocks = (Block("b", axis, cuts[0], cuts[1], other),)
    index = tuple(draw(entries(n)) for n in shape)
    return law, shape, index, draw(st.sampled_from(list(DTYPES))), axes, blocks


def big(size: int) -> st.SearchStrategy[slice]:
    bound = st.none() | st.integers(-size, size)
    return st.builds(slice, bound, bound, st.sampled_from([None, 1, 2, -1, -3, 777]))
