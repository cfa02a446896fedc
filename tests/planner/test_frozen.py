"""A frozen matrix is kept, and what reads its output is planned by what it really gives."""

import pytest
import torch
from torch import nn

import isometry as iso


@pytest.mark.parametrize("std", [0.01, 0.3])
def test_a_head_on_a_frozen_backbone_reads_its_measured_scale(std: float) -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(256, 512, bias=False), nn.Linear(512, 10, bias=False))
    with torch.no_grad():
        model[0].weight.normal_(std=std)
    model[0].weight.requires_grad_(False)
    before = model[0].weight.clone()
    plan = iso.initialize(model, torch.randn(4, 256), seed=0, loss="cross_entropy")
    assert plan["0.weight"].keeps
    assert torch.equal(model[0].weight, before)
    logits = model(torch.randn(2000, 256))
    # 5120 weights and 2000 inputs: 10 % is four standard errors of the logits' mean square.
    assert logits.square().mean().item() == pytest.approx(0.01, rel=0.1)
