"""The recipe `edge-of-chaos`: weights at which two inputs neither merge nor part, chi = 1.

    q* = C_W E[phi(sqrt(q*) z)²] + C_b,    C_W E[phi'(sqrt(q*) z)²] = 1,    Var b = C_b given

The depth to which a correlation, and a gradient, can be followed is -1/ln chi: infinite at the edge.
Biases of variance C_b keep the second moment at an attractor q* that is not 0.
"""

from __future__ import annotations

import math
from functools import lru_cache

from isometry.errors import ArgumentError, PlanError
from isometry.recipe.base import Recipe, Site, Survey
from isometry.recipe.branches import normalisations
from isometry.recipe.critical import Critical
from isometry.recipe.premises import listed, refusal
from isometry.theory.maps import CriticalPoint, edge_of_chaos

__all__ = ["EdgeOfChaos"]


class EdgeOfChaos(Critical):
    """chi = 1 for biases of a given variance (Schoenholz et al. 2017, sec. 3).

    Args:
        c_b: Var b; the paper's own networks have 0.05.

    Raises:
        ArgumentError: c_b is not a variance.

    Example:
        >>> EdgeOfChaos(c_b=0.05).name
        'edge-of-chaos'
    """

    name = "edge-of-chaos"
    purpose = "deep plain nets of tanh, erf, sin, SELU: signals reach any depth (chi = 1)"
    source = "Poole et al. 2016; Schoenholz et al. 2017, sec. 3"
    place = "edge of chaos"

    def __init__(self, c_b: float = 0.05) -> None:
        if not (isinstance(c_b, (int, float)) and math.isfinite(c_b) and c_b >= 0.0):
            raise ArgumentError(
                f"EdgeOfChaos(c_b={c_b!r}): expected the variance of biases, such as 0.05"
            )
        self.c_b = float(c_b)

    def prepare(self, survey: Survey) -> Recipe:
        """Judge a model: a plain chain, without shortcuts and normalisations."""
        normed = normalisations(survey)
        if normed:
            raise refusal(
                self.name, "is for plain chains without normalisation, whose second moment the "
                "weights alone decide", f"this model normalises in {listed(normed)}", "'auto'",
            )  # fmt: skip
        if survey.streams.streams:
            count = sum(s.writes for s in survey.streams.streams)
            raise refusal(
                self.name, "is for plain chains, where each layer reads the one before",
                f"this model adds to residual streams ({count} writes)", "'fixup' or 'auto'",
            )  # fmt: skip
        return self

    def _point(self, activation: str, site: Site) -> tuple[float, float, float]:
        if activation == "linear":  # an output, or what a pooling reads: no fixed point to keep
            return 1.0, 1.0, 0.0
        try:
            return _edge(activation, self.c_b)
        except ArgumentError as error:
            raise PlanError(
                f"recipe {self.name!r} needs an activation with an edge of chaos at Var b = "
                f"{self.c_b:g}; {site.usage.leaf.name} meets {activation}: {error}. Use "
                "recipe='critical', which finds Var b too, or EdgeOfChaos(c_b=0.0)"
            ) from None


@lru_cache(maxsize=64)
def _edge(activation: str, c_b: float) -> CriticalPoint:
    return edge_of_chaos(activation, c_b)
