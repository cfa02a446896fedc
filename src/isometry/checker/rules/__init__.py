"""One file a rule, its docstring its page; one table from code to rule."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol, cast

from isometry.checker.reading import Reading
from isometry.checker.rules import (
    iso101_identical_units,
    iso102_identical_layers,
    iso103_zeros_in_series,
    iso104_constant_weights,
    iso201_vanishing_signal,
    iso202_exploding_signal,
    iso203_cut_signal,
    iso301_vanishing_gradient,
    iso302_exploding_gradient,
    iso401_dead_units,
    iso402_saturated_units,
    iso501_correlation_collapse,
    iso502_rank_collapse,
    iso601_scheme_mismatch,
    iso602_wrong_fan,
    iso603_outlying_weights,
    iso701_initial_loss,
    iso702_large_head,
    iso703_missing_prior,
    iso704_input_scale,
    iso801_uninitialised,
    iso802_run_dependent,
    iso803_write_without_effect,
    iso804_duplicated_streams,
    iso805_underflow,
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
        iso802_run_dependent,
        iso101_identical_units,
        iso103_zeros_in_series,
        iso104_constant_weights,
        iso102_identical_layers,
        iso804_duplicated_streams,
        iso803_write_without_effect,
        iso704_input_scale,
        iso602_wrong_fan,
        iso202_exploding_signal,
        iso201_vanishing_signal,
        iso203_cut_signal,
        iso501_correlation_collapse,
        iso502_rank_collapse,
        iso401_dead_units,
        iso402_saturated_units,
        iso601_scheme_mismatch,
        iso603_outlying_weights,
        iso301_vanishing_gradient,
        iso302_exploding_gradient,
        iso701_initial_loss,
        iso702_large_head,
        iso703_missing_prior,
        iso805_underflow,
        iso901_zero_by_design,
    )
}
