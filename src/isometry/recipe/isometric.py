"""The recipe `isometric`: weights that start the network as an isometry.

    first [W; -W], hidden [[W, -W], [-W, W]], last [W, -W],    Wᵀ W = g² I,    g² = q / E[f(sqrt(q) z)²]

f is the odd part of the activation, phi(a) - phi(-a): for ReLU, GELU, SiLU, softplus and hardswish
exactly a, so that signals and gradients of any depth pass with their lengths and angles kept. Odd
activations need no mirror and would keep it for ever: plain orthogonal weights; a sigmoid is odd but
for a constant: orthogonal weights that do not see the mean. Where f is curved, q is as large as the
depth bears. Residual branches start silent. Where no isometry exists the best critical point serves.
"""

from __future__ import annotations

import math

from isometry.pointwise import Expression, Z, describe, moments_of, name_of
from isometry.recipe.auto import LOGITS, Auto, is_classifier_head
from isometry.recipe.base import Choice, Recipe, Site, Survey, significant
from isometry.recipe.critical import CRITICAL_POINTS
from isometry.recipe.inner import Inner, inner_of, is_single, orthogonalised
from isometry.recipe.pairs import GATED, Hidden, Reading, find_hidden
from isometry.recipe.parity import centred, difference, operating_point, parity, spread
from isometry.recipe.silent import heard, silence
from isometry.recipe.spectrum import is_chain, predicted_spread
from isometry.types import Constant, Normal

__all__ = ["Isometric"]

SAXE = "Saxe et al. 2014; Pennington et al. 2017"
MIRROR = "Balduzzi et al. 2017; Burkholz & Dubatovka 2019"
SILENT = "Zhang, Dauphin & Ma 2019; Bachlechner et al. 2021"
MENTIONED = 4  # exceptions that a note has room for
CRITICAL = "Roberts, Yaida & Hanin 2022, ch. 5"


class Isometric(Auto):
    """Start as an isometry, or as near to one as the architecture allows."""

    name = "isometric"
    purpose = "deep nets of any activation, without normalisation: all lengths and angles are kept"
    source = "Saxe 2014; Balduzzi 2017; Xiao 2018; Burkholz & Dubatovka 2019"

    def prepare(self, survey: Survey) -> Recipe:
        """The recipe for one model: which of its layers can be mirrored, and how deep it is."""
        return _Prepared(survey)


