"""Orthogonal matrices with the gain of what they read: what people write by hand today."""

from __future__ import annotations

import math

from isometry.recipe import Choice, Site
from isometry.recipe.base import significant
from isometry.recipe.common import looked_up, settle
from isometry.types import Orthogonal

__all__ = ["PlainOrthogonal"]


class PlainOrthogonal:
    """`torch.nn.init.orthogonal_` with the right gain for every layer, and nothing else.

    A kernel is taken as one matrix, out by in x positions, as PyTorch and Keras take it.
    """

    name = "orthogonal"
    purpose = "every matrix orthogonal, with the gain of the activation it reads"
    source = "Saxe et al. 2014"

    def decide(self, site: Site) -> Choice:
        """Orthogonal(1 / sqrt(E[x²])) for each matrix."""
        settled = settle(site)
        if settled is not None:
            return settled
        if site.usage.role == "embedding":
            return looked_up(site.usage)
        gain = significant(1.0 / math.sqrt(site.second_moment))
        rows, *columns = site.usage.leaf.shape
        law = Orthogonal(gain, max(rows, math.prod(columns)))
        return Choice(law, "orthogonal", site.reading, self.source, gain)
