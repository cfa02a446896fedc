"""What the theory expects every operation to do, given the weights and the inputs as they stand."""

from __future__ import annotations

import math
from collections.abc import Mapping

from isometry.checker.reading import Reading
from isometry.graph import Leaf, Node
from isometry.theory import Expectation, Given, LeafMoments, expectations, start
from isometry.types import Measurement, NotChecked

__all__ = ["parted", "predictions"]

KAPPA = 6.0  # E[phi⁴]/E[phi²]² - 1 of ReLU and its kin; less for bounded activations
ERRORS = 5.0  # standard deviations that one draw may lie off
SLACK = math.log(3.0)  # what inputs that are no noise, or spatially smooth, may add


def predictions(reading: Reading) -> Mapping[int, Expectation]:
    """Node -> what is expected of its output; without those that the theory cannot follow.

    The weights count by their first two moments and by what their columns have in common; the inputs
    by their moments and by what two samples, and two positions, have in common. Gradients are those
    that come back from the outputs with the second moment that was measured there.
    """
    graph, usages = reading.graph, reading.usages

    def moments(leaf: Leaf, node: Node) -> LeafMoments | None:
        parameter = reading.parameters.get(leaf.name)
        if parameter is None:  # a buffer
            value = leaf.constant
            return None if value is None else LeafMoments(value, value * value)
        if parameter.nonfinite > 0:
            return None
        usage = usages[leaf.name]
        fans = next((u for u in (usage, *usage.others) if u.node is node), usage).fans
        fan_in, fan_out = (fans.fan_in, fans.fan_out) if fans is not None else (1.0, 1.0)
        return LeafMoments(
            parameter.mean, parameter.q, fan_in, fan_out, parameter.reads, delta=parameter.delta
        )

    given = {
        i.value: Given(i.mean, i.q, i.pairs) for i in reading.measurements.inputs if 0 < i.q < 1e30
    }
    walk = start(graph, reading.weights, moments, paired=True)
    found = expectations(walk, given, _ends(reading))
    return {
        m.node: found[output]
        for m in reading.measurements.layers
        if (output := graph.nodes[m.node].output) in found
    }


def _ends(reading: Reading) -> dict[int, float]:
    """Output -> the second moment of the gradient that was measured there."""
    graph, at = reading.graph, reading.at
    found = {}
    for value in graph.outputs.values():
        node = graph.producer(value)
        measured = None if node is None else at.get(node.index)
        if measured is not None and measured.grad:
            found[value] = measured.grad
    return found


def parted(
    layers: tuple[Measurement, ...], expected: Mapping[int, Expectation]
) -> NotChecked | None:
    """Where measurement leaves the theory by more than random draws of finite width do.

    After layers of n units the logarithm of the mean square varies by about sum kappa/n from draw to
    draw (Hanin & Rolnick 2018, theorem 5).
    """
    varies = 0.0
    for m in layers:
        if m.op in ("linear", "conv") and len(m.shape) > 1:
            varies += KAPPA / max(m.shape[1] if m.op == "conv" else m.shape[-1], 1)
        q = expected[m.node].q if m.node in expected else None
        if q is None or m.op in ("softmax",) or not (1e-30 < q < 1e30 and 1e-30 < m.q < 1e30):
            continue
        off = abs(math.log(m.q / q))
        if off > SLACK + ERRORS * math.sqrt(varies):
            return NotChecked(
                f"the theory from {m.layer or m.op} on",
                f"the mean square is {m.q:.3g} where independent weights would give {q:.3g}: weights "
                "or inputs have a structure that it does not see",
            )
    return None
