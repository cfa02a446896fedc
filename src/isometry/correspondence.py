"""Which parameter is which: a plan and a model, two models, and names given by hand."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from isometry.errors import ArgumentError, PlanError
from isometry.types import Decision, Plan
from isometry.types.names import canonical, dotted

__all__ = ["Transfer", "corresponding", "paired", "part_of", "renamed"]


def renamed(plan: Plan, names: Mapping[str, str]) -> Plan:
    """A plan that draws each parameter from the stream of another name.

    Args:
        plan: of a model.
        names: this model's name, or the path of a module, -> the name in the stream. The longest
            path that fits a parameter counts. Every parameter must be covered.

    Returns:
        The plan; the old names are aliases.

    Raises:
        PlanError: a parameter is not covered, a name covers nothing, or two parameters would share
            one stream.
    """
    if not isinstance(names, Mapping) or not all(
        isinstance(t, str) for pair in names.items() for t in pair
    ):
        raise ArgumentError(
            f"names is {names!r}; expected a dict from this model's names to those of the stream, "
            "such as {'dense': 'fc1', 'dense_1': 'fc2'}"
        )
    rules = {canonical(old): (old, new) for old, new in names.items()}
    used: set[str] = set()
    decisions, missing = [], []
    for decision in plan:
        found = None
        for name in (decision.name, *map(canonical, decision.aliases)):
            found = found or _rename(name, rules, used)
        if found is None and decision.kind == "parameter":
            missing.append(decision.name)
        aliases = tuple(dict.fromkeys((decision.name, *decision.aliases)))
        decisions.append(
            decision if found is None else replace(decision, name=found, aliases=aliases)
        )
    if missing:
        raise PlanError(
            f"names covers {len(plan) - len(missing)} of {len(plan)} tensors of {plan.model}; "
            f"missing: {', '.join(missing[:5])}{', ...' if len(missing) > 5 else ''}; name each "
            "parameter, or the module it lies in"
        )
    idle = [old for old, _ in rules.values() if old not in used]
    if idle:
        raise PlanError(
            f"names has {idle[0]!r}, which is no parameter or module of {plan.model}; print(plan) "
            "lists the names"
        )
    seen: dict[str, str] = {}
    for before, after in zip(plan, decisions, strict=True):
        if seen.setdefault(after.name, before.name) != before.name:
            raise PlanError(
                f"names gives {seen[after.name]!r} and {before.name!r} one name, {after.name!r}: they "
                "would have the same values"
            )
    new = {b.name: a.name for b, a in zip(plan, decisions, strict=True)}
    return replace(
        plan,
        decisions=tuple(decisions),
        predictions=tuple(replace(p, name=new.get(p.name, p.name)) for p in plan.predictions),
    )


def _rename(name: str, rules: Mapping[str, tuple[str, str]], used: set[str]) -> str | None:
    """The new name by the longest rule that fits."""
    parts = name.split(".")
    for end in range(len(parts), -1, -1):
        rule = rules.get(".".join(parts[:end]))
        if rule is not None:
            used.add(rule[0])
            return ".".join(p for p in (dotted(rule[1]), *parts[end:]) if p)
    return None


def part_of(
    plan: Plan, owned: Mapping[str, Iterable[str]], part: bool | Mapping[str, str], model: str
) -> Plan:
    """The decisions for a model that is a part of the planned one.

    Args:
        plan: of the whole model.
        owned: a tensor's name in the part -> all its names there.
        part: True where the part calls its tensors as the plan does; else the part's name of a
            parameter, or the path of a module, -> the plan's. {"": "layers.4"} is a prefix for all;
            the longest path that fits a parameter counts, and what none fits keeps its name.
        model: what to call the part in an error.

    Returns:
        The plan of the part: the plan's names, the part's own as aliases.

    Raises:
        PlanError: a tensor of the part is not in the plan, two are the same one there, or a path
            fits nothing.
    """
    if part is not True and not (
        isinstance(part, Mapping) and all(isinstance(t, str) for pair in part.items() for t in pair)
    ):
        raise ArgumentError(
            f"part is {part!r}; expected True, or a dict from the part's names to the plan's, such as "
            "{'layers.0': 'layers.4'}"
        )
    rules = {} if part is True else {canonical(old): (old, new) for old, new in part.items()}
    used: set[str] = set()
    by_name = {canonical(n): d for d in plan for n in (*d.aliases, d.name)}
    found: dict[str, Decision] = {}
    for name, names in owned.items():
        called = [_rename(canonical(n), rules, used) or n for n in (name, *names)]
        decision = next((by_name[c] for n in called if (c := canonical(n)) in by_name), None)
        if decision is None:
            raise PlanError(
                f"{model} has {name!r}"
                + (f", as {called[0]!r}," if called[0] != name else "")
                + f" which the plan of {plan.model} has not; say what the plan calls it, such as "
                "part={'layers.0': 'layers.4'}"
            )
        if decision.name in found:
            raise PlanError(
                f"{found[decision.name].aliases[0]!r} and {name!r} of {model} are both {decision.name!r} "
                f"of {plan.model}: they would have the same values; mend part="
            )
        own = tuple(dict.fromkeys((name, *names)))
        found[decision.name] = replace(decision, aliases=own)
    idle = [old for old, _ in rules.values() if old not in used]
    if idle:
        raise PlanError(
            f"part has {idle[0]!r}, which is no parameter or module of {model}; it has "
            f"{', '.join(list(owned)[:3])}, ..."
        )
    return replace(plan, decisions=tuple(found.values()), predictions=())


def paired(plan: Plan, owned: Mapping[str, Iterable[str]], model: str) -> dict[str, str]:
    """Which of a model's tensors each decision is for.

    Args:
        plan: for the model, or for one with the same names.
        owned: a tensor's name -> all its names.
        model: what to call the model in an error.

    Returns:
        The decision's name -> the tensor's name.

    Raises:
        PlanError: a decision has no tensor, or a tensor no decision.
    """
    by_name = {n: name for name, names in owned.items() for n in (*names, name)}
    by_canon = {canonical(n): name for n, name in by_name.items()}
    found: dict[str, str] = {}
    taken: set[str] = set()
    lost = []
    for decision in plan:
        # A renamed decision has the model's own name among its aliases.
        names = (*decision.aliases, decision.name)
        at = next((by_name[n] for n in names if n in by_name), None)
        at = at or next((by_canon[c] for n in names if (c := canonical(n)) in by_canon), None)
        if at is None or at in taken:
            lost.append(decision.name)
        else:
            found[decision.name] = at
            taken.add(at)
    new = [name for name in owned if name not in taken]
    if lost or new:
        what = (
            f"the plan has {lost[0]!r}, the model has not"
            if lost
            else f"{new[0]!r} is not in the plan"
        )
        raise PlanError(
            f"this plan of {plan.model} does not fit {model}: {what} "
            f"({len(lost) + len(new)} names differ); make a plan of this model with iso.plan"
        )
    return found


@dataclass(frozen=True, slots=True)
class Transfer:
    """Which parameters of two models are the same parameter, and which have no counterpart.

    Attributes:
        pairs: (name in the source, name in the target), in the source's order.
        different: pairs of one name whose sizes differ, with both shapes in PyTorch's layout.
        only_in_source, only_in_target: names without a counterpart.
    """

    source: str
    target: str
    pairs: tuple[tuple[str, str], ...]
    different: tuple[tuple[str, tuple[int, ...], tuple[int, ...]], ...]
    only_in_source: tuple[str, ...]
    only_in_target: tuple[str, ...]

    @property
    def complete(self) -> bool:
        """True where every parameter of both has its counterpart, of the same size."""
        return not (self.different or self.only_in_source or self.only_in_target)

    def __str__(self) -> str:
        verdict = "every parameter corresponds" if self.complete else "not complete"
        lines = [f"{self.source} -> {self.target}: {len(self.pairs)} pairs, {verdict}"]
        width = max((len(a) for a, _ in self.pairs), default=0)
        lines += [f"  {a.ljust(width)}  {b}" for a, b in self.pairs]
        lines += [
            f"  {n}: {a} in {self.source}, {b} in {self.target}" for n, a, b in self.different
        ]
        lines += [f"  {n}: only in {self.source}" for n in self.only_in_source]
        lines += [f"  {n}: only in {self.target}" for n in self.only_in_target]
        return "\n".join(lines)


def corresponding(source: Plan, target: Plan) -> Transfer:
    """Compare two plans, name by name. Buffers are left out."""
    mine, theirs = ({d.name: d for d in plan if d.kind == "parameter"} for plan in (source, target))
    pairs, different, lonely = [], [], []
    for name, decision in mine.items():
        other = theirs.get(name)
        if other is None:
            lonely.append(name)
        elif not _same(decision, other):
            different.append((name, decision.shape, other.shape))
        else:
            pairs.append((_own(decision), _own(other)))
    return Transfer(
        source.model, target.model, tuple(pairs), tuple(different), tuple(lonely),
        tuple(n for n in theirs if n not in mine),
    )  # fmt: skip


def _same(a: Decision, b: Decision) -> bool:
    """Do two tensors have the same elements in the same order? Axes of size 1 do not count, and one
    may be split where the other is whole."""
    small, large = sorted(([n for n in d.shape if n > 1] for d in (a, b)), key=len)
    for size in small:
        while large and size > 1 and size % large[0] == 0:
            size //= large.pop(0)
        if size != 1:
            return False
    return math.prod(large) == 1


def _own(decision: Decision) -> str:
    """What the model itself calls it."""
    return decision.aliases[0] if decision.aliases else decision.name
