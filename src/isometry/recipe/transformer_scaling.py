"""The recipes `t-fixup` and `deepnorm`: Glorot, times a power of the depth inside the branches.

    values, outputs and MLP matrices: Glorot x beta;    queries and keys: Glorot

    T-Fixup, no layer norm:          encoder  beta = .67 N^(-1/4),          decoder  (9M)^(-1/4)
    DeepNorm, LN(alpha x + f(x)):    one stack  alpha = (2N)^(1/4),         beta = (8N)^(-1/4)
                                     encoder  alpha = .81 (N⁴M)^(1/16),     beta = .87 (N⁴M)^(-1/16)
                                     decoder  alpha = (3M)^(1/4),           beta = (12M)^(-1/4)

for an encoder of N layers and a decoder of M. Both bound the first update of the whole network by a
number that does not grow with depth. Queries and keys stay as they are: at the start attention is
nearly an average, whatever they are.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, replace

from isometry.recipe.attention import Attention, read_attention
from isometry.recipe.base import Choice, Recipe, Site, Survey, blockwise, significant
from isometry.recipe.branches import Branch, normalisations, read_branches
from isometry.recipe.common import looked_up, padded, settle
from isometry.recipe.premises import listed, refusal
from isometry.roles import Usage
from isometry.schemes import glorot_normal
from isometry.types import Block, Fans, Law, Normal

__all__ = ["DeepNorm", "Stack", "TFixup", "read_stacks"]


@dataclass(frozen=True, slots=True)
class Stack:
    """An encoder or a decoder: its branches, and how many layers they make."""

    branches: tuple[Branch, ...]
    layers: int
    decodes: bool  # it reads another stack


def read_stacks(survey: Survey) -> tuple[Stack, ...]:
    """The stacks of a transformer, each with one layer an attention (two, where one crosses)."""
    stacks: dict[int, list[Branch]] = {}
    for branch in read_branches(survey):
        stacks.setdefault(branch.stack, []).append(branch)
    found = []
    for branches in stacks.values():
        crossing = sum(b.crosses and b.attends for b in branches)
        layers = crossing or sum(b.attends for b in branches)
        if layers:
            found.append(Stack(tuple(branches), layers, crossing > 0))
    return tuple(found)


class _Scaled(ABC):
    """Glorot, and a factor for what is inside a branch and makes no score."""

    name: str
    source: str

    def __init__(self, stacks: tuple[Stack, ...] = (), attentions: tuple[Attention, ...] = ()):
        self.stacks = stacks
        self.stack_of = {n: s for s in stacks for b in s.branches for n in b.matrices}
        self.scoring: dict[str, list[tuple[int, int]]] = {}
        for a in attentions:
            for p in (a.q, a.k):
                self.scoring.setdefault(p.name, []).append((p.start, p.stop))
            for p in (a.v,):  # multi-query: keys and values may be one projection
                if (p.start, p.stop) in self.scoring.get(p.name, []):
                    self.scoring[p.name].remove((p.start, p.stop))

    @abstractmethod
    def beta(self, stack: Stack) -> float:
        """The factor of a stack."""

    def table(self, site: Site) -> Choice:
        """The choice for a table that is looked up."""
        return looked_up(site.usage)

    def decide(self, site: Site) -> Choice:
        settled = settle(site)
        if settled is not None:
            return settled
        usage = site.usage
        if usage.role == "embedding":
            return self.table(site)
        assert usage.fans is not None
        stack = self.stack_of.get(usage.leaf.name)
        if stack is None:
            return self._glorot(usage, lambda a, b: 1.0, "outside the branches: Glorot")
        beta = significant(self.beta(stack))
        scores = self.scoring.get(usage.leaf.name, [])

        def factor(start: int, stop: int) -> float:
            return 1.0 if any(a <= start and stop <= b for a, b in scores) else beta

        kind = "decoder" if stack.decodes else "stack"
        why = f"in a {kind} of {stack.layers} layers: Glorot x {beta:.4g}"
        if scores and usage.blocks:
            why += " for the values; queries and keys Glorot"
        elif scores:
            why = "queries or keys: Glorot"
        return self._glorot(usage, factor, why)

    def _glorot(self, usage: Usage, factor: Callable[[int, int], float], why: str) -> Choice:
        assert usage.fans is not None
        whole = factor(0, usage.leaf.shape[usage.axes.out_axis[0]]) if usage.axes else 1.0

        def law_of(fans: Fans, gain: float = whole) -> Law:
            return glorot_normal(fans, gain=gain)

        blocks: tuple[Block, ...] = tuple(
            replace(b, law=law_of(b.fans or usage.fans, factor(b.start, b.stop)))
            for b in blockwise(usage, law_of)
        )
        law = blocks[0].law if blocks and len({b.law for b in blocks}) == 1 else law_of(usage.fans)
        return Choice(law, "glorot_normal", why, self.source, None if blocks else whole, blocks)

    def _attends(self, survey: Survey) -> tuple[Stack, ...]:
        stacks = read_stacks(survey)
        if not stacks:
            raise refusal(
                self.name, "is for transformers: residual branches with attention",
                "this model has no such branch", "'auto', or 'fixup' for a residual network",
            )  # fmt: skip
        return stacks


class TFixup(_Scaled):
    """Transformers without layer norm and without warm-up."""

    name = "t-fixup"
    purpose = "transformers without layer norm: trains without warm-up"
    source = "Huang et al. 2020, sec. 3.3"

    def prepare(self, survey: Survey) -> Recipe:
        """Judge a model: attention in residual branches, and no normalisation."""
        stacks = self._attends(survey)
        normed = normalisations(survey)
        if normed:
            raise refusal(
                self.name, "is for transformers whose layer norms have been removed",
                f"this model normalises in {listed(normed)}",
                "'depth-scaled' or 'auto', or take the norms out",
            )  # fmt: skip
        return TFixup(stacks, read_attention(survey.graph, survey.weights))

    def beta(self, stack: Stack) -> float:
        return float((9.0 * stack.layers) ** -0.25 if stack.decodes else 0.67 * stack.layers**-0.25)

    def table(self, site: Site) -> Choice:
        usage = site.usage
        # The paper's embeddings, of encoder and decoder, follow the decoder's depth.
        deepest = next((s for s in self.stacks if s.decodes), self.stacks[0])
        factor = self.beta(deepest)
        law = Normal(significant(usage.leaf.shape[-1] ** -0.5 * factor))
        why = f"embeddings: std d^(-1/2), x {factor:.4g} for {deepest.layers} layers"
        return Choice(law, "normal", why, self.source, blocks=padded(usage, law))


class DeepNorm(_Scaled):
    """Post-norm transformers of hundreds of layers: LN(alpha x + f(x))."""

    name = "deepnorm"
    purpose = "post-norm transformers with LN(alpha x + f(x)): a thousand layers"
    source = "Wang et al. 2022, fig. 2"

    def prepare(self, survey: Survey) -> Recipe:
        """Judge a model: post-norm, each skip multiplied by the alpha of its depth."""
        stacks = self._attends(survey)
        prepared = DeepNorm(stacks, read_attention(survey.graph, survey.weights))
        for stack in stacks:
            pre = [b for b in stack.branches if not b.post_norm]
            if pre:
                raise refusal(
                    self.name, "is for post-norm transformers, LN(alpha x + f(x))",
                    f"{len(pre)} of the {len(stack.branches)} residual sums of this model are not "
                    "normalised before they are read", "'depth-scaled' (pre-norm) or 't-fixup' (no norm)",
                )  # fmt: skip
            needed = prepared.alpha(stack)
            found = sorted({round(b.factor, 4) for b in stack.branches})
            if any(abs(b.factor / needed - 1.0) > 0.01 for b in stack.branches):
                raise refusal(
                    self.name, f"needs the skip multiplied by alpha = {needed:.4f} in a "
                    f"{'decoder' if stack.decodes else 'stack'} of {stack.layers} layers",
                    f"in this model it is multiplied by {', '.join(f'{f:g}' for f in found)}",
                    f"'auto', or write norm({needed:.4f} * x + f(x))",
                )  # fmt: skip
        return prepared

    def alpha(self, stack: Stack) -> float:
        """What the skips of a stack are multiplied by."""
        encoder, decoder = self._depths()
        if decoder is None:
            return float((2.0 * stack.layers) ** 0.25)
        if stack.decodes:
            return float((3.0 * decoder) ** 0.25)
        return float(0.81 * (encoder**4 * decoder) ** 0.0625)

    def beta(self, stack: Stack) -> float:
        encoder, decoder = self._depths()
        if decoder is None:
            return float((8.0 * stack.layers) ** -0.25)
        if stack.decodes:
            return float((12.0 * decoder) ** -0.25)
        return float(0.87 * (encoder**4 * decoder) ** -0.0625)

    def _depths(self) -> tuple[int, int | None]:
        """Layers of the encoder and of the decoder; None where there is one stack."""
        decoder = next((s.layers for s in self.stacks if s.decodes), None)
        encoder = next((s.layers for s in self.stacks if not s.decodes), 1)
        return encoder, decoder
