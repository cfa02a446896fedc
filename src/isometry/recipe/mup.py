"""The recipe `mup`: the maximal update parametrisation, relative to a model of base width.

    hidden   Var W ~ 1/fan_in            Adam: lr / r        SGD: lr
    output   Var W ~ 1/fan_in²           Adam: lr / r        SGD: lr / r
    input, biases, gains: as at base     Adam: lr            SGD: lr x r_out

with r = fan_in over the base's, r_out = fan_out over the base's. A hidden matrix has both fans grow
with width, an input matrix only fan_out, an output matrix only fan_in. Then every activation moves by
O(1) in width at each step, and a learning rate found at base width serves at any other.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace

from isometry.errors import ArgumentError, PlanError
from isometry.graph import Graph
from isometry.recipe.auto import Auto
from isometry.recipe.base import Choice, Recipe, Site, Survey, significant
from isometry.types import Axes, Block, Keep, Law, Normal, Plan, Uniform

__all__ = ["MuP"]

Shapes = Mapping[str, tuple[int, ...]]
SOURCE = "Yang et al. 2022 (Tensor Programs V), table 3"
OPTIMISERS = ("adam", "sgd")


@dataclass(frozen=True, slots=True)
class _Width:
    """How a parameter grew from the base: its fans, as ratios; 1 where they are the base's."""

    fan_in: float
    fan_out: float

    @property
    def kind(self) -> str:
        if self.fan_in != 1.0 and self.fan_out != 1.0:
            return "hidden"
        return "output" if self.fan_in != 1.0 else "input"

    def rate(self, optimiser: str) -> float:
        """The learning rate's factor."""
        if optimiser == "adam":
            return 1.0 / self.fan_in
        return {"hidden": 1.0, "output": 1.0 / self.fan_in}.get(self.kind, self.fan_out)


