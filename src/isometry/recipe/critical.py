"""The recipe `critical`: weights and biases at which signal and gradient are both marginal.

    q* = C_W E[phi(sqrt(q*) z)²] + C_b,      C_W E[phi'(sqrt(q*) z)²] = 1,      d q'/d q (q*) = 1

With Var W = C_W/fan_in and Var b = C_b the second moment of pre-activations stays at q*, and the
gradient keeps its size, however deep. For GELU and its kin this needs random biases: without them
no variance of the weights has a fixed point that attracts. The point is marginal, so that what
zero padding takes from small images is not given back: the signal fades gently there.
"""

from __future__ import annotations

import math

from isometry.errors import PlanError
from isometry.recipe.base import Choice, Site, blockwise, significant
from isometry.recipe.common import looked_up, settle
from isometry.schemes import variance_scaling
from isometry.types import Fans, Law, Normal

__all__ = ["CRITICAL_POINTS", "Critical"]

SOURCE = "Poole et al. 2016; Schoenholz et al. 2017; Roberts, Yaida & Hanin 2022, ch. 5"

# activation -> (q*, C_W, C_b); where any q serves, the one that the first layer gives
CRITICAL_POINTS: dict[str, tuple[float, float, float]] = {
    "gelu": (3.5616, 1.98306, 0.17292),
    "gelu_tanh": (3.5568, 1.98289, 0.1729),
    "silu": (14.3202, 1.988, 0.55514),
    "mish": (1.6702, 2.01352, 0.09452),
    "hardswish": (4.8039, 1.97329, 0.50715),
    "relu": (1.0, 2.0, 0.0),
    "leaky_relu": (1.0, 2.0 / (1.0 + 0.01**2), 0.0),
    "linear": (1.0, 1.0, 0.0),
    "tanh": (0.1, 1.0, 0.0),
    "erf": (0.1, math.pi / 4.0, 0.0),
    "sin": (0.1, 1.0, 0.0),
}


class Critical:
    """Double criticality, for deep plain networks of smooth activations."""

    name = "critical"
    purpose = "deep plain nets of GELU, SiLU, Mish, hardswish: holds signal and gradient, by random biases"
    source = SOURCE
    place = "critical point"

    def decide(self, site: Site) -> Choice:
        usage = site.usage
        if usage.role == "bias" and usage.leaf.trainable and usage.partner is not None:
            return self._bias(site)
        settled = settle(site)
        if settled is not None:
            return settled
        if usage.role == "embedding":
            return looked_up(usage)
        return self._matrix(site)

    def _matrix(self, site: Site) -> Choice:
        usage = site.usage
        assert usage.fans is not None
        read, fed = site.activation, site.feeds()
        q_out, _, shift = self._point(fed or "linear", site)
        if read is None:
            gain = math.sqrt((q_out - shift) / (site.second_moment * site.reach))
            why = f"{site.reading}; brings it to {q_out:.5g}, that of its {self.place}"
        else:
            _, c_w, _ = self._point(read, site)
            gain = math.sqrt(c_w / site.reach)
            why = f"reads {read}: C_W {c_w:.5g} at its {self.place}"
        gain = significant(gain)

        def law_of(fans: Fans) -> Law:
            return variance_scaling(fans, gain=gain)

        return Choice(
            law_of(usage.fans), "variance_scaling", why, self.source, gain, blockwise(usage, law_of)
        )

    def _bias(self, site: Site) -> Choice:
        fed = site.feeds()
        _, _, shift = self._point(fed or "linear", site)
        if shift == 0.0:
            settled = settle(site)
            assert settled is not None
            return settled
        law = Normal(significant(math.sqrt(shift)))
        return Choice(law, "normal", f"feeds {fed}: C_b {shift:g} at its {self.place}", self.source)

    def _point(self, activation: str, site: Site) -> tuple[float, float, float]:
        if activation not in CRITICAL_POINTS:
            raise PlanError(
                f"recipe 'critical' has no critical point for {activation}, which "
                f"{site.usage.leaf.name} meets; it has one for {', '.join(CRITICAL_POINTS)}. Use "
                "recipe='auto'"
            )
        return CRITICAL_POINTS[activation]
