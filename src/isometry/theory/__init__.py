"""How moments, correlations and gradients travel through a graph at initialisation.

Every value has a mean and a second moment over the random weights and inputs. A product with a
weight makes a Gaussian again (many terms), whose elementwise functions are then integrated exactly:

    q_out = fan_in Var(W) q_in,      E[phi(z)²] with z ~ N(mean, q - mean²)

Sums of separate signals add their moments, gates multiply them, a normalisation sets them to 1.
Statistics over many elements (the mean square in a hand-written RMSNorm) are numbers, not signals.

A walk that is `paired` carries E[x y] for three kinds of pair as well: the same place of two samples,
two positions of one, two positions of two. All of them go through the same products, and through one
two-point map (`dual`). With them averages are exact: attention, pooling, normalisation by the batch.
A plan decides on a walk without: there an average by attention keeps the moments of the values, an
upper bound, reached when tokens agree. `gradient` goes the way back.
"""

from isometry.graph import Graph
from isometry.theory.averages import RULES as _AVERAGES
from isometry.theory.elementwise import RULES as _ELEMENTWISE
from isometry.theory.joining import RULES as _JOINING
from isometry.theory.norms import RULES as _NORMS
from isometry.theory.padding import reach
from isometry.theory.pooling import RULES as _POOLING
from isometry.theory.predict import Expectation, Given, expectations
from isometry.theory.products import RULES as _PRODUCTS
from isometry.theory.signal import Signal
from isometry.theory.walk import LeafLaw, LeafMoments, Rule, Walk

__all__ = [
    "Expectation",
    "Given",
    "LeafLaw",
    "LeafMoments",
    "Signal",
    "Walk",
    "expectations",
    "propagate",
    "reach",
    "start",
]

_RULES: dict[str, Rule] = {
    **_PRODUCTS, **_ELEMENTWISE, **_AVERAGES, **_NORMS, **_POOLING, **_JOINING
}  # fmt: skip


def start(graph: Graph, weights: set[int], leaf_moments: LeafLaw, paired: bool = False) -> Walk:
    """A walk before its first node; `leaf_moments` gives the law of a leaf."""
    return Walk(graph, weights, leaf_moments, _RULES, paired)


def propagate(graph: Graph, weights: set[int], leaf_moments: LeafLaw) -> Walk:
    """Carry the moments through the whole graph."""
    walk = start(graph, weights, leaf_moments)
    for node in graph:
        walk.visit(node)
    return walk
