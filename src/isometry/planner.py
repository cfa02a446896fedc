"""Graph + recipe -> Plan: a decision for every parameter and buffer, with a reason.

The walk follows the graph in execution order and asks the recipe for a weight's law when it gets
there, so that the law can rest on the second moment of what the weight reads.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from isometry.errors import ArgumentError, ModelError
from isometry.graph import Graph, Leaf, Node
from isometry.law_moments import law_moments, plan_moments
from isometry.pointwise import name_of
from isometry.recipe import Choice, Recipe, Site, Survey, find_recipe
from isometry.recipe.base import significant
from isometry.roles import MATRICES, Usage, read_usages
from isometry.streams import read_streams, weight_values
from isometry.theory import Expectation, LeafMoments, expectations, propagate, reach, start
from isometry.theory.fixed_points import settled
from isometry.types import Decision, Law, Plan, Prediction

__all__ = ["plan_graph"]

LONG = 10  # layers of a chain of which it is said where they settle
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
    plan = plan.override(overrides) if overrides else plan
    return replace(
        plan, predictions=planner.predictions(plan), notes=(*plan.notes, *planner.chains(plan))
    )


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
        return law_moments(usage, self._choice(usage).law, node)

    def predictions(self, plan: Plan) -> tuple[Prediction, ...]:
        """What the theory expects of every matrix's output, all laws decided."""
        decided = {d.name: d for d in plan}

        def moments(leaf: Leaf, node: Node) -> LeafMoments | None:
            return plan_moments(self.usages[leaf.name], decided[leaf.name], node)

        walk = start(self.graph, self.weights, moments, paired=True)
        found = expectations(walk)
        placed = [
            (self.graph.values[u.output].producer, u.leaf.name, found[u.output])
            for u in self.usages.values()
            if u.role in MATRICES and u.output is not None and u.output in found
        ]
        return tuple(
            Prediction(name, e.q, e.c, e.grad) for _, name, e in sorted(placed, key=_first)
        )

    def chains(self, plan: Plan) -> tuple[str, ...]:
        """Where long plain chains of one activation and one pair of variances settle."""
        decided = {d.name: d for d in plan}
        biases = {u.partner.name: u for u in self.usages.values() if u.partner is not None}
        counts: dict[tuple[str, float, float], int] = {}
        for usage in self.usages.values():
            name, node = self._chained(usage), usage.node
            if name is None or node is None or node.op != "linear":
                continue
            found = plan_moments(usage, decided[usage.leaf.name], node)
            bias = biases.get(usage.leaf.name)
            added = (
                LeafMoments(0.0, 0.0)
                if bias is None
                else plan_moments(bias, decided[bias.leaf.name], node)
            )
            if found is None or added is None or found.reads != "each":
                continue  # kept values have no law
            if found.mean == added.mean == 0.0:
                key = (name, significant(found.fan_in * found.second), significant(added.second))
                counts[key] = counts.get(key, 0) + 1
        notes = (settled(*key, count) for key, count in counts.items() if count >= LONG)
        return tuple(note for note in notes if note is not None)

    def _chained(self, usage: Usage) -> str | None:
        """The activation that a matrix in a plain chain reads: of what another matrix makes."""
        if usage.role not in MATRICES or usage.stream is not None or usage.reads is None:
            return None
        signal = self.propagation.signal(usage.reads)
        root = None if signal is None else self.graph.producer(signal.origin)
        plain = (
            root is not None
            and root.op in ("linear", "conv", "add")
            and root.index not in self.streams.of_addition
        )
        return name_of(signal.expression) if plain and signal is not None else None

    def decisions(self) -> tuple[Decision, ...]:
        out = []
        for usage in self.usages.values():
            leaf, choice = usage.leaf, self.choices[usage.leaf.name]
            out.append(
                Decision(
                    leaf.name, leaf.aliases, leaf.kind, leaf.shape, leaf.dtype, usage.role,
                    usage.axes, usage.fans, choice.scheme, choice.gain, choice.law, choice.blocks,
                    choice.reason, choice.source, leaf.stored,
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
            name = self._chained(usage)
            if name is not None:
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


def _first(placed: tuple[int, str, Expectation]) -> int:
    return placed[0]
