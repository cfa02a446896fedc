"""What is decided for a whole model: looked up, edited, compared, saved, applied."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from isometry.errors import ArgumentError, PlanError
from isometry.types._files import write_whole
from isometry.types._late import late
from isometry.types.decision import Decision
from isometry.types.law import Law
from isometry.types.names import canonical

__all__ = ["Plan", "Prediction", "as_patterns", "matches"]

PLAN_FORMAT = 1


def matches(name: str, patterns: tuple[str, ...]) -> bool:
    """Does a dotted name match one of the shell patterns? `blocks.*` and `*.weight` do what
    they look like; a pattern without a wildcard matches that name and everything below it."""
    return any(
        fnmatchcase(name, p) or (not any(c in p for c in "*?[") and name.startswith(p + "."))
        for p in patterns
    )


@dataclass(frozen=True, slots=True)
class Prediction:
    """What the theory expects where a weight has been applied (after its bias), over random draws.

    `q` is the mean square of the output, `c` the cosine between the outputs of two samples, `grad`
    the second moment of the gradient there over that at the output of the model. None where the
    theory cannot follow.
    """

    name: str  # the parameter
    q: float | None
    c: float | None = None
    grad: float | None = None

    def __str__(self) -> str:
        named = (("q", self.q), ("c", self.c), ("grad²", self.grad))
        return ", ".join(f"{name} {value:.3g}" for name, value in named if value is not None)


@dataclass(frozen=True, slots=True)
class Plan:
    """A decision for every parameter and buffer of one model.

    Immutable. `print(plan)` is a table, `plan["layer.weight"]` looks a decision up (by alias
    too), `override` returns an edited plan, `diff` compares two, `save` and `load` keep JSON in
    which every number is exact.
    """

    model: str
    recipe: str
    decisions: tuple[Decision, ...]
    notes: tuple[str, ...] = ()
    predictions: tuple[Prediction, ...] = ()  # of the weights, in execution order; none once edited

    def __iter__(self) -> Iterator[Decision]:
        return iter(self.decisions)

    def __len__(self) -> int:
        return len(self.decisions)

    def __getitem__(self, name: str) -> Decision:
        for decision in self.decisions:
            if decision.answers_to(name):
                return decision
        plain = canonical(name)
        for decision in self.decisions:
            if any(canonical(n) == plain for n in (decision.name, *decision.aliases)):
                return decision
        raise PlanError(
            f"this plan of {self.model} has no {name!r}; it has "
            f"{', '.join(d.name for d in self.decisions[:5])}, ... ({len(self)} in all)"
        )

    def __contains__(self, name: object) -> bool:
        return any(d.answers_to(str(name)) for d in self.decisions)

    def select(self, patterns: tuple[str, ...]) -> tuple[Decision, ...]:
        """The decisions that match any of the patterns. Raises PlanError where one matches none."""
        for pattern in patterns:
            if not any(matches(n, (pattern,)) for d in self for n in (d.name, *d.aliases)):
                raise PlanError(
                    f"the pattern {pattern!r} matches no parameter of {self.model}; print(plan) "
                    f"lists the names, such as {self.decisions[0].name if len(self) else '-'!r}"
                )
        return tuple(d for d in self if any(matches(n, patterns) for n in (d.name, *d.aliases)))

    def override(self, laws: Mapping[str, Law], reason: str = "set by hand") -> Plan:
        """A plan in which every parameter that matches a pattern has the law given for it.

        Args:
            laws: pattern -> law; the last pattern that matches wins.
            reason: what the decision will say.

        Raises:
            PlanError: a pattern matches nothing.
        """
        if not isinstance(laws, Mapping):
            raise ArgumentError(
                f"overrides is {type(laws).__name__}; expected a dict of pattern -> law, such as "
                "{'head.*': iso.Normal(std=0.02)}"
            )
        plan = self
        for pattern, law in laws.items():
            if not isinstance(law, Law):
                raise ArgumentError(
                    f"the override of {pattern!r} is {law!r}; expected a law such as "
                    "iso.Normal(std=0.02), iso.Constant(0.0) or iso.Keep()"
                )
            chosen = {d.name for d in plan.select(as_patterns(pattern) or ())}
            scheme = type(law).__name__.lower()
            plan = replace(
                plan,
                predictions=(),
                decisions=tuple(
                    replace(d, law=law, scheme=scheme, gain=None, blocks=(), reason=reason,
                            source="") if d.name in chosen else d
                    for d in plan
                ),
            )  # fmt: skip
        return plan

    def apply(
        self,
        model: Any,
        seed: int = 0,
        include: str | Sequence[str] | None = None,
        exclude: str | Sequence[str] | None = None,
        *,
        part: bool | Mapping[str, str] = False,
        verify: Any = None,
    ) -> Any:
        """Write the plan into the model; everything is validated first.

        Args:
            model: the model that was planned, or one with the same parameters; sharded or not. Of a
                DTensor each rank writes its own shard, and needs no other rank for it.
            seed: an integer in [0, 2^64).
            include: only the parameters that match one of these patterns.
            exclude: none of the parameters that match one of these patterns.
            part: the model is a part of the planned one (a pipeline stage, the experts of a rank).
                True where it calls its parameters as the plan does; else a dict from its own names
                of parameters or modules to the plan's, such as {"layers.0": "layers.4"}; {"": "layers.4"}
                puts a prefix before all. Parts that are named so are stages: a name in two is an error.
            verify: before anything is written, one small collective makes sure that all ranks have
                this plan, seed and patterns, that none has failed, and that every name of the plan
                is on some rank. None: among all ranks where the model is sharded, a part, or in
                DistributedDataParallel. True: in any case. False: never. Or a process group. (PyTorch.)

        Returns:
            The model: the same object, written in place, where the framework's models can be; a new
            one where they are values (an Equinox module, a tree of JAX arrays).

        Raises:
            PlanError: the model's parameters are not the plan's, or a pattern matches nothing.
            DisagreementError: the ranks do not agree; the same on all of them.
        """
        adapter = late("isometry.adapters.adapter_for")(model)
        try:
            chosen, left_out = as_patterns(include), as_patterns(exclude)
        except ArgumentError as error:
            adapter.withdraw(model, verify, error)
            raise
        return adapter.apply(
            self, model, seed=seed, include=chosen, exclude=left_out, part=part, verify=verify
        )

    def diff(self, other: Plan) -> tuple[str, ...]:
        """A line for each parameter whose law or blocks differ, or that only one plan has."""
        mine, theirs = ({d.name: d for d in p} for p in (self, other))
        lines = []
        for name in dict.fromkeys((*mine, *theirs)):
            a, b = mine.get(name), theirs.get(name)
            if a is None or b is None:
                lines.append(f"{name}: only in the {'second' if a is None else 'first'} plan")
            elif (a.law, a.blocks) != (b.law, b.blocks):
                lines.append(
                    f"{name}: {a.law} -> {b.law}" + (" (blocks)" * bool(a.blocks or b.blocks))
                )
        return tuple(lines)

    def to_json(self) -> str:
        """The plan as JSON; `Plan.from_json` reads it back, equal."""
        return json.dumps(
            {
                "format": PLAN_FORMAT,
                "model": self.model,
                "recipe": self.recipe,
                "notes": self.notes,
                "decisions": [d.to_dict() for d in self.decisions],
                "predictions": [[p.name, p.q, p.c, p.grad] for p in self.predictions],
            },
            indent=1,
        )

    @classmethod
    def from_json(cls, text: str) -> Plan:
        """The plan in a JSON text. Raises PlanError where it is not one."""
        try:
            data = json.loads(text)
            if data["format"] != PLAN_FORMAT:
                raise PlanError(f"plan format {data['format']!r}; this version reads {PLAN_FORMAT}")
            return cls(
                model=data["model"],
                recipe=data["recipe"],
                decisions=tuple(Decision.from_dict(d) for d in data["decisions"]),
                notes=tuple(data["notes"]),
                predictions=tuple(Prediction(*p) for p in data.get("predictions", ())),
            )
        except (ValueError, KeyError, TypeError) as error:
            raise PlanError(f"not a plan that isometry wrote: {error!r}") from None

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the plan as JSON, whole or not at all."""
        write_whole(path, self.to_json(), "the plan")

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Plan:
        """The plan that `save` wrote."""
        try:
            text = Path(path).read_text(encoding="utf-8")
        except OSError as error:
            raise ArgumentError(f"the plan cannot be read from {path}: {error}") from error
        return cls.from_json(text)

    @property
    def digest(self) -> str:
        """Sixteen hex digits that are equal where the laws are equal: what ranks compare."""
        essence = [[d.name, d.law.to_dict(), [[b.axis, b.start, b.stop, b.law.to_dict()] for b in d.blocks]] for d in sorted(self, key=lambda d: d.name)]  # fmt: skip
        return hashlib.blake2b(json.dumps(essence).encode(), digest_size=8).hexdigest()

    def __str__(self) -> str:
        head = f"{self.model}: recipe {self.recipe!r}, {len(self)} tensors"
        expected = {p.name: str(p) for p in self.predictions}
        rows = [
            (d.name, "x".join(map(str, d.shape)) or "scalar", d.scheme, str(d.law),
             *([expected.get(d.name, "")] if expected else []), d.reason)
            for d in self
        ]  # fmt: skip
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        lines = [
            "  ".join(c.ljust(w) for c, w in zip(r, widths, strict=True)).rstrip() for r in rows
        ]
        return "\n".join([head, *lines, *(f"note: {n}" for n in self.notes)])


def as_patterns(value: str | Iterable[str] | None) -> tuple[str, ...] | None:
    """One pattern or several as a tuple; None stays None. Raises ArgumentError on anything else."""
    if value is None:
        return None
    several = isinstance(value, Iterable) and not isinstance(value, str)
    found: tuple[object, ...] = tuple(value) if several else (value,)
    for pattern in found:
        if not isinstance(pattern, str):
            raise ArgumentError(
                f"the pattern {pattern!r} is {type(pattern).__name__}; expected text such as "
                "'head.weight' or 'blocks.*'"
            )
    return tuple(map(str, found))
