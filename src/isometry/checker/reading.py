"""Measurements and graph, read together: what every rule looks at."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

from isometry.checker.paths import Path, read_paths
from isometry.graph import Graph, Node
from isometry.roles import MATRICES, Usage, read_usages
from isometry.streams import Streams, read_streams, weight_values
from isometry.types import Measurement, Measurements, ParameterMeasurement

__all__ = ["STOPS", "Reading"]

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

    def source(self, node: Node) -> Measurement | None:
        """What was measured of what a node reads."""
        for value in node.inputs:
            producer = self.graph.producer(value)
            while producer is not None and producer.op == "view" and producer.inputs:
                producer = self.graph.producer(producer.inputs[0])
            if producer is not None and producer.index in self.at:
                return self.at[producer.index]
        return None
