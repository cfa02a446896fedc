"""Write a Graph while a framework's own trace is read: the part that every framework shares.

The reader of a trace names operations and moves tensors; the recorder numbers values, follows views
to what they show, tells weights from signals and products with a weight from products of two
signals. Tensors are `View`s. Weights are presented as PyTorch lays them out, and so are images:
where a framework puts channels last, a value's shape says (batch, channels, positions...), and the
framework's tensor is a view of it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from isometry.graph import Graph, Leaf, Node, Part, Value
from isometry.types import Stored
from isometry.views import View

__all__ = ["Recording"]

# What gives an output laid out as its first operand of the same rank is.
SAME_PLACES = frozenset(
    "add sub mul div max min pointwise softmax norm pool dropout where glu concat view".split()
)


class Recording:
    """Values and nodes so far; `graph` makes a Graph of them."""

    def __init__(self) -> None:
        self.nodes: list[Node] = []
        self.values: dict[int, Value] = {}
        self.inputs: list[int] = []
        self.scope = ""
        self._weights: set[int] = set()
        self._constants: set[int] = set()
        self._owners: dict[int, str] = {}

    # -- tensors that the model did not compute ----------------------------------------------

    def input(self, sizes: Sequence[int], dtype: str, *, channels_last: bool = False) -> View:
        """An input of the model. `channels_last`: an image whose channels are its last axis."""
        view = self._new(sizes, dtype, -1, _images(len(sizes)) if channels_last else None)
        self.inputs.append(view.root)
        return view

    def parameter(
        self, shape: Sequence[int], dtype: str, owner: str, stored: Stored | None = None
    ) -> View:
        """A parameter: `shape` as PyTorch lays it out, `owner` the path of the module that has it.
        The view is of the framework's own array."""
        view = self._new(shape, dtype, -1)
        self._weights.add(view.root)
        self._owners[view.root] = owner
        return view if stored is None else _as_stored(view, stored)

    def constant(self, sizes: Sequence[int], dtype: str) -> View:
        """What depends on neither inputs nor parameters; buffers too."""
        view = self._new(sizes, dtype, -1)
        self._constants.add(view.root)
        return view

    def is_constant(self, view: View) -> bool:
        return view.root in self._constants

    def is_weight(self, view: View) -> bool:
        """Does it follow from parameters alone?"""
        return view.root in self._weights

    # -- operations --------------------------------------------------------------------------

    def apply(
        self,
        op: str,
        operands: Iterable[View],
        attrs: Mapping[str, Any],
        sizes: Sequence[int],
        dtype: str,
        *,
        channels_last: bool | None = None,
    ) -> View:
        """One operation of the graph's vocabulary; its output.

        Args:
            op, attrs: as `graph` lists them. `dims`, axes of the first operand that a reduction
                runs over, become `over`.
            operands: in the graph's order; of a convolution the input, then the weight.
            sizes, dtype: of the output.
            channels_last: of a convolution: that the output's channels are its last axis.

        Returns:
            The output; where nothing the model computed or learned goes in, a constant.
        """
        seen, attrs = list(operands), dict(attrs)
        if all(self.is_constant(v) for v in seen) or not dtype.startswith(("float", "bfloat")):
            return self.constant(sizes, dtype)
        if "dims" in attrs:
            window = seen[0].window
            attrs["over"] = window and tuple(a for d in attrs.pop("dims") for a in window.covers(d))
            attrs.pop("dims", None)
        order = _images(len(sizes)) if channels_last else None
        if channels_last is None and op in SAME_PLACES:
            order = next((o for o in (_presented(v, sizes) for v in seen) if o), None)
        if order and "axis" in attrs:
            attrs["axis"] = order.index(attrs["axis"] % len(sizes))
        return self._append(op, tuple(self._part(v) for v in seen), attrs, sizes, dtype, order)

    def product(
        self,
        first: View,
        second: View,
        contract: tuple[Sequence[int], Sequence[int]],
        batch: tuple[Sequence[int], Sequence[int]],
        sizes: Sequence[int],
        dtype: str,
    ) -> View:
        """A product summed over axes of both: "linear" where one of them is the weight, else
        "matmul".

        Args:
            contract: the axes of each that are summed over, in pairs.
            batch: the axes of each that are kept in common, in pairs.
            sizes, dtype: of the output, its axes in any order.
        """
        both = (first, second)
        if all(self.is_constant(v) for v in both):
            return self.constant(sizes, dtype)
        weight = self._which_is_weight(both)
        if weight is None:
            inner = 1
            for axis in contract[0]:
                inner *= first.sizes[axis]
            attrs: dict[str, Any] = {"scale": 1.0, "inner": inner}
            return self._append("matmul", (self._part(first), self._part(second)), attrs, sizes, dtype)  # fmt: skip
        x, w = both[1 - weight], both[weight]
        attrs = {"scale": 1.0, **_weight_axes(w, contract[weight], batch[weight])}
        attrs["over"] = _summed_over(x, contract[1 - weight])
        return self._append("linear", (self._part(x), self._part(w)), attrs, sizes, dtype)

    def graph(
        self, model: str, leaves: Sequence[Leaf], outputs: Mapping[str, View],
        loss: str | None = None, how: str = "meta", notes: tuple[str, ...] = (),
    ) -> Graph:  # fmt: skip
        """The graph of what was recorded."""
        return Graph(
            model=model, nodes=tuple(self.nodes), values=self.values, leaves=tuple(leaves),
            inputs=tuple(self.inputs), outputs={k: v.root for k, v in outputs.items()},
            loss=loss, how=how, notes=notes,
        )  # fmt: skip

    # -- inside ------------------------------------------------------------------------------

    def _part(self, view: View) -> Part:
        window = view.window
        if window is None:
            return Part(view.root, ordered=False)
        return Part(view.root, window.ranges(self.values[view.root].shape), window.is_ordered())

    def _which_is_weight(self, both: tuple[View, View]) -> int | None:
        weights = [i for i, v in enumerate(both) if self.is_weight(v)]
        if len(weights) == 2:  # learned queries read by a projection
            weights = [i for i in weights if both[i].root in self._owners]
        if len(weights) == 2:
            weights = [i for i in weights if self._owners[both[i].root] == self.scope]
        return weights[0] if len(weights) == 1 else None

    def _new(
        self, sizes: Sequence[int], dtype: str, producer: int, order: tuple[int, ...] | None = None
    ) -> View:
        """A value; where `order` is given its shape is that of the tensor's axes in that order."""
        value = len(self.values)
        shape = tuple(sizes[a] for a in order) if order else tuple(sizes)
        self.values[value] = Value(value, shape, dtype, producer)
        whole = View.whole(value, shape)
        return whole.transpose([order.index(a) for a in range(len(order))]) if order else whole

    def _append(
        self, op: str, parts: tuple[Part, ...], attrs: dict[str, Any], sizes: Sequence[int],
        dtype: str, order: tuple[int, ...] | None = None,
    ) -> View:  # fmt: skip
        index = len(self.nodes)
        view = self._new(sizes, dtype, index, order)
        roots = tuple(p.root for p in parts)
        learned_input = op == "linear" and roots[0] in self._weights
        if not learned_input and all(r in self._weights or r in self._constants for r in roots):
            self._weights.add(view.root)
        self.nodes.append(Node(index, op, roots, (view.root,), attrs, self.scope, parts))
        return view


