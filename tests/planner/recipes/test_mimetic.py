"""`mimetic`: positive diagonals in W_Q W_K', negative ones in W_V W_O, from streams that are shared."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import transformers as hf
from torch import Tensor, nn

import isometry as iso
from isometry.errors import ArgumentError, PlanError
from isometry.recipe import Mimetic
from isometry.stream import sample
from isometry.types import Axes, Factor

from .networks import Attention, Plain, Transformer, Translator

WIDTH, HEADS = 96, 3
SIZE = WIDTH // HEADS


def drawn(left: Factor, shape: tuple[int, int], seed: int = 0, name: str = "a", axes: Axes | None = None) -> np.ndarray:  # fmt: skip
    return sample(left, shape, seed=seed, name=name, axes=axes).astype(np.float64)


def test_two_factors_make_the_matrix() -> None:
    """Of full rank the product is alpha Z + beta I, Z of N(0, 1/d); its names do not matter."""
    left, right = (Factor(side, "both", 0.4, -0.4) for side in ("left", "right"))
    product = drawn(left, (256, 256), name="v").T @ drawn(right, (256, 256), name="o")
    z = (product + 0.4 * np.eye(256)) / 0.4 * 16
    assert abs(z.mean()) < 4 / 256
    assert z.var() == pytest.approx(1.0, abs=4 * 2**0.5 / 256)
    other = drawn(right, (256, 256), seed=1).T
    assert abs(np.trace(drawn(left, (256, 256)).T @ other.T)) < 0.2 * 256  # another seed, another Z


def test_parts_and_layouts() -> None:
    law = Factor("right", "s", 0.7, 0.7, heads=4)
    whole = drawn(law, (32, 48))
    part = sample(law, (32, 48), seed=0, name="a", index=(slice(5, 20, 3), [1, 40]))
    np.testing.assert_array_equal(part, whole[5:20:3][:, [1, 40]])
    transposed = drawn(law, (48, 32), axes=Axes(in_axis=(0,), out_axis=(1,)))
    np.testing.assert_array_equal(transposed, whole.T)
    inner = drawn(Factor("right", "s", 0.7, 0.7, heads=4, inner="in"), (48, 32))
    np.testing.assert_array_equal(inner, whole.T)
    with pytest.raises(ArgumentError, match="heads that divide the inner axis, 32"):
        drawn(Factor(heads=5), (32, 48))


def products(q: Tensor, k: Tensor, v: Tensor, out: Tensor) -> tuple[list[np.ndarray], np.ndarray]:
    """W_Q W_K' of each head, and W_V W_O; Linear's weights are transposed."""
    q, k, v, out = (w.detach().double() for w in (q, k, v, out))
    heads = zip(q.split(SIZE), k.split(SIZE), strict=True)
    return [(a.T @ b).numpy() for a, b in heads], (v.T @ out.T).numpy()


def check(scores: list[np.ndarray], values: np.ndarray) -> None:
    off = ~np.eye(WIDTH, dtype=bool)
    for product in scores:
        # The best matrix of rank d/3: its diagonal holds more than a third of .7 I.
        assert 0.7 / 3 < np.diag(product).mean() < 0.7
        assert abs(product[off].mean()) < 4 * product[off].std() / WIDTH
        assert np.linalg.matrix_rank(product, tol=1e-4) == SIZE
    error = 0.4 / WIDTH**0.5 / WIDTH**0.5
    assert np.diag(values).mean() == pytest.approx(-0.4, abs=4 * error)
    assert values[off].std() == pytest.approx(0.4 / WIDTH**0.5, rel=0.05)


class PreNorm(nn.Module):
    def __init__(self, fused: bool) -> None:
        super().__init__()
        self.norm, self.attention = nn.LayerNorm(WIDTH), Attention(WIDTH, HEADS, fused)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.attention(self.norm(x))


@pytest.mark.parametrize("fused", [False, True])
def test_diagonals_of_a_block(fused: bool) -> None:
    model = nn.Sequential(PreNorm(fused), PreNorm(fused))
    plan = iso.initialize(model, torch.randn(2, 5, WIDTH), recipe="mimetic")
    for block in model:
        a = block.attention
        q, k, v = a.qkv.weight.chunk(3) if fused else (a.q.weight, a.k.weight, a.v.weight)
        check(*products(q, k, v, a.out.weight))
    name = "0.attention.qkv.weight" if fused else "0.attention.q.weight"
    assert "queries and keys: a product of 0.7 Z + 0.7 I" in plan[name].reason
    assert iso.Plan.from_json(plan.to_json()) == plan
    law = plan[name].blocks[0].law if fused else plan[name].law
    q = model[0].attention.qkv.weight[:WIDTH] if fused else model[0].attention.q.weight
    assert q.square().mean().item() == pytest.approx(law.variance, rel=0.05)


def test_diagonals_of_a_vision_transformer() -> None:
    config = hf.ViTConfig(num_hidden_layers=2, hidden_size=WIDTH, num_attention_heads=HEADS,
                          intermediate_size=64, image_size=32, patch_size=16)  # fmt: skip
    model = hf.ViTModel(config)
    iso.initialize(model, {"pixel_values": torch.randn(2, 3, 32, 32)}, recipe="mimetic")
    weights = dict(model.named_parameters())
    names = [n for n in weights if "layers.1." in n and n.endswith("_proj.weight")]
    q, k, v, o = (next(weights[n] for n in names if f"{letter}_proj" in n) for letter in "qkvo")
    check(*products(q, k, v, o))


def test_tokens_attend_to_their_like() -> None:
    """What the diagonals are for: a token's largest score is with itself."""
    share = {}
    x = torch.randn(64, 10, WIDTH, generator=torch.Generator().manual_seed(0))
    for recipe in ("mimetic", "auto"):
        block = PreNorm(False)
        iso.initialize(block, x, recipe=recipe)
        with torch.no_grad():
            y = block.norm(x)
            q, k = (w(y).unflatten(-1, (HEADS, -1)) for w in (block.attention.q, block.attention.k))
            scores = torch.einsum("bthc,bshc->bhts", q, k)
        share[recipe] = (scores.argmax(-1) == torch.arange(10)).float().mean().item()
    assert share["mimetic"] > 0.95
    assert share["auto"] == pytest.approx(0.1, abs=0.05)


