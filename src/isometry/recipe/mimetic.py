"""The recipe `mimetic`: self-attention that starts as trained vision transformers end.

    W_Q W_Kᵀ = .7 Z + .7 I  in each head (to rank k),      W_V W_O = .4 Z' - .4 I,      Z ~ N(0, 1/d)

A token attends to tokens like itself, and what it reads is taken from it. Both products are split
evenly by their singular vectors, so that a pair of matrices shares its random numbers: the law of each
names the stream of both. Everything else is as in `auto`.
"""

from __future__ import annotations

import math
from dataclasses import replace
from functools import lru_cache

import numpy as np

from isometry.errors import ArgumentError
from isometry.recipe.attention import Attention, Projection, read_attention
from isometry.recipe.auto import Auto
from isometry.recipe.base import Choice, Recipe, Site, Survey, significant
from isometry.recipe.premises import refusal
from isometry.roles import Usage
from isometry.stream import sample
from isometry.types import Block, Factor, Keep, Law, Normal

__all__ = ["Mimetic"]

SOURCE = "Trockman & Kolter 2023, sec. 3"
LARGEST = 256  # singular values of a larger matrix have the same mean


class Mimetic:
    """Mimetic initialisation of self-attention.

    Args:
        scores: (alpha, beta) of W_Q W_Kᵀ = alpha Z + beta I; the paper's for vision.
        values: (alpha, beta) of W_V W_O = alpha Z + beta I; beta is negative for vision.

    Raises:
        ArgumentError: not two numbers each.

    Example:
        >>> Mimetic(values=(0.2, -0.6)).values
        (0.2, -0.6)
    """

    name = "mimetic"
    purpose = "vision transformers on small data: attention starts as trained ones end"
    source = SOURCE

    def __init__(
        self,
        scores: tuple[float, float] = (0.7, 0.7),
        values: tuple[float, float] = (0.4, -0.4),
    ) -> None:
        for name, pair in (("scores", scores), ("values", values)):
            if len(pair) != 2 or not all(math.isfinite(x) for x in pair) or pair[0] <= 0:
                raise ArgumentError(
                    f"Mimetic({name}={pair!r}): expected (alpha, beta), alpha above 0, such as "
                    "(0.7, 0.7)"
                )
        self.scores, self.values = scores, values
        self.laws: dict[str, list[tuple[int, int, Law, str]]] = {}

    def prepare(self, survey: Survey) -> Recipe:
        """Judge a model: self-attention whose projections are square."""
        prepared = Mimetic(self.scores, self.values)
        found = read_attention(survey.graph, survey.weights)
        for attention in found:
            if _suits(survey, attention):
                prepared._pair(survey, attention)
        if not prepared.laws:
            why = "none of the attention in this model is of that kind" if found else "it has none"
            raise refusal(
                self.name, "is for self-attention with square projections (d to d, as many keys as "
                "queries)", why, "'auto'",
            )  # fmt: skip
        return prepared

    def _pair(self, survey: Survey, attention: Attention) -> None:
        q, k, v, out = attention.q, attention.k, attention.v, attention.out
        assert out is not None
        whole = Projection(out, 0, survey.usages[out].leaf.shape[0])
        d = q.stop - q.start
        pairs = (
            (q, k, self.scores, attention.heads, "queries and keys", "out"),
            (v, whole, self.values, 1, "values and output", "in"),
        )
        for first, second, (alpha, beta), heads, what, inner in pairs:
            shared = " x ".join(f"{p.name}[{p.start}:{p.stop}]" for p in (first, second))
            left = Factor(
                "left", shared, alpha, beta, heads, "out", _singular(alpha, beta, d, d // heads), d
            )
            why = f"{what}: a product of {alpha:g} Z {'+' if beta >= 0 else '-'} {abs(beta):g} I"
            for part, law in ((first, left), (second, replace(left, side="right", inner=inner))):
                places = self.laws.setdefault(part.name, [])
                if all((a, b) != (part.start, part.stop) for a, b, _, _ in places):
                    places.append((part.start, part.stop, law, why))

    def decide(self, site: Site) -> Choice:
        choice = Auto().decide(site)
        usage = site.usage
        places = self.laws.get(usage.leaf.name)
        if places is None or isinstance(choice.law, Keep):
            return choice
        why = "; ".join(dict.fromkeys(p[3] for p in places))
        if len(places) == 1 and places[0][1] - places[0][0] == usage.leaf.shape[_out(usage)]:
            return Choice(places[0][2], "factor", why, SOURCE)
        fans = {(b.start, b.stop): b.fans for b in choice.blocks}
        names = {(b.start, b.stop): b.name for b in choice.blocks}
        blocks = tuple(
            Block(names.get((a, b), f"{a}:{b}"), _out(usage), a, b, law, fans.get((a, b)))
            for a, b, law, _ in sorted(places, key=lambda p: p[0])
        )
        return Choice(choice.law, "factor", why, SOURCE, blocks=blocks)


def _suits(survey: Survey, attention: Attention) -> bool:
    """Do queries, keys and values read one signal, and are all four matrices d by d?"""
    usages = [survey.usages.get(p.name) for p in (attention.q, attention.k, attention.v)]
    out = survey.usages.get(attention.out or "")
    if out is None or any(u is None or u.role != "linear" or u.node is None for u in usages):
        return False
    known = [u for u in usages if u is not None]
    d = attention.q.stop - attention.q.start
    widths = {p.stop - p.start for p in (attention.q, attention.k, attention.v)}
    widths |= {u.leaf.shape[1 - _out(u)] for u in (*known, out)} | {out.leaf.shape[_out(out)]}
    one_input = len({u.reads for u in known}) == 1
    return widths == {d} and one_input and d % attention.heads == 0


def _out(usage: Usage) -> int:
    return usage.axes.out_axis[0] if usage.axes is not None and usage.axes.out_axis else 0


@lru_cache(maxsize=64)
def _singular(alpha: float, beta: float, d: int, k: int) -> float:
    """The mean of the largest k of the d singular values of alpha Z + beta I, from one draw of it."""
    n = min(d, LARGEST)
    z = sample(Normal(1.0), (n, n), seed=0, name="mimetic: mean singular value").astype(np.float64)
    values = np.linalg.svd(alpha / math.sqrt(n) * z + beta * np.eye(n), compute_uv=False)
    return significant(float(values[: max(1, round(n * k / d))].mean()), 3)