class _Prepared(Isometric):
    def __init__(self, survey: Survey) -> None:
        self._survey = survey
        self._hidden = find_hidden(survey)
        self._read = {r.usage.leaf.name: (h, r) for h in self._hidden.values() for r in h.readings}
        self._silence = silence(survey)
        curved = [h for h in self._hidden.values() if _function(h) is not None]
        self._depth = max(1, len(curved))
        self._inner: dict[str, Inner] = {}  # as decided, in the order of execution
        self._exceptions: dict[str, str] = {}  # weight -> why no isometry

    def decide(self, site: Site) -> Choice:
        usage = site.usage
        name = usage.leaf.name
        if name in self._silence.zeros:
            return Choice(Constant(0.0), "zeros", self._silence.zeros[name], SILENT)
        if usage.role == "bias" and usage.partner is not None and usage.leaf.trainable:
            shift = self._critical(usage.partner.name)
            if shift is not None and shift[1] > 0:
                law = Normal(significant(math.sqrt(shift[1])))
                return Choice(law, "normal", f"C_b {shift[1]:g} at the critical point", CRITICAL)
        choice = super().decide(site)
        if choice.law.random is False or usage.role not in ("linear", "conv"):
            return choice
        if self._opens(name):
            return Choice(Constant(0.0), "zeros", "a gate: starts half open for all, moves at once")
        hidden = self._hidden.get(name)
        inner = inner_of(
            usage, self._pairs_read(name), self._pairs_written(name),
            sees_mean=not self._centred(name),
            gives_mean=hidden is None or hidden.kind != "centred" or hidden.normalised,
        )  # fmt: skip
        if inner is None:
            self._exceptions[name] = "a grouped or fused weight"
            return orthogonalised(choice, usage, self._wanted(site)[0])
        self._inner[name] = inner
        return self._matrix_of(site, inner)

    # -- what is read and written ------------------------------------------------------------

    def _pairs_read(self, name: str) -> int:
        found = self._read.get(name)
        return 0 if found is None else found[0].pairs * found[1].each

    def _pairs_written(self, name: str) -> int:
        return self._hidden[name].pairs if name in self._hidden else 0

    def _centred(self, name: str) -> bool:
        found = self._read.get(name)
        return (
            found is not None and found[0].kind == "centred"
            and parity(found[1].expression) == "shifted"
        )  # fmt: skip

    def _point(self, hidden: Hidden) -> float:
        """The second moment at which a hidden layer is to work."""
        f = _function(hidden)
        free = f is not None and not hidden.normalised and hidden.writer.leaf.name in self._inner
        return operating_point(f, self._depth) if f is not None and free else 1.0

    def _critical(self, writer: str) -> tuple[float, float] | None:
        """q* and C_b of a layer that no mirror fits, where its activation has a critical point."""
        hidden = self._hidden.get(writer)
        if hidden is None or hidden.kind != "none" or not hidden.chain or not hidden.function:
            return None
        point = CRITICAL_POINTS.get(name_of(hidden.function) or "")
        biased = any(
            u.role == "bias" and u.partner is hidden.writer.leaf and u.leaf.trainable
            for u in self._survey.usages.values()
        )
        if point is None or (point[2] > 0 and not biased) or hidden.normalised:
            return None
        return point[0], point[2]

    def _opens(self, writer: str) -> bool:
        """Is it a weight that only makes a gate which lets a share through when it is zero?"""
        hidden = self._hidden.get(writer)
        if hidden is None or not _is_gate(hidden):
            return False
        # Of two gates in one product one has to carry the signal.
        return not any(
            h is not hidden and h.blocker == hidden.blocker and _is_gate(h)
            for h in self._hidden.values()
        )

    # -- the law -----------------------------------------------------------------------------

    def _matrix_of(self, site: Site, inner: Inner) -> Choice:
        name = site.usage.leaf.name
        second, what, source = self._given(site)
        target, towards = self._wanted(site)
        variance = target / (inner.columns * second * (1.0 if inner.delta else site.reach))
        gain = significant(math.sqrt(variance * inner.side))
        law = inner.law(gain)
        hidden = self._hidden.get(name)
        if hidden is not None and hidden.pairs:
            towards += "; writes mirrored pairs"
            source = MIRROR
        elif hidden is not None and hidden.kind == "none" and hidden.function is not None:
            self._exceptions[name] = hidden.obstacle
            towards += f"; no isometry: {hidden.obstacle}"
        return Choice(law, inner.scheme, what + towards, source, gain)

    def _given(self, site: Site) -> tuple[float, str, str]:
        """The second moment of what a column of the inner matrix meets, with words and a source."""
        found = self._read.get(site.usage.leaf.name)
        if found is None or found[0].kind == "none" or found[1].expression == Z:
            return site.second_moment, site.reading, SAXE
        hidden, reading = found
        q, f = self._point(hidden), _passed_on(hidden, reading)
        moments = moments_of(f, 0.0, q)
        second = (1.0 if moments is None else moments[1]) * reading.pooled
        what = name_of(reading.expression) or describe(reading.expression)
        if hidden.kind == "plain":
            return second, f"reads {what}, an odd function", SAXE
        if hidden.kind == "centred":
            return second, f"reads {what}, odd but for a constant: does not see the mean", SAXE
        like = "what was written" if spread(f, q) < 1e-6 else "nearly what was written"
        return second, f"reads {what} of mirrored pairs: {like}", MIRROR

    def _wanted(self, site: Site) -> tuple[float, str]:
        """The second moment that its output should have, with words."""
        usage = site.usage
        if is_classifier_head(site):
            return LOGITS, f"; makes the logits: small (variance {LOGITS})"
        if usage.stream is not None:
            start = 1.0 if site.start is None else max(site.start.q, 1e-12)
            return (
                start / usage.stream.writes,
                f"; one of {usage.stream.writes} that write its stream",
            )
        point = self._critical(usage.leaf.name)
        if point is not None:
            return point[0] - point[1], f"; towards the critical second moment {point[0]:g}"
        hidden = self._hidden.get(usage.leaf.name)
        if hidden is None or hidden.kind == "none":
            return 1.0, ""
        q = self._point(hidden)
        return q, "" if q == 1.0 else f"; at second moment {q:.3g}, where it is nearly linear"

    # -- what was achieved -------------------------------------------------------------------

    def notes(self) -> tuple[str, ...]:
        """The spread of the Jacobian's singular values that theory expects, or why it has none."""
        survey, said = self._survey, []
        count = len(self._silence.additions)
        if count:
            several = "es start" if count > 1 else " starts"
            said.append(
                f"{count} residual branch{several} silent: the stream is the identity there"
            )
        live = heard(survey, self._silence)
        nodes = {n: u.node.index for n, u in survey.usages.items() if u.node is not None}
        odd = [n for n in self._exceptions if nodes.get(n) in live]
        said += [f"no isometry at {n}: {self._exceptions[n]}" for n in odd[:MENTIONED]]
        if len(odd) > MENTIONED:
            said.append(f"no isometry at {len(odd) - MENTIONED} more weights")
        chain = [(n, self._inner[n]) for n in self._inner if nodes.get(n) in live]
        chain.sort(key=lambda link: nodes[link[0]])
        if odd or not is_chain(survey, live, self._silence, self._inner):
            return tuple(said)
        wide = predicted_spread(chain, self._read, self._point) / 2
        share = "are equal" if wide < 5e-4 else f"differ by {wide:.0%} (std)"
        said.append(
            f"nonzero singular values of the Jacobian {share}, by theory; check measures them"
        )
        return tuple(said)


def _function(hidden: Hidden) -> Expression | None:
    """The curved function through which a hidden layer passes its numbers on; None where linear."""
    curved = [r for r in hidden.readings if r.expression != Z and hidden.kind != "none"]
    return _passed_on(hidden, curved[0]) if curved else None


def _passed_on(hidden: Hidden, reading: Reading) -> Expression:
    """What a weight sees of a number that was written, for the kind that the hidden layer is."""
    if hidden.kind == "mirrored":
        return difference(reading.expression)
    return centred(reading.expression) if hidden.kind == "centred" else reading.expression


def _is_gate(hidden: Hidden) -> bool:
    """Is it written for a product alone, through a function that lets a share pass at zero?"""
    gated = hidden.obstacle == GATED and hidden.function is not None
    return gated and parity(hidden.function) == "shifted" and is_single(hidden.writer)
