"""What calibration on data aims at, and the plan that comes of it.

    law'  =  law × sqrt(t / mean((x W)²)),      x W on the given inputs

The theory assumes how large a signal is when it reaches a weight; calibration measures it. Here is
the judgement: which weights are rescaled, towards which second moment t, and how the factors
become part of the plan. An adapter does the measuring.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace

from isometry.errors import ArgumentError, ModelError
from isometry.graph import Graph, Leaf
from isometry.recipe.base import significant
from isometry.roles import MATRICES, Usage, read_usages
from isometry.streams import CARRIERS, read_streams, weight_values
from isometry.types import Constant, Decision, Keep, Law, Plan

__all__ = ["Aims", "aims_of", "calibrated", "lost", "rescaled"]

# Rules that take 1 for granted everywhere, and whose theory only says how far they miss it. `auto`
# differs where a stream is written or logits are made. Every other recipe holds a scale of its own.
UNIT = ("lecun", "glorot", "he", "torch")
SCALES = ("std", "bound", "gain", "mean", "value")  # what of a law is in the weight's own unit

NORMALISED = "its output is normalised next, so that its scale is free"
AVERAGE = "it reads an average by attention, which grows as tokens come to agree"
RECURRENT = "it keeps the length of its state"
COMPUTED = "the weight that is used is computed from it"
CONSTANT = "it reads a constant, and no data"
UNKNOWN = "the theory does not say how large its output should be"


@dataclass(frozen=True, slots=True)
class Aims:
    """`moments`: weight -> the second moment that its product should have, before its bias.
    `left`: weight -> why it stays as planned."""

    moments: Mapping[str, float]
    left: Mapping[str, str]


def aims_of(graph: Graph, plan: Plan) -> Aims:
    """Which of a plan's matrices data may rescale, and towards what.

    1 for the classic rules and for `auto`, but where a residual stream is written or logits are
    made small: there, and for every recipe that holds a scale on purpose, what the plan predicts.

    Args:
        graph: of the model.
        plan: made from it.
    """
    weights = weight_values(graph)
    usages = read_usages(graph, weights, read_streams(graph, weights))
    predicted = {p.name: p.q for p in plan.predictions}
    shifts = _shifts(usages, plan)
    moments: dict[str, float] = {}
    left: dict[str, str] = {}
    for usage in usages:
        name, decision = usage.leaf.name, plan[usage.leaf.name]
        if usage.role not in MATRICES or not _drawn(decision):
            continue
        why, q, shift = _left(graph, usage), predicted.get(name), shifts.get(name, 0.0)
        own = None if q is None or shift is None or q <= shift else q - shift
        aim = 1.0 if _is_one(graph, plan.recipe, usage) else own
        if why is None and aim is None:
            why = UNKNOWN
        if why is not None or aim is None:
            left[name] = why or UNKNOWN
        else:
            moments[name] = aim
    return Aims(moments, left)


def _is_one(graph: Graph, recipe: str, usage: Usage) -> bool:
    small = usage.stream is not None or (bool(usage.heads) and graph.loss == "classification")
    return recipe in UNIT or (recipe == "auto" and not small)


def _drawn(decision: Decision) -> bool:
    return decision.law.random or any(b.law.random for b in decision.blocks)


def _left(graph: Graph, usage: Usage) -> str | None:
    """Why a weight's scale is not the data's affair; None where it is."""
    if usage.role == "recurrent":
        return RECURRENT
    if usage.role == "direction" or usage.node is None:
        return COMPUTED
    if usage.normalised and usage.stream is None and not usage.heads:
        return NORMALISED
    return None if usage.reads is None else _by_what_it_reads(graph, usage.reads)


def _by_what_it_reads(graph: Graph, value: int) -> str | None:
    while (node := graph.producer(value)) is not None and node.op in CARRIERS:
        value = node.inputs[0]
    if node is None:
        given = value in graph.inputs or graph.leaf_of(value) is not None
        return None if given else CONSTANT
    # How far tokens agree before training says little of how far they will (docs/decisions.md).
    return AVERAGE if node.op in ("attention", "matmul") else None


def _shifts(usages: list[Usage], plan: Plan) -> dict[str, float | None]:
    """Weight -> the second moment of its bias under the plan; None where that is not known."""
    return {
        u.partner.name: _second_moment(plan[u.leaf.name].law, u.leaf)
        for u in usages
        if u.role == "bias" and u.partner is not None
    }


def _second_moment(law: Law, leaf: Leaf) -> float | None:
    if isinstance(law, Keep):
        return None if leaf.constant is None else leaf.constant**2
    mean = law.value if isinstance(law, Constant) else float(getattr(law, "mean", 0.0))
    return law.variance + mean**2


def calibrated(plan: Plan, aims: Aims, factors: Mapping[str, float]) -> Plan:
    """The plan with each factor made part of its law, block by block, and said in the reason.

    A plan that is saved gives the same weights wherever it is applied, and nobody needs the data.

    Raises:
        ArgumentError: a factor takes a law out of the scales that float32 can carry.
    """
    decisions = []
    for decision in plan:
        name = decision.name
        if name in factors:
            decision = _rescaled(decision, factors[name])
        elif name in aims.left or name in aims.moments:
            why = aims.left.get(name, "the run does not multiply by it as it stands")
            decision = replace(decision, reason=f"{decision.reason}; not calibrated: {why}")
        decisions.append(decision)
    every = len(aims.moments.keys() | aims.left.keys())
    note = f"{len(factors)} of {every} matrices calibrated on the given inputs"
    if factors:
        note += f", by factors of {min(factors.values()):.3g} to {max(factors.values()):.3g}"
    # What was predicted was predicted for other laws.
    return replace(plan, decisions=tuple(decisions), predictions=(), notes=(*plan.notes, note))


def _rescaled(decision: Decision, factor: float) -> Decision:
    try:
        law = rescaled(decision.law, factor)
        blocks = tuple(replace(b, law=rescaled(b.law, factor)) for b in decision.blocks)
    except ArgumentError as error:
        raise ArgumentError(
            f"{decision.name} would have to be multiplied by {factor:.3g} on the given inputs: "
            f"{error}; normalise the inputs"
        ) from error
    return replace(
        decision,
        law=law,
        blocks=blocks,
        gain=None if decision.gain is None else significant(decision.gain * factor),
        reason=f"{decision.reason}; calibrated: x {factor:.4g} on the given inputs",
    )


def rescaled(law: Law, factor: float) -> Law:
    """The law of a tensor that is multiplied by a factor.

    Example:
        >>> from isometry.types import Normal
        >>> rescaled(Normal(std=0.5), 3.0)
        Normal(std=1.5, mean=0.0)
    """
    return replace(
        law, **{f.name: getattr(law, f.name) * factor for f in fields(law) if f.name in SCALES}
    )


def lost(name: str, what: str, aim: float) -> ModelError:
    """The error for a weight whose product no factor brings to its aim: "zero everywhere", ..."""
    return ModelError(
        f"{name} cannot be calibrated: on the given inputs what it makes is {what}, and no factor "
        f"brings that to a second moment of {aim:.3g}; iso.check(model, inputs) says where a signal is "
        "lost; or leave this weight out, exclude=[...]"
    )
