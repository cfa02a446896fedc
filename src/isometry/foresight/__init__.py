"""What a model will be on a mesh of ranks, before there is any: parts, bytes, seconds, and a proof."""

from isometry.foresight.cuts import Cut, Cuts, by_styles, by_use
from isometry.foresight.per_rank import foresee
from isometry.foresight.values import Foresight, Proof, Row, Span, Speed, StageForesight

__all__ = [
    "Cut",
    "Cuts",
    "Foresight",
    "Proof",
    "Row",
    "Span",
    "Speed",
    "StageForesight",
    "by_styles",
    "by_use",
    "foresee",
]
