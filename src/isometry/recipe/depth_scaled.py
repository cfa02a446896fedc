"""The recipe `depth-scaled`: N(0, 0.02²), and less for what writes a residual stream.

    std = 0.02,      std / sqrt(N) for the N matrices that write one stream (2 L in a transformer)

N branches that add variance v each give the stream N v; divided by N its end is as large at any depth.
"""

from __future__ import annotations

import math

from isometry.errors import ArgumentError
from isometry.recipe.base import Choice, Recipe, Site, Survey, blockwise, significant
from isometry.recipe.common import padded, settle
from isometry.recipe.premises import refusal
from isometry.types import Fans, Law, Normal

__all__ = ["DepthScaled"]

SOURCE = "Radford et al. 2019 (GPT-2), sec. 2.3; Shoeybi et al. 2019 (Megatron-LM), sec. 4"


class DepthScaled:
    """GPT-2's initialisation, by what writes the stream and not by a parameter's name.

    Args:
        std: of every matrix and table, before the scaling.

    Example:
        >>> DepthScaled(std=0.01).std
        0.01
    """

    name = "depth-scaled"
    purpose = "pre-norm transformers, as GPT-2 and Megatron: std .02, residual writers / sqrt(2L)"
    source = SOURCE

    def __init__(self, std: float = 0.02) -> None:
        if not (isinstance(std, (int, float)) and math.isfinite(std) and std > 0):
            raise ArgumentError(f"DepthScaled(std={std!r}): expected a std, such as 0.02")
        self.std = float(std)

    def prepare(self, survey: Survey) -> Recipe:
        """Judge a model: a residual stream that is written more than once."""
        streams = [u.stream for u in survey.usages.values() if u.stream is not None]
        if not streams:
            raise refusal(
                self.name, "scales what writes a residual stream", "this model has no such stream",
                "'auto'",
            )  # fmt: skip
        if max(s.writes for s in streams) < 2:
            raise refusal(
                self.name, "is for streams that add up (pre-norm)",
                f"each of the {len({s.start for s in streams})} sums of this model is normalised before the next one "
                "(post-norm), so that nothing adds up", "'auto' or 'deepnorm'",
            )  # fmt: skip
        return self

    def decide(self, site: Site) -> Choice:
        settled = settle(site)
        if settled is not None:
            return settled
        usage = site.usage
        writes = 1 if usage.stream is None else usage.stream.writes
        law: Law = Normal(significant(self.std / math.sqrt(writes)))
        if usage.role == "embedding":
            reason = f"a table: std {self.std:g}"
            return Choice(law, "normal", reason, SOURCE, blocks=padded(usage, law))
        reason = f"std {self.std:g}"
        if writes > 1:
            reason += f"; one of {writes} that write its residual stream: / sqrt({writes})"

        def law_of(fans: Fans) -> Law:
            return law

        return Choice(law, "normal", reason, SOURCE, blocks=blockwise(usage, law_of))
