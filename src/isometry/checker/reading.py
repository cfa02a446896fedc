"""Measurements and graph, read together: what every rule looks at."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property

from isometry.checker.paths import Path, Step, read_paths
from isometry.checker.wording import law_of
from isometry.graph import Graph, Node
from isometry.roles import MATRICES, Usage, read_usages
from isometry.streams import Streams, read_streams, weight_values
from isometry.types import (
    Constant,
    InputMeasurement,
    Law,
    Measurement,
    Measurements,
    ParameterMeasurement,
    matches,
)

__all__ = ["STOPS", "Reading"]

SHIFTED = 0.9  # of the rms is the mean: a bias makes the signal
STOPS = frozenset((*MATRICES, "magnitude", "norm_gain", "scale"))  # a zero there stops a signal


@dataclass(frozen=True)
class Reading:
    """One run of a model. `factors` are the parameters by which a signal is multiplied."""

    measurements: Measurements
    graph: Graph

    @cached_property
    def weights(self) -> set[int]:
        return weight_values(self.graph)

    @cached_property
    def streams(self) -> Streams:
        return read_streams(self.graph, self.weights)

    @cached_property
    def usages(self) -> Mapping[str, Usage]:
        """Parameter -> what it does."""
        found = read_usages(self.graph, self.weights, self.streams)
        return {usage.leaf.name: usage for usage in found}

    @cached_property
    def at(self) -> Mapping[int, Measurement]:
        """Node -> what was measured there."""
        return {m.node: m for m in self.measurements.layers}

    @cached_property
    def parameters(self) -> Mapping[str, ParameterMeasurement]:
        return {p.name: p for p in self.measurements.parameters}

    @cached_property
    def paths(self) -> tuple[Path, ...]:
        """How the signal gets to each output."""
        return read_paths(self.graph, self.weights, self.streams, self.at)

    @property
    def inputs_not_finite(self) -> bool:
        """Do infinities or NaN in the inputs reach an output? (In a mask they do not.)"""
        return any(i.nonfinite > 0 for i in self.measurements.inputs) and any(
            m.nonfinite > 0 for m in self.outputs
        )

    @property
    def loss_not_finite(self) -> bool:
        """Is the loss of finite outputs infinite or NaN? Then the target, or the loss, is odd."""
        loss = self.measurements.loss
        return (
            loss is not None
            and not math.isfinite(loss)
            and not any(m.nonfinite > 0 for m in self.outputs)
        )

    @cached_property
    def outputs(self) -> tuple[Measurement, ...]:
        """What was measured of each output."""
        found = []
        for value in self.graph.outputs.values():
            node = self.graph.producer(value)
            while node is not None and node.index not in self.at and node.inputs:
                node = self.graph.producer(node.inputs[0])
            if node is not None and node.index in self.at:
                found.append(self.at[node.index])
        return tuple(found)

    def is_factor(self, name: str) -> bool:
        """Does a zero in this parameter stop a signal?"""
        usage = self.usages.get(name)
        return usage is not None and usage.role in STOPS

    def place(self, name: str) -> int:
        """The first node at which a parameter is used; past the end where it is not."""
        usage = self.usages.get(name)
        node = usage.node if usage is not None else None
        return len(self.graph.nodes) if node is None else node.index

    def layer(self, name: str) -> str:
        """The module that owns a parameter."""
        leaf = self.usages[name].leaf if name in self.usages else None
        return leaf.owner_name if leaf is not None and leaf.owner_name else name

    def concerned(self, names: Iterable[str]) -> tuple[str, ...]:
        """These parameters and those of the same modules, in the order of the model's: what is
        drawn anew together."""
        wanted = set(names)
        owners = {self.usages[n].leaf.owner_name for n in wanted if n in self.usages}
        return tuple(
            n
            for n, usage in self.usages.items()
            if usage.leaf.kind == "parameter"
            and usage.leaf.trainable
            and (n in wanted or (usage.leaf.owner_name in owners and usage.leaf.owner_name))
        )

    def behind(self, steps: Iterable[Step]) -> tuple[str, ...]:
        """The parameters that decide about steps of a path: their weights, and of a residual
        stream the weights that write it."""
        names: list[str] = []
        for step in steps:
            if step.weight is not None:
                names.append(step.weight.name)
            elif step.measured.node in self.streams.of_addition:
                stream = self.streams.of_addition[step.measured.node][0]
                names += [n for n, u in self.usages.items() if u.stream is stream]
        return self.concerned(names)

    def after(self, node: int) -> tuple[str, ...]:
        """The parameters on the paths from a node on: what could not be judged behind it."""
        steps = [s for p in self.paths for s in p.steps if s.measured.node >= node]
        return self.behind(steps)

    def makers(self, node: int) -> tuple[str, ...]:
        """The parameters of the products whose output an operation reads."""
        before = self.source(self.graph.nodes[node])
        return () if before is None else self.concerned(self.weights_of(before.node))

    def shifts(self, names: Iterable[str]) -> dict[str, Law]:
        """Zero for those of these parameters that are biases filled with another number, which a
        plan would take for set on purpose."""
        found = (self.parameters[n] for n in names if n in self.parameters)
        return {
            p.name: Constant(0.0)
            for p in found
            if p.constant and self.usages[p.name].role == "bias"
        }

    def shift_of(self, step: Step) -> dict[str, Law]:
        """Zero for the bias that makes all of what a step gives, where one does."""
        m = step.measured
        if step.weight is None or abs(m.mean) < SHIFTED * math.sqrt(m.q):
            return {}
        return self.shifts(self.concerned([step.weight.name]))

    def weights_of(self, node: int) -> tuple[str, ...]:
        """The matrices whose product, with its bias, is what was measured at a node."""
        output = self.graph.nodes[node].output
        return tuple(n for n, u in self.usages.items() if u.output == output and u.role != "bias")

    def without(self, patterns: tuple[str, ...]) -> Reading:
        """The same run, but for the parameters that match one of these patterns."""
        kept = tuple(p for p in self.measurements.parameters if not matches(p.name, patterns))
        return Reading(replace(self.measurements, parameters=kept), self.graph)

    def input_of(self, step: Step) -> InputMeasurement | None:
        """The input of the model that a product reads as it is."""
        by_value = {given.value: given for given in self.measurements.inputs}
        weights = [n for n in self.graph.nodes if n.op in ("linear", "conv") and n.inputs]
        output = self.graph.nodes[step.measured.node].output
        names = self.weights_of(step.measured.node)
        for node in weights:
            if node.output != output and not any(self.usages[n].node is node for n in names):
                continue
            value = node.inputs[0]
            while value not in by_value:
                producer = self.graph.producer(value)
                if producer is None or producer.op not in ("view", "dropout"):
                    return None
                value = producer.inputs[0]
            return by_value[value]
        return None

    def reads_fn(self, name: str) -> str | None:
        """The activation whose output a weight reads, where a path says it."""
        for path in self.paths:
            for step in path.steps:
                if step.weight is not None and step.weight.name == name:
                    return step.fn
        return None

    def on_path(self, name: str) -> bool:
        """Is this weight one that a signal on its way to an output goes through?"""
        return any(
            s.weight is not None and s.weight.name == name for p in self.paths for s in p.steps
        )

    def is_head(self, name: str) -> bool:
        """Does nothing with a weight come after this parameter on the way to an output?"""
        for path in self.paths:
            last = next((s for s in reversed(path.steps) if s.kind == "weight"), None)
            if last is not None and last.weight is not None and last.weight.name == name:
                return True
        return False

    def named(self, m: Measurement) -> str:
        """The layer of a measurement; of a function that the model itself calls, that of the
        weights whose output it reads."""
        if m.layer:
            return m.layer
        before = self.source(self.graph.nodes[m.node])
        makers = () if before is None else self.weights_of(before.node)
        return self.layer(makers[0]) if makers else "(model)"

    def law(self, name: str) -> str:
        """What a weight was drawn from, in words; of a table that is tied to a head as the head."""
        usage = self.usages[name]
        as_matrix = next((u for u in (usage, *usage.others) if u.role in MATRICES), None)
        return law_of(self.parameters[name], None if as_matrix is None else as_matrix.fans)

    def source(self, node: Node) -> Measurement | None:
        """What was measured of what a node reads."""
        for value in node.inputs:
            producer = self.graph.producer(value)
            while producer is not None and producer.op == "view" and producer.inputs:
                producer = self.graph.producer(producer.inputs[0])
            if producer is not None and producer.index in self.at:
                return self.at[producer.index]
        return None