class MuP:
    """muP, against the widths of a base model.

    Args:
        base: the model at base width: its plan, or its shapes by name
            ({n: tuple(p.shape) for n, p in small.named_parameters()}), or its graph.

    Raises:
        ArgumentError: base is none of these.

    Example:
        >>> MuP(base={"0.weight": (64, 8), "2.weight": (10, 64)}).name
        'mup'
    """

    name = "mup"
    purpose = (
        "a learning rate found on a narrow model serves a wide one: MuP(base=plan of the narrow)"
    )
    source = SOURCE

    def __init__(self, base: Plan | Graph | Shapes | None = None) -> None:
        self.base = None if base is None else _shapes(base)
        self._inner = Auto()
        self._notes: tuple[str, ...] = ()

    def prepare(self, survey: Survey) -> Recipe:
        """Judge a model: the same parameters as the base's, and no table that is also the head."""
        if self.base is None:
            raise PlanError(
                "recipe 'mup' says how weights follow width from a base model; none was given. Use "
                "recipe=MuP(base=iso.plan(narrow_model, inputs)), from isometry.recipe import MuP"
            )
        ours = {n: u.leaf.shape for n, u in survey.usages.items() if u.leaf.kind == "parameter"}
        missing = [n for n in ours if n not in self.base]
        deeper = [n for n, s in ours.items() if n in self.base and len(s) != len(self.base[n])]
        if missing or deeper:
            at = (missing or deeper)[0]
            raise PlanError(
                f"recipe 'mup' compares a model with its base, and {at} of {survey.graph.model} is "
                f"{'not in the base' if missing else f'of shape {self.base[at]} there'}; they may "
                "differ in width alone. Give MuP the same architecture, narrower"
            )
        tied = [n for n, u in survey.usages.items()
                if u.role == "embedding" and any(o.heads for o in u.others)]  # fmt: skip
        if tied:
            raise PlanError(
                f"recipe 'mup' needs an output matrix that is smaller than the input table, and "
                f"{tied[0]} is both. Use recipe='auto', or untie the head"
            )
        prepared = MuP(self.base)
        if any(n.op in ("softmax", "attention") for n in survey.graph) and any(
            s != self.base[n] for n, s in ours.items()
        ):
            prepared._notes = (
                "mup: where heads grow with width, scores are q k'/d and not q k'/sqrt(d)",
            )
        return prepared

    def notes(self) -> tuple[str, ...]:
        """What the weights alone cannot settle."""
        return self._notes

    def decide(self, site: Site) -> Choice:
        choice = self._inner.decide(site)
        usage = site.usage
        if isinstance(choice.law, Keep) or usage.leaf.kind != "parameter":
            return choice
        width = self._width(usage.leaf.name, usage.leaf.shape, usage.axes)
        rates = ", ".join(f"{o} x {width.rate(o):.4g}" for o in OPTIMISERS)
        if usage.fans is None or usage.role == "embedding":
            return replace(choice, reason=f"{choice.reason}; learning rate {rates}")
        why = f"{width.kind}, fan_in x {width.fan_in:g} of base; learning rate {rates}"
        if width.kind != "output":
            return replace(choice, reason=f"{choice.reason}; {why}", source=SOURCE)
        factor = width.fan_in**-0.5  # auto's std falls as fan_in^(-1/2), muP's as 1/fan_in
        return replace(
            choice, law=_scaled(choice.law, factor), blocks=_blocks(choice.blocks, factor),
            scheme="variance_scaling", reason=f"{choice.reason}; {why}", source=SOURCE,
            gain=None if choice.gain is None else significant(choice.gain * factor),
        )  # fmt: skip

    def learning_rates(self, plan: Plan, optimiser: str = "adam") -> dict[str, float]:
        """The factor of each parameter's learning rate, relative to the base model's.

        Args:
            plan: a plan of the wide model.
            optimiser: "adam" (and its kin: AdamW, Adagrad, Lion) or "sgd".

        Returns:
            parameter -> factor; 1 everywhere at base width.

        Raises:
            ArgumentError: no base, another optimiser, or a plan of another model.

        Example:
            >>> import torch, isometry as iso
            >>> def net(n): return torch.nn.Sequential(torch.nn.Linear(4, n), torch.nn.Linear(n, n))
            >>> mup = MuP(base=iso.plan(net(8), torch.randn(2, 4)))
            >>> mup.learning_rates(iso.plan(net(32), torch.randn(2, 4), recipe=mup))["1.weight"]
            0.25

        Source: Yang et al. 2022, table 3.
        """
        if self.base is None:
            raise ArgumentError("MuP() has no base; write MuP(base=iso.plan(narrow_model, inputs))")
        if optimiser not in OPTIMISERS:
            raise ArgumentError(f"optimiser={optimiser!r}; expected {' or '.join(OPTIMISERS)}")
        rates = {}
        for decision in plan:
            if decision.kind != "parameter":
                continue
            if decision.name not in self.base:
                raise ArgumentError(f"{decision.name} of {plan.model} is not in the base model")
            axes = None if decision.role == "embedding" else decision.axes
            rates[decision.name] = self._width(decision.name, decision.shape, axes).rate(optimiser)
        return rates

    def _width(self, name: str, shape: tuple[int, ...], axes: Axes | None) -> _Width:
        assert self.base is not None
        ratios = [n / max(1, m) for n, m in zip(shape, self.base[name], strict=True)]
        if axes is None or not axes.in_axis:  # a bias, a gain, a table: its own size is its fan_out
            return _Width(1.0, max(ratios, default=1.0))
        into = math.prod(ratios[a] for a in axes.in_axis)
        return _Width(into, math.prod(ratios[a] for a in axes.out_axis))


def _scaled(law: Law, factor: float) -> Law:
    if isinstance(law, Normal):
        return Normal(significant(law.std * factor))
    if isinstance(law, Uniform):
        return Uniform(significant(law.bound * factor))
    return law


def _blocks(blocks: tuple[Block, ...], factor: float) -> tuple[Block, ...]:
    return tuple(replace(b, law=_scaled(b.law, factor)) for b in blocks)


def _shapes(base: object) -> dict[str, tuple[int, ...]]:
    if isinstance(base, Plan):
        return {name: d.shape for d in base for name in (d.name, *d.aliases)}
    if isinstance(base, Graph):
        return {leaf.name: leaf.shape for leaf in base.leaves}
    if isinstance(base, Mapping):
        return {str(name): tuple(int(n) for n in shape) for name, shape in base.items()}
    raise ArgumentError(
        f"MuP(base={type(base).__name__}): expected the base model's plan, or its shapes by name: "
        "{n: tuple(p.shape) for n, p in narrow.named_parameters()}"
    )