def test_own_numbers() -> None:
    model = PreNorm(False)
    recipe = Mimetic(scores=(0.3, -0.5), values=(0.2, 0.6))
    iso.initialize(model, torch.randn(2, 5, WIDTH), recipe=recipe)
    a = model.attention
    scores, values = products(a.q.weight, a.k.weight, a.v.weight, a.out.weight)
    assert all(np.diag(s).mean() < -0.5 / 3 for s in scores)
    assert np.diag(values).mean() == pytest.approx(0.6, abs=4 * 0.2 / WIDTH)


def test_cross_attention_is_left_to_auto() -> None:
    tokens = torch.zeros(2, 4, dtype=torch.long)
    plan = iso.plan(Translator(1, 1), (tokens, tokens), recipe="mimetic")
    assert isinstance(plan["encoder.0.attention.q.weight"].law, Factor)
    assert isinstance(plan["decoder.0.attention.q.weight"].law, Factor)
    assert not isinstance(plan["decoder.0.cross.q.weight"].law, Factor)


def test_refusals() -> None:
    with pytest.raises(
        PlanError, match=r"self-attention with square projections.*; it has none\. Use"
    ):
        iso.plan(Plain(3, 8, torch.relu), torch.randn(4, 8), recipe="mimetic")
    model = hf.LlamaModel(hf.LlamaConfig(num_hidden_layers=1, hidden_size=16, num_attention_heads=4,
                                         num_key_value_heads=2, intermediate_size=32, vocab_size=30,
                                         bos_token_id=0, eos_token_id=0))  # fmt: skip
    with pytest.raises(PlanError, match="none of the attention in this model is of that kind"):
        iso.plan(model, {"input_ids": torch.zeros(2, 4, dtype=torch.long)}, recipe="mimetic")
    with pytest.raises(
        ArgumentError, match=r"Mimetic\(scores=\(0, 1\)\): expected \(alpha, beta\)"
    ):
        Mimetic(scores=(0, 1))
    assert isinstance(iso.plan(Transformer(1), torch.zeros(2, 4, dtype=torch.long), recipe="mimetic")["layers.0.attention.q.weight"].law, Factor)  # fmt: skip
