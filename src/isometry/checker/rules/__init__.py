"""One file a rule, its docstring its page; one table from code to rule."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol, cast

from isometry.checker.reading import Reading
from isometry.checker.rules import (
    iso101_identical_units,
    iso102_identical_layers,
    iso103_zeros_in_series,
    iso201_vanishing_signal,
    iso202_exploding_signal,
    iso301_vanishing_gradient,
    iso302_exploding_gradient,
    iso401_dead_units,
    iso402_saturated_units,
    iso501_correlation_collapse,
    iso701_initial_loss,
    iso801_uninitialised,
    iso901_zero_by_design,
)
from isometry.types import Finding

__all__ = ["RULES", "Rule"]


class Rule(Protocol):
    """What a rule's file holds.

    EXPLAINS are the codes, or their beginnings, of findings that follow from this rule's;
    DOWNSTREAM says that they follow anywhere after it, and not only in the same layers.
    """

    CODE: str
    NAME: str
    EXPLAINS: tuple[str, ...]
    DOWNSTREAM: bool
    __doc__: str | None

    def check(self, reading: Reading, /) -> Iterable[Finding]: ...


# In the order in which causes are looked for: what explains others comes before them.
RULES: dict[str, Rule] = {
    rule.CODE: cast("Rule", rule)
    for rule in (
        iso801_uninitialised,
        iso101_identical_units,
        iso103_zeros_in_series,
        iso102_identical_layers,
        iso202_exploding_signal,
        iso201_vanishing_signal,
        iso501_correlation_collapse,
        iso401_dead_units,
        iso402_saturated_units,
        iso301_vanishing_gradient,
        iso302_exploding_gradient,
        iso701_initial_loss,
        iso901_zero_by_design,
    )
}
