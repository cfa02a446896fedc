"""`t-fixup` and `deepnorm`: the first update of a transformer does not grow with its depth."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

import isometry as iso
from isometry.errors import PlanError

from .networks import Plain, Residual, Transformer, Translator, change_after_a_step

WIDTH = 32
TOKENS = torch.zeros(2, 8, dtype=torch.long)


def batch() -> tuple[Tensor, Tensor]:
    torch.manual_seed(0)
    return torch.randint(0, 50, (16, 8)), torch.randint(0, 50, (16, 8))


def glorot(fan_in: int, fan_out: int) -> float:
    return float((2 / (fan_in + fan_out)) ** 0.5)


def std(plan: iso.Plan, name: str) -> float:
    return float(plan[name].law.variance ** 0.5)


def test_t_fixup_update_is_of_one_size_at_any_depth() -> None:
    """Huang et al. 2020, eq. 3: Theta(learning rate) under SGD, where Glorot's explodes."""
    changes, plain = [], []
    for layers in (2, 6, 18):
        x, target = batch()
        model = Transformer(layers)
        iso.initialize(model, x, recipe="t-fixup")
        changes.append(change_after_a_step(model, x, target, 0.05))
        iso.initialize(model, x, recipe="glorot")
        plain.append(change_after_a_step(model, x, target, 0.05))
    assert max(changes) / min(changes) < 1.2
    assert not plain[1] < 1000 * plain[0]


def test_deepnorm_update_is_of_one_size_at_any_depth() -> None:
    """Wang et al. 2022, theorem 4.2: bounded under SGD, where plain post-norm grows."""
    changes, plain = [], []
    for layers in (2, 6, 18):
        x, target = batch()
        deep = Transformer(layers, alpha=(2 * layers) ** 0.25, normed=True)
        iso.initialize(deep, x, recipe="deepnorm")
        changes.append(change_after_a_step(deep, x, target, 0.05))
        post = Transformer(layers, normed=True)
        iso.initialize(post, x, recipe="glorot")
        plain.append(change_after_a_step(post, x, target, 0.05))
    assert max(changes) / min(changes) < 1.2
    assert plain[2] > 20 * plain[0]


@pytest.mark.parametrize("fused", [False, True])
def test_t_fixup_laws(fused: bool) -> None:
    model = Transformer(6, fused=fused)
    plan = iso.plan(model, TOKENS, recipe="t-fixup")
    beta, square = 0.67 * 6**-0.25, glorot(WIDTH, WIDTH)
    assert std(plan, "table.weight") == pytest.approx(WIDTH**-0.5 * beta, rel=1e-5)
    assert std(plan, "layers.2.attention.out.weight") == pytest.approx(square * beta, rel=1e-5)
    assert std(plan, "layers.2.up.weight") == pytest.approx(glorot(32, 128) * beta, rel=1e-5)
    assert std(plan, "layers.2.down.weight") == pytest.approx(glorot(32, 128) * beta, rel=1e-5)
    assert std(plan, "head.weight") == pytest.approx(glorot(32, 50), rel=1e-5)
    expected = [square, square, square * beta]
    if fused:
        blocks = plan["layers.2.attention.qkv.weight"].blocks
        found = [b.law.variance**0.5 for b in blocks]
    else:
        found = [std(plan, f"layers.2.attention.{n}.weight") for n in "qkv"]
    assert found == pytest.approx(expected, rel=1e-5)
    iso.initialize(model, TOKENS, recipe="t-fixup")
    drawn = model.layers[2].down.weight
    assert drawn.std().item() == pytest.approx(glorot(32, 128) * beta, rel=4 * (2 * 4096) ** -0.5)


def test_t_fixup_of_an_encoder_and_a_decoder() -> None:
    plan = iso.plan(Translator(3, 5), (TOKENS, TOKENS), recipe="t-fixup")
    square = glorot(16, 16)
    encoder, decoder = 0.67 * 3**-0.25, (9 * 5) ** -0.25
    assert std(plan, "encoder.0.attention.v.weight") == pytest.approx(square * encoder, rel=1e-5)
    assert std(plan, "decoder.0.attention.v.weight") == pytest.approx(square * decoder, rel=1e-5)
    assert std(plan, "decoder.4.cross.out.weight") == pytest.approx(square * decoder, rel=1e-5)
    assert std(plan, "decoder.4.cross.k.weight") == pytest.approx(square, rel=1e-5)
    assert std(plan, "table.weight") == pytest.approx(0.25 * decoder, rel=1e-5)


@pytest.mark.parametrize("layers", [2, 12])
def test_deepnorm_laws(layers: int) -> None:
    model = Transformer(layers, alpha=(2 * layers) ** 0.25, normed=True)
    plan = iso.plan(model, TOKENS, recipe="deepnorm")
    beta, square = (8 * layers) ** -0.25, glorot(WIDTH, WIDTH)
    assert std(plan, "layers.1.attention.v.weight") == pytest.approx(square * beta, rel=1e-5)
    assert std(plan, "layers.1.attention.q.weight") == pytest.approx(square, rel=1e-5)
    assert std(plan, "layers.1.up.weight") == pytest.approx(glorot(32, 128) * beta, rel=1e-5)


def test_deepnorm_of_an_encoder_and_a_decoder() -> None:
    n, m = 4, 3
    alphas = 0.81 * (n**4 * m) ** (1 / 16), (3 * m) ** 0.25
    plan = iso.plan(Translator(n, m, alphas=alphas), (TOKENS, TOKENS), recipe="deepnorm")
    square = glorot(16, 16)
    encoder, decoder = 0.87 * (n**4 * m) ** (-1 / 16), (12 * m) ** -0.25
    assert std(plan, "encoder.2.attention.out.weight") == pytest.approx(square * encoder, rel=1e-5)
    assert std(plan, "decoder.2.cross.v.weight") == pytest.approx(square * decoder, rel=1e-5)
    with pytest.raises(PlanError, match=r"alpha = 1.7321 in a decoder of 3 layers.*multiplied by 1\.2"):  # fmt: skip
        iso.plan(Translator(n, m, alphas=(alphas[0], 1.2)), (TOKENS, TOKENS), recipe="deepnorm")


def test_refusals() -> None:
    x = torch.randn(2, 8, WIDTH)
    layer = nn.TransformerEncoderLayer(WIDTH, 2, 64, batch_first=True)
    post = nn.TransformerEncoder(layer, 4, enable_nested_tensor=False)
    with pytest.raises(PlanError, match=r"layer norms have been removed; this model normalises in layers.0.norm1.* and 5 more"):  # fmt: skip
        iso.plan(post, x, recipe="t-fixup")
    with pytest.raises(PlanError, match=r"alpha = 1.6818 in a stack of 4 layers; in this model it is multiplied by 1\. .*write norm\(1.6818 \* x \+ f\(x\)\)"):  # fmt: skip
        iso.plan(post, x, recipe="deepnorm")
    layer = nn.TransformerEncoderLayer(WIDTH, 2, 64, batch_first=True, norm_first=True)
    pre = nn.TransformerEncoder(layer, 4, enable_nested_tensor=False)
    with pytest.raises(PlanError, match=r"post-norm transformers.*8 of the 8 residual sums.*'depth-scaled'"):  # fmt: skip
        iso.plan(pre, x, recipe="deepnorm")
    for recipe in ("t-fixup", "deepnorm"):
        for net in (Residual(3, WIDTH), Plain(3, WIDTH, torch.relu)):
            with pytest.raises(PlanError, match=r"branches with attention; this model has no such"):
                iso.plan(net, torch.randn(4, WIDTH), recipe=recipe)
