"""The recipe `auto`: keep the second moment of what each weight reads.

    Var W = t / (r fan_in E[x²])

where r is the share of a kernel that zero padding leaves (1 but near borders of small images), x is what the weight reads (an activation's output has a known second moment: He's 2 is
1/E[relu(z)²]) and t the second moment its output should have: 1, or 1/N of the stream's for one of
the N matrices that write a residual stream, or little for the logits of a classifier.
"""

from __future__ import annotations

import math

from isometry.recipe.base import Choice, Site, blockwise, significant
from isometry.recipe.common import looked_up, padded, settle
from isometry.schemes import orthogonal, variance_scaling
from isometry.types import Fans, Law, Normal

__all__ = ["Auto"]

LOGITS = 0.01  # second moment of a classifier's logits: the initial loss is ln C + 0.005
TIED_LOGITS = 0.1  # of a table that is also looked up: small, and yet above a norm's epsilon
LECUN = "LeCun et al. 1998, sec. 4.6"
BY_READING = "He et al. 2015, eq. 10, with E[x²] in place of 1/2"


class Auto:
    """Keep the second moment forward, by what each weight reads and writes."""

    name = "auto"
    purpose = "any model: each weight by what it reads, writes and is for; the default"
    source = "LeCun 1998; He et al. 2015; De & Smith 2020"

    def decide(self, site: Site) -> Choice:
        settled = settle(site)
        if settled is not None:
            return settled
        match site.usage.role:
            case "embedding":
                return self._table(site)
            case "recurrent":
                return self._recurrent(site)
        return self._matrix(site)

    def _matrix(self, site: Site) -> Choice:
        usage, fans = site.usage, site.usage.fans
        assert fans is not None
        gain, why, source = self._gain(site)
        factor = abs(usage.factor or 1.0)
        if factor != 1.0:
            why += f"; multiplied by {factor:.4g} where it is used"
            gain = significant(gain / factor)
        scheme = "variance_scaling"
        if gain == 1.0:
            scheme = "lecun_normal"
        elif abs(gain * gain - 2.0) < 1e-4:
            gain, scheme, source = math.sqrt(2.0), "he_normal", "He et al. 2015, eq. 10"

        def law_of(fans: Fans) -> Law:
            return variance_scaling(fans, gain=gain)

        fused = f"; {len(usage.blocks)} matrices in one" if usage.blocks else ""
        blocks = blockwise(usage, law_of)
        return Choice(law_of(fans), scheme, site.reading + why + fused, source, gain, blocks)

    def _gain(self, site: Site) -> tuple[float, str, str]:
        """sqrt(t / (r E[x²])), with the words for t and their source."""
        usage = site.usage
        if usage.normalised and usage.stream is None and not is_classifier_head(site):
            # Free but for the step it takes: a smaller weight turns faster under the same rate.
            return 1.0, "; its output is normalised next, so that its scale is free", LECUN
        target, why, source = 1.0, "", LECUN if site.second_moment == 1.0 else BY_READING
        if is_classifier_head(site):
            target = LOGITS
            why = f"; makes the logits: small (variance {LOGITS}), so that the first loss is ln C"
        elif usage.stream is not None:
            start = 1.0 if site.start is None else max(site.start.q, 1e-12)
            writes = usage.stream.writes
            target = start / writes
            if writes > 1:
                why = f"; one of {writes} that write its residual stream: x {writes}^-1/2"
                source = "De & Smith 2020; Radford et al. 2019"
        if site.reach < 0.995:
            why += f"; zero padding leaves {site.reach:.0%} of its fan_in"
        return significant(math.sqrt(target / site.second_moment / site.reach)), why, source

    def _table(self, site: Site) -> Choice:
        usage = site.usage
        tied = [u for u in usage.others if u.heads]
        if tied and site.graph.loss == "classification":
            fan_in = tied[0].fans.fan_in if tied[0].fans else usage.leaf.shape[-1]
            read = site.readout or 1.0  # nothing is read where the model starts silent
            law: Law = Normal(significant(math.sqrt(TIED_LOGITS / (fan_in * read))))
            reason = f"looked up, and tied to the output: logits of variance {TIED_LOGITS}"
            return Choice(law, "normal", reason, "Press & Wolf 2017", blocks=padded(usage, law))
        return looked_up(usage)

    def _recurrent(self, site: Site) -> Choice:
        usage = site.usage
        assert usage.axes is not None

        def law_of(fans: Fans) -> Law:
            return orthogonal(gain=1.0)

        gates = f", gate by gate ({' '.join(b.name for b in usage.blocks)})" if usage.blocks else ""
        return Choice(
            law_of(Fans(1.0, 1.0)), "orthogonal", f"recurrent: keeps the length of the state{gates}",
            "Saxe et al. 2014; Le et al. 2015", 1.0, blockwise(usage, law_of),
        )  # fmt: skip


def is_classifier_head(site: Site) -> bool:
    """Does this weight make the logits of a softmax cross-entropy?"""
    if site.graph.loss != "classification" or not site.usage.heads:
        return False
    outputs = list(site.graph.outputs)
    logits = [n for n in outputs if "logits" in n] or outputs[:1]
    return any(h in logits for h in site.usage.heads)
