"""The classic recipes: one rule for every matrix, by its true fans, whatever it reads."""

from __future__ import annotations

from collections.abc import Callable

from isometry.recipe.base import Choice, Site, blockwise
from isometry.recipe.common import looked_up, settle
from isometry.schemes import glorot_uniform, he_normal, lecun_normal
from isometry.types import Fans, Law

__all__ = ["CLASSIC", "Classic"]


class Classic:
    """Every matrix by one scheme; what is no matrix as in every recipe."""

    def __init__(
        self,
        name: str,
        scheme: str,
        rule: Callable[[Fans], Law],
        gain: float,
        source: str,
        purpose: str,
    ) -> None:
        self.name, self.source, self.purpose = name, source, purpose
        self._scheme, self._rule, self._gain = scheme, rule, gain

    def decide(self, site: Site) -> Choice:
        settled = settle(site)
        if settled is not None:
            return settled
        usage = site.usage
        if usage.role == "embedding":
            return looked_up(usage)
        assert usage.fans is not None
        blocks = blockwise(usage, self._rule)
        law = (
            blocks[0].law
            if blocks and len({b.law for b in blocks}) == 1
            else self._rule(usage.fans)
        )
        fused = f", {len(blocks)} matrices in one" if blocks else ""
        fans = usage.fans
        reason = f"fan_in {fans.fan_in:g}, fan_out {fans.fan_out:g}{fused}"
        return Choice(law, self._scheme, reason, self.source, self._gain, blocks)


CLASSIC = (
    Classic("lecun", "lecun_normal", lambda f: lecun_normal(f), 1.0, "LeCun et al. 1998, sec. 4.6",
            "linear, tanh at small signal, SELU: Var W = 1/fan_in"),
    Classic("glorot", "glorot_uniform", lambda f: glorot_uniform(f), 1.0, "Glorot & Bengio 2010, eq. 16",
            "tanh and linear nets, forward and backward at once: Var W = 2/(fan_in + fan_out)"),
    Classic("he", "he_normal", lambda f: he_normal(f), 2.0**0.5, "He et al. 2015, eq. 10",
            "plain ReLU nets: Var W = 2/fan_in"),
)  # fmt: skip
