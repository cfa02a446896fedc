"""What measuring asks of a framework: a model on one batch, as a function of its parameters."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from numpy.typing import NDArray

from isometry.graph import Graph

__all__ = ["Goal", "Pass", "Runner"]

Array = NDArray[Any]

# outputs by name -> the loss, where there is one, and the gradient by each output
Goal = Callable[[Mapping[str, Array]], "tuple[float | None, dict[str, Array]]"]


@dataclass(frozen=True, slots=True)
class Pass:
    """One run, forward and backward.

    Attributes:
        values: node -> what it gave, its axes as the graph's value has them or, where that
            cannot be told, in the framework's own order.
        gradients: node -> the gradient of the objective there; none where it does not reach.
        outputs: the model's floating-point outputs, by name as in `graph.outputs`.
        parameters: leaf -> its gradient, in PyTorch's layout; none where it has none.
    """

    values: dict[int, Array] = field(default_factory=dict)
    gradients: dict[int, Array] = field(default_factory=dict)
    outputs: dict[str, Array] = field(default_factory=dict)
    parameters: dict[str, Array] = field(default_factory=dict)
    loss: float | None = None


class Runner(Protocol):
    """A model on a batch. `parameters` are its leaves in PyTorch's layout, `channels` the axis of
    the units in a node's value, where that is not the last."""

    @property
    def graph(self) -> Graph: ...

    @property
    def inputs(self) -> tuple[Array, ...]: ...

    @property
    def channels(self) -> Mapping[int, int]: ...

    @property
    def parameters(self) -> Mapping[str, Array]: ...

    def run(
        self, parameters: Mapping[str, Array] | None, goal: Goal | None, *, nodes: bool = True
    ) -> Pass:
        """Run it.

        Args:
            parameters: other values for some of them, in PyTorch's layout; None: the model's own.
            goal: what is differentiated; None: forward only.
            nodes: also the value and the gradient at every node.
        """
        ...
