"""Graph + recipe -> Plan: a decision for every parameter and buffer, with a reason.

The walk follows the graph in execution order and asks the recipe for a weight's law when it gets
there, so that the law can rest on the second moment of what the weight reads.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

from isometry.errors import ArgumentError, ModelError
from isometry.graph import Graph, Leaf, Node
from isometry.pointwise import name_of
from isometry.recipe import Choice, Recipe, Site, Survey, find_recipe
from isometry.roles import MATRICES, Usage, read_usages
from isometry.streams import read_streams, weight_values
from isometry.theory import LeafMoments, propagate, reach, start
from isometry.types import (
    CenteredOrthogonal,
    Constant,
    Decision,
    DeltaOrthogonal,
    Keep,
    Law,
    MirroredOrthogonal,
    Orthogonal,
    Plan,
)

__all__ = ["plan_graph"]

HOLDING = ("critical", "edge-of-chaos", "isometric")  # recipes that hold a signal at any depth


def plan_graph(
    graph: Graph, recipe: str | Recipe = "auto", overrides: Mapping[str, Law] | None = None
) -> Plan:
    """Decide every parameter and buffer of a graph.

    Args:
        graph: what an adapter read.
        recipe: a recipe's name, or a recipe.
        overrides: pattern -> law, applied last.

    Raises:
        ModelError: a parameter has an axis of size zero.
        PlanError: an override matches nothing.
    """
    chosen = find_recipe(recipe)
    for leaf in graph.leaves:
        if leaf.kind == "parameter" and 0 in leaf.shape:
            raise ModelError(
                f"{leaf.name} has shape {leaf.shape}: an axis of size 0 has no fan; remove the "
                "layer, or give it a size"
            )
    planner = _Planner(graph, chosen)
    planner.walk()
    if planner.needs_readout:
        planner = _Planner(graph, chosen, planner.readouts)
        planner.walk()
    plan = Plan(graph.model, chosen.name, planner.decisions(), (*graph.notes, *planner.notes()))
    return plan.override(overrides) if overrides else plan


class _Planner:
    def __init__(
        self, graph: Graph, recipe: Recipe, readouts: Mapping[str, float] | None = None
    ) -> None:
        self.graph = graph
        self.weights = weight_values(graph)
        self.streams = read_streams(graph, self.weights)
        self.usages = {u.leaf.name: u for u in read_usages(graph, self.weights, self.streams)}
        survey = Survey(graph, self.weights, self.usages, self.streams)
        prepare = getattr(recipe, "prepare", None)
        self.recipe: Recipe = recipe if prepare is None else prepare(survey)
        self.choices: dict[str, Choice] = {}
        self.readouts: dict[str, float] = dict(readouts or {})
        self._activations: dict[int, str] | None = None
        self.propagation = start(graph, self.weights, self._moments)

    @property
    def needs_readout(self) -> bool:
        """Does a table's scale depend on what reaches the output it is tied to?"""
        return any(abs(q - 1.0) > 1e-6 for q in self.readouts.values())

    def walk(self) -> None:
        for node in self.graph:
            for usage in self._tied_heads(node):
                signal = self.propagation.signal(node.inputs[0])
                if signal is not None:
                    self.readouts.setdefault(usage.leaf.name, signal.q)
            self.propagation.visit(node)
        # Directions before the magnitudes that follow from them.
        for usage in sorted(self.usages.values(), key=lambda u: u.role == "magnitude"):
            self._choice(usage)

    def _tied_heads(self, node: Node) -> list[Usage]:
        if node.op != "linear":
            return []
        leaf = self.graph.leaf_of(node.inputs[1])
        usage = None if leaf is None else self.usages[leaf.name]
        return [usage] if usage is not None and usage.role == "embedding" else []

    def _choice(self, usage: Usage) -> Choice:
        name = usage.leaf.name
        if name not in self.choices:
            reads = self.propagation.signal(usage.reads) if usage.reads is not None else None
            start = (
                self.propagation.signal(usage.stream.start) if usage.stream is not None else None
            )
            share = (
                reach(usage.node, reads)[0]
                if usage.role == "conv" and usage.node and reads
                else 1.0
            )
            site = Site(
                self.graph, usage, reads, start, self.readouts.get(name), share,
                self._law_of, lambda: self._activation_after(usage),
            )  # fmt: skip
            choice = self.recipe.decide(site)
            if not isinstance(choice, Choice):
                raise ArgumentError(
                    f"recipe {self.recipe.name!r} answered {choice!r} for {name}; expected an "
                    "isometry.recipe.Choice(law, scheme, reason)"
                )
            self.choices[name] = choice
        return self.choices[name]

    def _law_of(self, name: str) -> Law | None:
        usage = self.usages.get(name)
        # A magnitude's own law follows from another's: it has none to tell.
        return None if usage is None or usage.role not in MATRICES else self._choice(usage).law

    def _activation_after(self, usage: Usage) -> str | None:
        """The activation that reads a matrix's output, or a bias's."""
        if self._activations is None:
            walk = propagate(self.graph, self.weights, lambda leaf, node: LeafMoments(0.0, 0.0))
            self._activations = {}
            for node in self.graph:
                signal = walk.signal(node.inputs[0]) if node.op in ("linear", "conv") else None
                name = None if signal is None else name_of(signal.expression)
                if signal is not None and name is not None:
                    self._activations[signal.origin] = name
        made = usage.node.output if usage.node is not None else None
        place = usage.reads if usage.role == "bias" else made
        return None if place is None else self._activations.get(place)

    def _moments(self, leaf: Leaf, node: Node) -> LeafMoments | None:
        """The law of a leaf, as the theory asks."""
        usage = self.usages[leaf.name]
        choice = self._choice(usage)
        law = choice.law
        if isinstance(law, Keep):
            if leaf.constant is None:
                return None
            law = Constant(leaf.constant)
        used = next((u for u in (usage, *usage.others) if u.node is node), usage)
        fan_in, fan_out = (
            (used.fans.fan_in, used.fans.fan_out) if used.fans is not None else (1.0, 1.0)
        )
        mean = getattr(law, "value", getattr(law, "mean", 0.0))
        if getattr(law, "elementwise", True):
            return LeafMoments(mean, law.variance + mean * mean, fan_in, fan_out)
        reads = "each"
        if getattr(law, "size", None) is not None or not hasattr(law, "gain"):
            second = law.variance
        else:
            second = law.gain**2 / max(fan_in, 1.0)
        units = _units_read(usage)
        if isinstance(law, MirroredOrthogonal) and law.reads:
            reads, second = "pairs", second * 2 * law.reads / units
        elif isinstance(law, CenteredOrthogonal):
            reads = "centred" if law.reads else "each"
            made = max(leaf.shape[usage.axes.out_axis[0]] if usage.axes else 1, 1)
            second *= (units - law.reads) / units * (made - law.writes) / made
        delta = isinstance(law, DeltaOrthogonal) or bool(getattr(law, "delta", False))
        return LeafMoments(0.0, second, fan_in, fan_out, reads, isinstance(law, Orthogonal), delta)

    def decisions(self) -> tuple[Decision, ...]:
        out = []
        for usage in self.usages.values():
            leaf, choice = usage.leaf, self.choices[usage.leaf.name]
            out.append(
                Decision(
                    leaf.name, leaf.aliases, leaf.kind, leaf.shape, leaf.dtype, usage.role,
                    usage.axes, usage.fans, choice.scheme, choice.gain, choice.law, choice.blocks,
                    choice.reason, choice.source,
                )
            )  # fmt: skip
        return tuple(out)

    def notes(self) -> tuple[str, ...]:
        """What the plan cannot promise, said once."""
        say = getattr(self.recipe, "notes", None)
        own: tuple[str, ...] = () if say is None else say()
        return (*own, *(n for n in (self._repelling(), self._not_followed()) if n))

    def _repelling(self) -> str | None:
        """A long plain chain of an activation whose second moment runs away."""
        from isometry.gains import moments

        if self.recipe.name in HOLDING:
            return None
        counts: dict[str, int] = {}
        for usage in self.usages.values():
            signal = self.propagation.signal(usage.reads) if usage.reads is not None else None
            if signal is None or usage.role not in MATRICES:
                continue
            root = self.graph.producer(signal.origin)
            plain = (
                root is not None
                and root.op in ("linear", "conv", "add")
                and root.index not in self.streams.of_addition
            )
            name = name_of(signal.expression)
            if plain and name is not None and usage.stream is None:
                counts[name] = counts.get(name, 0) + 1
        for name, count in counts.items():
            slope = moments(name).S
            if slope > 1.02 and slope**count > 2.0:
                return (
                    f"{count} layers of {name} in a row without normalisation: no choice of variance "
                    f"alone holds the second moment (its fixed point repels, x {slope:.3f} a layer). "
                    "Normalise, or add residual connections, or use recipe='isometric'"
                )
        return None

    def _not_followed(self) -> str | None:
        unknown = self.propagation.unknown
        if not unknown:
            return None
        names = ", ".join(f"{n} ({c})" for n, c in sorted(unknown.items()))
        return f"operations the theory does not know, passed over at their input's scale: {names}"


def _units_read(usage: Usage) -> int:
    """How many units a matrix reads: the size of its in axis."""
    shape = usage.leaf.shape
    return 1 if usage.axes is None else math.prod(shape[a] for a in usage.axes.in_axis)
