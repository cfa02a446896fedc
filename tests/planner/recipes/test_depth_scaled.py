"""`depth-scaled`: what a stream holds at its end does not grow with depth."""

from __future__ import annotations

import pytest
import torch
import transformers as hf
from torch import nn

import isometry as iso
from isometry.errors import ArgumentError, PlanError
from isometry.recipe import DepthScaled

from .networks import Plain, Residual

WIDTH = 64


def growth(blocks: int, recipe: DepthScaled, scaled: bool = True) -> float:
    """The second moment that the branches add to the stream, over a stream of second moment 1."""
    torch.manual_seed(0)
    model = Residual(blocks, WIDTH, norm=True)
    iso.initialize(model, torch.randn(4, WIDTH), recipe=recipe)
    with torch.no_grad():
        if not scaled:
            for block in model.blocks:
                block[1].weight *= blocks**0.5
        nn.init.orthogonal_(model.stem.weight)
        model(torch.randn(256, WIDTH))
    first, last = (float(e.square().mean()) for e in (model.ends[0], model.ends[-1]))
    return last / first - 1


def test_the_stream_is_bounded_in_depth() -> None:
    """N branches of variance v/N add v; without the scaling they add N v."""
    std = DepthScaled(std=WIDTH**-0.5)
    scaled = [growth(n, std) for n in (4, 16, 64)]
    plain = [growth(n, std, scaled=False) for n in (4, 16, 64)]
    # Each branch gives 1/2 (its ReLU) of what it reads.
    assert scaled == pytest.approx([0.5, 0.5, 0.5], rel=0.3)
    assert plain == pytest.approx([2, 8, 32], rel=0.3)


def test_gpt2_gets_its_authors_law() -> None:
    """Every matrix std .02, c_proj .02/sqrt(2 x 6) and nothing else."""
    torch.manual_seed(0)
    config = hf.GPT2Config(n_layer=6, n_embd=48, n_head=4, vocab_size=100, n_positions=16,
                           bos_token_id=0, eos_token_id=0)  # fmt: skip
    model = hf.GPT2LMHeadModel(config)
    plan = iso.plan(
        model, {"input_ids": torch.zeros(2, 8, dtype=torch.long)}, recipe="depth-scaled"
    )
    for decision in plan:
        if decision.name.endswith(".weight") and len(decision.shape) == 2:
            writes = decision.name.endswith("c_proj.weight")
            expected = 0.02 / 12**0.5 if writes else 0.02
            assert decision.law.variance**0.5 == pytest.approx(expected, rel=1e-5), decision.name
            own = model.get_parameter(decision.name).std().item()
            assert own == pytest.approx(expected, rel=4 * (2 * decision.shape[0] * decision.shape[1]) ** -0.5)  # fmt: skip
    assert sum("one of 12" in d.reason for d in plan) == 12


def test_refusals() -> None:
    with pytest.raises(PlanError, match=r"writes a residual stream; this model has no such stream\. Use"):  # fmt: skip
        iso.plan(Plain(3, 8, torch.relu), torch.randn(4, 8), recipe="depth-scaled")
    layer = nn.TransformerEncoderLayer(16, 2, 32, batch_first=True)
    post = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
    with pytest.raises(PlanError, match=r"pre-norm\); each of the 4 sums.*post-norm.*'deepnorm'"):
        iso.plan(post, torch.randn(2, 5, 16), recipe="depth-scaled")
    with pytest.raises(ArgumentError, match=r"DepthScaled\(std=0\)"):
        DepthScaled(std=0)
    with pytest.raises(PlanError, match="this model has no such stream"):
        iso.plan(nn.GRU(4, 5, 2), torch.randn(7, 2, 4), recipe="depth-scaled")
