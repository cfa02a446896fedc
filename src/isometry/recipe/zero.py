"""The recipe `zero` (ZerO): zeros and ones, no random number.

    as many outputs as inputs, or fewer   W = I, cut to shape
    more outputs than inputs              W = 2^(-(m-1)/2) H_m, cut to shape,  m = ceil(log2 outputs)
    last layer of a residual branch, and the head of a residual network: 0

H_m is Hadamard's matrix of signs: rows of it differ, where an identity cut to shape would leave the
added units zero, and ones alike: neither would ever part. A convolution has these at its centre.
"""

from __future__ import annotations

import math

from isometry.recipe.auto import is_classifier_head
from isometry.recipe.base import Choice, Recipe, Site, Survey, blockwise
from isometry.recipe.branches import read_branches
from isometry.recipe.common import settle
from isometry.recipe.premises import listed, refusal
from isometry.roles import Usage
from isometry.types import Constant, Dirac, Fans, Hadamard, Identity, Law

__all__ = ["ZerO"]

SOURCE = "Zhao, Schäfer & Anandkumar 2022, algorithms 1 and 2"
PLAIN = ("linear", "conv")
NO_MATRIX = frozenset(
    "bias norm_gain scale buffer unused positions magnitude query special attention_bias "
    "state_space".split()
)


class ZerO:
    """A deterministic start: identities, Hadamard matrices and zeros."""

    name = "zero"
    purpose = "ZerO: residual nets and MLPs from zeros and ones alone, the same for every seed"
    source = SOURCE

    def __init__(self, last: frozenset[str] = frozenset()) -> None:
        self.last = last  # the matrices that write a residual stream

    def prepare(self, survey: Survey) -> Recipe:
        """Judge a model: linear and convolutional layers, and no attention."""
        if any(n.op in ("softmax", "attention") for n in survey.graph) and any(
            n.op == "matmul" for n in survey.graph
        ):
            raise refusal(
                self.name, "is an algorithm for MLPs and residual networks",
                "this model attends: queries and keys that are identities make every head alike",
                "'mimetic' or 'auto'",
            )  # fmt: skip
        others = {n: u.role for n, u in survey.usages.items() if u.role not in (*PLAIN, *NO_MATRIX)}
        if others:
            name, role = next(iter(others.items()))
            raise refusal(
                self.name, "has laws for linear layers and convolutions alone",
                f"{listed(others)} {'is' if len(others) == 1 else 'are'} of another kind "
                f"({name}: {role})", "'auto'",
            )  # fmt: skip
        return ZerO(frozenset(n for b in read_branches(survey) for n in b.last))

    def decide(self, site: Site) -> Choice:
        settled = settle(site)
        if settled is not None:
            return settled
        usage = site.usage
        if usage.leaf.name in self.last:
            why = "last layer of a residual branch: it starts silent"
            return Choice(Constant(0.0), "zeros", why, SOURCE)
        if usage.heads and (self.last or is_classifier_head(site)):
            return Choice(Constant(0.0), "zeros", "the head: no output to begin with", SOURCE)
        law, why = _law(usage)

        def law_of(fans: Fans) -> Law:
            return law

        return Choice(law, type(law).__name__.lower(), why, SOURCE, blocks=blockwise(usage, law_of))


def _law(usage: Usage) -> tuple[Law, str]:
    """Identity where the width falls or stays, Hadamard where it grows."""
    assert usage.axes is not None
    shape, conv = usage.leaf.shape, usage.role == "conv"
    groups = usage.node.attrs["groups"] if conv and usage.node is not None else 1
    inputs = math.prod(shape[a] for a in usage.axes.in_axis)
    block = usage.blocks[0] if usage.blocks else None
    outputs = (
        block.stop - block.start if block else math.prod(shape[a] for a in usage.axes.out_axis)
    ) // groups
    if outputs > inputs:
        gain = math.sqrt(2.0)  # c of the paper: 2^(-(m-1)/2), over the law's own 2^(-m/2)
        apart = min(outputs, 1 << (inputs - 1).bit_length())
        why = f"{inputs} inputs to {outputs} outputs: Hadamard"
        if apart < outputs:  # the other bits of a row's number meet no column
            why += f"; {apart} of its rows differ, the others repeat them"
        return Hadamard(gain, groups), why
    where = ", at the kernel's centre" if conv else ""
    return (
        Dirac(1.0, groups) if conv else Identity(1.0)
    ), f"{inputs} to {outputs}: identity{where}"
