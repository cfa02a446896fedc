"""The recipe `chrono`: gates that forget over as many steps as the data may need.

    b_f = ln U,  b_i = -b_f,    U ~ uniform(1, T - 1)          LSTM
    b_z = ln U                                                 GRU: z keeps what there was

A gate sigmoid(b) multiplies the state each step, so that it is held for about 1 + e^b = 1 + U steps:
memories of every length up to T are there from the start. Everything else is as in `auto`.
"""

from __future__ import annotations

from isometry.errors import ArgumentError, PlanError
from isometry.graph import Range
from isometry.recipe.auto import Auto
from isometry.recipe.base import Choice, Recipe, Site, Survey
from isometry.recipe.premises import refusal
from isometry.roles import Usage
from isometry.types import Block, Constant, Law, LogUniform

__all__ = ["Chrono"]

SOURCE = "Tallec & Ollivier 2018, sec. 2.3"


class Chrono:
    """Chrono initialisation of the gates of an LSTM or a GRU.

    Args:
        T: the longest dependency, in steps; None: the length of the sequence that was traced.

    Raises:
        ArgumentError: T is no number of steps above 2.

    Example:
        >>> Chrono(T=784).T
        784
    """

    name = "chrono"
    purpose = "LSTM and GRU over long sequences: gates remember from 1 to T steps"
    source = SOURCE

    def __init__(self, T: int | None = None) -> None:
        if T is not None and (isinstance(T, bool) or not isinstance(T, int) or T < 3):
            raise ArgumentError(
                f"Chrono(T={T!r}): expected the longest dependency in steps, 3 or more, such as "
                "Chrono(T=784), or None for the length of the traced sequence"
            )
        self.T = T
        self.steps: dict[str, int] = {}  # the first bias of a gated layer -> its T
        self._inner = Auto()

    def prepare(self, survey: Survey) -> Recipe:
        """Judge a model: an LSTM or a GRU, with biases, and a sequence."""
        gated = [u for u in survey.usages.values() if _gate(u) is not None]
        if not gated:
            raise refusal(
                self.name, "sets the biases of gates",
                f"{survey.graph.model} has no LSTM or GRU with biases", "'auto'",
            )  # fmt: skip
        prepared = Chrono(self.T)
        for usage in gated:
            T = self.T or _traced(survey, usage)
            if T < 3:
                raise PlanError(
                    f"recipe 'chrono' draws U from (1, T - 1), and {usage.leaf.name} was traced with "
                    f"a sequence of {T}. Use recipe=Chrono(T=...), the longest dependency in steps, "
                    "or trace a longer sequence"
                )
            prepared.steps[usage.leaf.name] = T
        return prepared

    def decide(self, site: Site) -> Choice:
        usage = site.usage
        if usage.leaf.name not in self.steps or not usage.leaf.trainable:
            return self._inner.decide(site)
        gate = _gate(usage)
        assert gate is not None
        if not usage.leaf.slot.startswith("bias_ih"):
            why = "gates: bias_ih has the chrono biases, this one adds nothing"
            return Choice(Constant(0.0), "zeros", why, SOURCE)
        T = self.steps[usage.leaf.name]
        blocks = tuple(
            Block(b.name, b.axis, b.start, b.stop, self._law(b, gate, T)) for b in usage.blocks
        )
        other = ", b_i = -b_f" if gate.name == "f" else ""
        why = f"gates: b_{gate.name} = ln U(1, {T - 1}){other}: memories of 1 to {T} steps"
        return Choice(Constant(0.0), "chrono", why, SOURCE, blocks=blocks)

    def _law(self, block: Range, gate: Range, T: int) -> Law:
        if block.name == gate.name:
            return LogUniform(1.0, float(T - 1))
        if block.name == "i" and gate.name == "f":
            return LogUniform(1.0, float(T - 1), sign=-1, offset=gate.start - block.start)
        return Constant(0.0)


def _gate(usage: Usage) -> Range | None:
    """The range of a bias that says how much of the state is kept."""
    hint = usage.leaf.hint
    if usage.role != "bias" or hint is None or not hint.recurrent:
        return None
    names = {b.name: b for b in usage.blocks}
    return names.get("f") if "i" in names else names.get("z")


def _traced(survey: Survey, usage: Usage) -> int:
    """How often a layer's recurrent matrix is applied: the steps of the traced sequence."""
    owner = usage.leaf.owner_name
    slot = usage.leaf.slot.replace("bias_ih", "weight_hh")
    slot = slot.replace("bias_hh", "weight_hh")
    for other in survey.usages.values():
        if other.leaf.owner_name == owner and other.leaf.slot == slot:
            return len(survey.graph.readers(other.leaf.value))
    return 0
