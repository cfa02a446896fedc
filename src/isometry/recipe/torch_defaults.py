"""The recipe `torch`: what PyTorch's own modules do, for comparison.

Linear, Conv:  W, b ~ U(+-1/sqrt(fan_in))        RNN, LSTM, GRU: everything U(+-1/sqrt(hidden))
Embedding:     N(0, 1)                           MultiheadAttention in_proj: Glorot, as one matrix
"""

from __future__ import annotations

import math

from isometry.graph import Leaf
from isometry.recipe.base import Choice, Site
from isometry.recipe.common import padded, settle
from isometry.schemes import glorot_normal, glorot_uniform
from isometry.types import Constant, Fans, Normal, Uniform

__all__ = ["TorchDefaults"]

SOURCE = "torch.nn modules, reset_parameters"
PROJECTIONS = ("in_proj_weight", "q_proj_weight", "k_proj_weight", "v_proj_weight")
TOKENS = ("bias_k", "bias_v")


class TorchDefaults:
    """PyTorch's default law for every module."""

    name = "torch"
    purpose = "what PyTorch does by default, to compare with; a deep ReLU net vanishes under it"
    source = SOURCE

    def decide(self, site: Site) -> Choice:
        usage = site.usage
        leaf = usage.leaf
        frozen = leaf.kind == "buffer" or not leaf.trainable
        if leaf.hint is not None and leaf.hint.recurrent and not frozen:
            projects = leaf.slot.startswith("weight_hr")  # (proj_size, hidden)
            hidden = leaf.shape[1] if projects else leaf.shape[0] // max(1, len(usage.blocks))
            return self._uniform(hidden, "recurrent layer: U(+-1/sqrt(hidden))")
        if usage.role == "bias" and not frozen and usage.partner is not None:
            return self._bias(site)
        if leaf.hint is not None and leaf.slot in TOKENS and not frozen:
            law = glorot_normal(Fans(leaf.shape[-1], leaf.shape[-1]))
            return Choice(law, "glorot_normal", "attention: Glorot", SOURCE, 1.0)
        settled = settle(site)
        if settled is not None:
            return settled
        if usage.role == "embedding":
            return Choice(
                Normal(1.0),
                "normal",
                "nn.Embedding: N(0, 1)",
                SOURCE,
                1.0,
                padded(usage, Normal(1.0)),
            )
        if leaf.hint is not None and leaf.slot in PROJECTIONS:
            law = glorot_uniform(Fans(leaf.shape[1], leaf.shape[0]))
            return Choice(
                law, "glorot_uniform", "attention: Glorot, in_proj as one matrix", SOURCE, 1.0
            )
        return self._uniform(self._fan_in(leaf), "kaiming_uniform(a=sqrt(5)): U(+-1/sqrt(fan_in))")

    def _bias(self, site: Site) -> Choice:
        partner = site.usage.partner
        assert partner is not None
        # NonDynamicallyQuantizableLinear is attention's out_proj, by that name nowhere else.
        if partner.slot in PROJECTIONS or partner.owner == "NonDynamicallyQuantizableLinear":
            return Choice(Constant(0.0), "zeros", "attention: zero", SOURCE)
        return self._uniform(self._fan_in(partner), "bias: U(+-1/sqrt(fan_in))")

    def _fan_in(self, leaf: Leaf) -> int:
        """PyTorch's own count, from the shape alone: axis 1 by the receptive field."""
        if leaf.hint is not None and leaf.hint.role == "bilinear":
            return leaf.shape[1]  # the first input's features, and not the products
        return max(1, math.prod(leaf.shape[1:])) if len(leaf.shape) > 1 else max((1, *leaf.shape))

    def _uniform(self, fan_in: float, reason: str) -> Choice:
        return Choice(Uniform(1.0 / math.sqrt(fan_in)), "uniform", reason, SOURCE, 3.0**-0.5)
