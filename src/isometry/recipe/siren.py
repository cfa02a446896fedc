"""The recipe `siren`: networks of sines for signals over space and time.

    first layer  W ~ U(+-1/n),      hidden layers  W ~ U(+-sqrt(6/n)/omega),      sin(omega (W x + b))

With an arcsine-distributed input (variance 1/2) a pre-activation omega W x is N(0, 1); taken as the
Gaussian that it then is, E[sin²] = (1 - exp(-2q))/2 settles at q = .797, and the squared gradient
grows 1.203 a layer.
"""

from __future__ import annotations

import math

from isometry.graph import Graph
from isometry.pointwise import Expression, Z
from isometry.recipe.base import Choice, Recipe, Site, Survey, blockwise, significant
from isometry.recipe.branches import normalisations
from isometry.recipe.common import settle
from isometry.recipe.premises import listed, refusal
from isometry.roles import MATRICES
from isometry.streams import SCALARS
from isometry.types import Fans, Law, Uniform

__all__ = ["Siren"]

SOURCE = "Sitzmann et al. 2020, sec. 3.2"
# Scaling and clamping coordinates before the first layer, or what comes out, is no activation.
NO_ACTIVATION = frozenset((*SCALARS, "sin", "pow", "clamp"))


class Siren:
    """Sines throughout; omega is read off sin(omega x), layer by layer."""

    name = "siren"
    purpose = "sine networks over coordinates (SIREN): omega is read off the graph"
    source = SOURCE

    def __init__(self, omegas: dict[int, float] | None = None) -> None:
        self.omegas = (
            omegas or {}
        )  # the value that a matrix gives -> omega of the sine that reads it

    def prepare(self, survey: Survey) -> Recipe:
        """Judge a model: no activation but the sine."""
        functions = [n.attrs["fn"] for n in survey.graph if n.op == "pointwise"]
        others = sorted({f for f in functions if f not in NO_ACTIVATION})
        others += sorted({n.op for n in survey.graph if n.op in ("softmax", "glu", "maximum")})
        if "sin" not in functions or others:
            found = f"this model has {listed(others)}" if others else "this model has no sine"
            raise refusal(
                self.name, "is for networks whose only activation is the sine", found,
                "'auto', or sin(omega x) throughout",
            )  # fmt: skip
        normed = normalisations(survey)
        if normed:
            raise refusal(
                self.name, "sets the scale that each sine reads",
                f"this model normalises it in {listed(normed)}", "'auto'",
            )  # fmt: skip
        return Siren(_omegas(survey.graph))

    def decide(self, site: Site) -> Choice:
        settled = settle(site)
        if settled is not None:
            return settled
        usage = site.usage
        if usage.role not in MATRICES or usage.fans is None:
            raise refusal(
                self.name, "is for matrices that read coordinates or sines",
                f"{usage.leaf.name} is {usage.role}", "'auto'",
            )  # fmt: skip
        first = site.reads is not None and site.reads.origin in site.graph.inputs
        fed = self.omegas.get(usage.output if usage.output is not None else -1)
        read = None if site.reads is None else _omega_of(site.reads.expression)
        omega = fed if fed is not None else (read or 1.0)

        def law_of(fans: Fans) -> Law:
            if first and fed is not None:
                return Uniform(significant(1.0 / fans.fan_in))
            return Uniform(significant(math.sqrt(6.0 / fans.fan_in) / omega))

        if first and fed is not None:
            why = f"reads coordinates: U(+-1/n), n = {usage.fans.fan_in:g}, under omega = {omega:g}"
        else:
            why = f"reads sines: U(+-sqrt(6/n)/omega), omega = {omega:g}"
        blocks = blockwise(usage, law_of)
        return Choice(law_of(usage.fans), "uniform", why, SOURCE, None, blocks)


def _omegas(graph: Graph) -> dict[int, float]:
    """For each value that becomes omega x under a sine, omega."""
    found: dict[int, float] = {}
    for node in graph:
        if node.op != "pointwise" or node.attrs["fn"] != "sin":
            continue
        omega, value = 1.0, node.inputs[0]
        while (made := graph.producer(value)) is not None:
            args = made.attrs.get("args", ())
            if made.op == "pointwise" and made.attrs["fn"] in ("mul", "rmul"):
                omega *= args[0]
            elif made.op == "pointwise" and made.attrs["fn"] == "div" and args[0]:
                omega /= args[0]
            elif made.op != "view":
                break
            value = made.inputs[0]
        found[value] = abs(omega)
    return found


def _omega_of(expression: Expression) -> float | None:
    """omega of an expression sin(omega z), whatever it is scaled by afterwards."""
    while isinstance(expression, tuple):
        if expression[0] != "sin":
            expression = expression[1]
            continue
        inner, omega = expression[1], 1.0
        while isinstance(inner, tuple) and inner[0] in ("mul", "rmul", "div"):
            omega = omega / inner[2] if inner[0] == "div" else omega * inner[2]
            inner = inner[1]
        return abs(float(omega)) if inner == Z and omega else None
    return None