def _images(ndim: int) -> tuple[int, ...]:
    """(batch, positions..., channels) -> (batch, channels, positions...)"""
    return (0, ndim - 1, *range(1, ndim - 1)) if ndim > 2 else tuple(range(ndim))


def _presented(view: View, sizes: Sequence[int]) -> tuple[int, ...] | None:
    """The order that a view's axes have in its root, where it shows all of it in another order."""
    window = view.window
    if window is None or len(view.sizes) != len(sizes):
        return None
    covers = [window.covers(dim) for dim in range(len(sizes))]
    axes = [c[0] for c in covers if len(c) == 1]
    if len(axes) != len(sizes) or sorted(axes) != list(range(len(sizes))):
        return None
    order = tuple(axes.index(a) for a in range(len(axes)))
    return None if order == tuple(range(len(order))) else order


def _as_stored(view: View, stored: Stored) -> View:
    """The framework's array of a parameter, as a view of PyTorch's tensor. (Flipped axes and gates
    stacked otherwise show the same axes: they are told by the leaf's hint.)"""
    apart = view.reshape(tuple(stored.shape[a] for a in stored.order))
    return apart.transpose([stored.order.index(a) for a in range(len(stored.order))])


def _weight_axes(
    weight: View, contract: Sequence[int], batch: Sequence[int]
) -> dict[str, tuple[int, ...]]:
    """Which axes of the weight's root are summed over, which index the outputs, which matrices."""
    window = weight.window
    if window is None:
        return {}
    free = [d for d in range(len(weight.sizes)) if d not in contract and d not in batch]
    parts = {"in_axis": contract, "out_axis": free, "batch_axis": batch}
    return {
        name: tuple(dict.fromkeys(a for d in dims for a in window.covers(d)))
        for name, dims in parts.items()
    }


def _summed_over(x: View, dims: Sequence[int]) -> tuple[int, ...] | None:
    """The axes of the signal's root that a product runs over, the slowest first; None where that
    cannot be told."""
    window = x.window
    if window is None or not all(window.is_ordered(slice(d, d + 1)) for d in dims):
        return None
    return tuple(a for d in dims for a in window.covers(d))
