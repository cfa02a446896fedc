"""The recipe `fixup`: residual networks without normalisation whose first update is O(1) in depth.

    last layer of each branch: 0      head: 0      other layers of a branch: He x L^(-1/(2m - 2))

for L branches of m layers. The m - 1 layers that are not zero multiply the update of the zero one,
and L branches add up: L (L^(-1/(2m-2)))^(2(m-1)) = 1.
"""

from __future__ import annotations

import math

from isometry.recipe.base import Choice, Recipe, Site, Survey, blockwise, significant
from isometry.recipe.branches import Branch, normalisations, read_branches
from isometry.recipe.common import looked_up, settle
from isometry.recipe.premises import listed, refusal
from isometry.schemes import he_normal, variance_scaling
from isometry.types import Constant, Fans, Law

__all__ = ["Fixup"]

SOURCE = "Zhang, Dauphin & Ma 2019, sec. 3"


class Fixup:
    """Fixed-update initialisation."""

    name = "fixup"
    purpose = (
        "residual nets without normalisation: branches start silent, updates are O(1) in depth"
    )
    source = SOURCE

    def __init__(self, branches: tuple[Branch, ...] = ()) -> None:
        self.branches = branches
        self._branch_of = {name: b for b in reversed(branches) for name in b.matrices}

    def prepare(self, survey: Survey) -> Recipe:
        """Judge a model: residual branches, and no normalisation."""
        normed = normalisations(survey)
        if normed:
            raise refusal(
                self.name, "takes the place of normalisation",
                f"this model normalises in {listed(normed)}", "'auto', or remove them",
            )  # fmt: skip
        branches = read_branches(survey)
        if not branches:
            raise refusal(
                self.name, "is for residual networks, x + f(x)",
                "no addition in this model has its skip among what the other side reads",
                "'auto', or 'isometric' for a plain chain",
            )  # fmt: skip
        return Fixup(branches)

    def decide(self, site: Site) -> Choice:
        settled = settle(site)
        if settled is not None:
            return settled
        usage = site.usage
        if usage.role == "embedding":
            return looked_up(usage)
        assert usage.fans is not None
        branch = self._branch_of.get(usage.leaf.name)
        count = len(self.branches)
        if branch is not None and usage.leaf.name in branch.last:
            why = f"last layer of one of {count} residual branches: the branch starts silent"
            return Choice(Constant(0.0), "zeros", why, SOURCE)
        if branch is None and usage.heads:
            return Choice(Constant(0.0), "zeros", "the head: no output to begin with", SOURCE)
        if branch is None or branch.layers < 2:
            why, factor = "outside the branches: He", 1.0
        else:
            power = -1.0 / (2 * branch.layers - 2)
            factor = significant(count**power)
            why = f"He x {count}^(-1/{2 * branch.layers - 2}): {count} branches of {branch.layers} layers"
        gain = significant(math.sqrt(2.0) * factor) if factor != 1.0 else math.sqrt(2.0)

        def law_of(fans: Fans) -> Law:
            return he_normal(fans) if factor == 1.0 else variance_scaling(fans, gain=gain)

        scheme = "he_normal" if factor == 1.0 else "variance_scaling"
        blocks = blockwise(usage, law_of)
        return Choice(law_of(usage.fans), scheme, why, SOURCE, gain, blocks)
