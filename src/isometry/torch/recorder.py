"""Statistics of every operation of one run, taken while it runs.

Nothing is kept alive beyond what autograd keeps. A tensor has its place in the backward graph
only once the operation that made it has returned, and loses it when a later one writes into it:
each is looked up when the next operation is recorded, and the gradient is measured as it passes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import Tensor

from isometry.graph import Graph, Node
from isometry.measuring.layers import UNMEASURED, as_measurement
from isometry.measuring.statistics import Samples, Statistics
from isometry.streams import weight_values
from isometry.torch.statistics import dead_fraction, moment, one_hot_share, statistics
from isometry.torch.trace import Tracer
from isometry.types import Measurement

__all__ = ["Recorder"]

# Where a unit is a channel: along axis 1 and not along the last.
CHANNELS_FIRST = ("batch", "group")


@dataclass(slots=True)
class _Entry:
    """What is known of one operation so far."""

    head: Node  # the operation itself; `node` may be the bias that was added with it
    node: Node
    shape: tuple[int, ...]
    found: Statistics
    dead: float | None
    grad: float | None = None
    grad_nonfinite: float = 0.0


class Recorder:
    """Observes a tracer; `measurements` is what it found."""

    def __init__(self, samples: Samples) -> None:
        self.tracer = Tracer(self._observe)
        self.samples = samples
        self._entries: list[_Entry] = []
        self._pending: tuple[_Entry, Tensor] | None = None
        self._recorded = 0  # nodes before the operation being recorded
        self._unit_axis: dict[int, int] = {}  # of a value

    def _observe(self, node: Node, tensor: Tensor) -> None:
        self.settle()
        head = self.tracer.nodes[self._recorded]
        self._recorded = len(self.tracer.nodes)
        axis = self._axis(head, tensor)
        self._unit_axis[node.output] = axis
        if head.op in UNMEASURED or tensor.numel() == 0:
            return
        fn = head.attrs.get("fn") if head.op == "pointwise" else None
        found = statistics(tensor, self.samples, fn)
        dead = None
        if fn is not None and found.zeros > 0 and not found.nonfinite:
            dead = dead_fraction(tensor, axis, self.samples, head.attrs)
        if head.op == "softmax":
            found.saturated = one_hot_share(tensor, int(head.attrs.get("axis", -1)))
        entry = _Entry(head, node, tuple(tensor.shape), found, dead)
        self._entries.append(entry)
        self._pending = (entry, tensor)

    def settle(self) -> None:
        """Ask the backward graph to report the gradient of the last tensor seen."""
        if self._pending is None:
            return
        entry, tensor = self._pending
        self._pending = None
        place = tensor.output_nr
        if tensor.grad_fn is None:
            return

        def measure(gradients: Any) -> None:
            if gradients[place] is not None:
                entry.grad, entry.grad_nonfinite = moment(gradients[place])

        tensor.grad_fn.register_prehook(measure)

    def _axis(self, head: Node, tensor: Tensor) -> int:
        """The axis along which the units of a value lie."""
        if head.op == "conv" or (head.op == "norm" and head.attrs["kind"] in CHANNELS_FIRST):
            return 1 if tensor.dim() > 2 else -1
        for value in head.inputs:
            same = self.tracer.values[value].shape == tuple(tensor.shape)
            if same and head.op in ("pointwise", "add", "mul", "where", "pool"):
                return self._unit_axis.get(value, -1)
        return -1

    def measurements(self, graph: Graph) -> tuple[Measurement, ...]:
        """What was found, in execution order; what does not depend on the input is left out."""
        weights = weight_values(graph)
        return tuple(
            as_measurement(
                graph,
                entry.head,
                entry.node,
                entry.shape,
                entry.found,
                entry.dead,
                entry.grad,
                entry.grad_nonfinite,
            )
            for entry in self._entries
            if entry.node.output not in weights
        )

    def values(self) -> dict[int | str, Any]:
        """node -> a few values of its output."""
        return {e.node.index: e.found.values for e in self._entries if e.found.values is not None}
