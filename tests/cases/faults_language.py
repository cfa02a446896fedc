"""Faults reported for language models: tables and heads, attention, adapters, experts."""

from __future__ import annotations

import torch
import transformers as hf
from torch import Tensor, nn
from torch.nn import functional as F

from ..checker.networks import GPT, LoRA, initialised
from .case import EITHER, Case, ids, noise, rebuilt
from .faults_dense import normal, pasted

__all__ = ["LANGUAGE", "AttentionOnly", "UntiedHead"]


class UntiedHead(nn.Module):
    """A head of std 1 reads a normalised signal of 512 channels (T5 untied)."""

    def __init__(self, std: float = 1.0, width: int = 512) -> None:
        super().__init__()
        self.embed, self.norm = nn.Embedding(1000, width), nn.LayerNorm(width)
        self.head = nn.Linear(width, 1000, bias=False)
        nn.init.normal_(self.head.weight, std=std)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.norm(self.embed(x)))


def untied_t5() -> nn.Module:
    return hf.T5ForConditionalGeneration(
        hf.T5Config(
            d_model=64, d_ff=128, num_layers=2, num_heads=4, d_kv=16, vocab_size=100,
            tie_word_embeddings=False,
        )
    )  # fmt: skip


class CharMLP(nn.Module):
    """Three letters, a table, tanh, 27 letters: everything from N(0, 1)."""

    def __init__(self) -> None:
        super().__init__()
        self.embed, self.fc, self.out = nn.Embedding(27, 10), nn.Linear(30, 200), nn.Linear(200, 27)
        initialised(self, normal(std=1.0), normal(std=1.0))

    def forward(self, x: Tensor) -> Tensor:
        return self.out(torch.tanh(self.fc(self.embed(x).flatten(1))))


class SelfAttention(nn.Module):
    def __init__(self, dim: int) -> None:
        super().__init__()
        self.qkv, self.proj = nn.Linear(dim, 3 * dim), nn.Linear(dim, dim)
        initialised(self, nn.init.xavier_uniform_)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self.qkv(x).chunk(3, -1)
        return self.proj(F.scaled_dot_product_attention(q, k, v))


class AttentionOnly(nn.Module):
    """Attention upon attention, with or without a way round."""

    def __init__(self, skips: bool, depth: int = 10, dim: int = 64) -> None:
        super().__init__()
        self.layers = nn.ModuleList(SelfAttention(dim) for _ in range(depth))
        self.norms = nn.ModuleList(nn.LayerNorm(dim) for _ in range(depth))
        self.skips = skips

    def forward(self, x: Tensor) -> Tensor:
        for norm, layer in zip(self.norms, self.layers, strict=True):
            x = norm(x + layer(x) if self.skips else layer(x))
        return x


class BatchedExperts(nn.Module):
    """Experts as one tensor (experts, in, out), of which kaiming_uniform_ takes in × out for
    the fan."""

    def __init__(self, dim: int, hidden: int, experts: int = 4) -> None:
        super().__init__()
        self.router = nn.Linear(dim, experts)
        self.up = nn.Parameter(torch.empty(experts, dim, hidden))
        self.down = nn.Parameter(torch.empty(experts, hidden, dim))
        for w in (self.up, self.down):
            nn.init.kaiming_uniform_(w, nonlinearity="relu")

    def forward(self, x: Tensor) -> Tensor:
        hidden = F.relu(torch.einsum("nd,edh->neh", x, self.up))
        each = torch.einsum("neh,ehd->ned", hidden, self.down)
        return torch.einsum("ned,ne->nd", each, self.router(x).softmax(-1))


def experts() -> nn.Module:
    return nn.Sequential(nn.Linear(32, 64), BatchedExperts(64, 128), nn.Linear(64, 10))


class Transposed(nn.Module):
    """x @ w with w (in, out), initialised as if it were (out, in)."""

    def __init__(self, n_in: int, n_out: int) -> None:
        super().__init__()
        self.w, self.b = nn.Parameter(torch.empty(n_in, n_out)), nn.Parameter(torch.zeros(n_out))
        nn.init.kaiming_normal_(self.w, nonlinearity="relu")

    def forward(self, x: Tensor) -> Tensor:
        return x @ self.w + self.b


def transposed() -> nn.Module:
    return nn.Sequential(Transposed(4096, 64), nn.ReLU(), Transposed(64, 10))


def outlying() -> nn.Module:
    """GPT-2's law with a few values at -2, 100 sigma, as trunc_normal_ leaves them in bfloat16."""
    model = GPT()
    with torch.no_grad():
        for block in model.h:
            block.fc.weight.view(-1)[::251] = -2.0
    return model


def faint_lora() -> nn.Module:
    """An adapter of std 1e-8, of which float16 keeps nothing."""
    model = LoRA(zero_a=False)
    nn.init.normal_(model.b, std=3e-8)
    return model


LANGUAGE = (
    Case(
        "an untied head of std 1: loss 110",
        "https://github.com/huggingface/transformers/pull/26441",
        UntiedHead, ids(1000, 32, 16), ("ISO701",), ("head",), loss="cross_entropy",
    ),
    Case(
        "T5 untied, as transformers makes it", "https://github.com/huggingface/transformers/pull/26441",
        untied_t5, lambda: None, ("ISO701",), ("lm_head", "shared"),  # its class declares the loss, and ties the two
    ),
    Case(
        "an untied head of std 1, no loss known",
        "https://github.com/google-research/t5x/issues/1477",
        UntiedHead, ids(1000, 32, 16), ("ISO702",), ("head*",), EITHER,
    ),
    Case(
        "a tied table of std 1 for .02", "https://github.com/fastai/fastai/pull/2090",
        lambda: GPT(table=1.0), ids(100, 32, 12), ("ISO701",), ("head", "wte"), loss="cross_entropy",
    ),
    Case(
        "makemore: saturated tanh",
        "https://github.com/karpathy/nn-zero-to-hero/blob/master/lectures/makemore/makemore_part3_bn.ipynb",
        CharMLP, ids(27, 64, 3), ("ISO402",), ("fc",), loss="cross_entropy",
    ),
    Case(
        "makemore: loss 27 against 3.3",
        "https://github.com/karpathy/nn-zero-to-hero/blob/master/lectures/makemore/makemore_part3_bn.ipynb",
        CharMLP, ids(27, 64, 3), ("ISO701",), ("out",), loss="cross_entropy",
    ),
    Case(
        "LoRA, A and B zero", "https://github.com/Guitaricet/relora/issues/18",
        lambda: LoRA(zero_a=True), noise(32, 32), ("ISO103",), ("a, b",),
        mend=pasted, why="zeros are kept by initialize, as B's is meant: the line overrides A",
    ),
    Case(
        "attention without skips", "https://arxiv.org/abs/2103.03404 (Dong et al. 2021)",
        lambda: AttentionOnly(skips=False), noise(32, 16, 64), ("ISO502",), ("*layers.*",),
        EITHER, mend=rebuilt(lambda: AttentionOnly(skips=True)),
        why="an average over tokens makes them one whatever the law: residual connections",
    ),
    Case(
        "batched experts", "https://github.com/hpcaitech/ColossalAI/pull/251",
        experts, noise(64, 32), ("ISO602",), ("1",), EITHER,
    ),
    Case(
        "x @ w, initialised as w @ x", "https://github.com/pytorch/pytorch/issues/129834",
        transposed, noise(64, 4096), ("ISO602", "ISO7"), ("0",), EITHER,
        loss="cross_entropy",
    ),
    Case(
        "values at 100 sigma", "https://github.com/pytorch/torchtitan/issues/2269",
        outlying, ids(100, 32, 12), ("ISO603",), ("h.[012].fc.weight*",), EITHER,
        loss="cross_entropy",
    ),
    Case(
        "an adapter that float16 rounds away", "https://github.com/kohya-ss/sd-scripts/issues/93",
        lambda: faint_lora().half(), lambda: noise(32, 32)().half(), ("ISO805",), ("b",), EITHER,
        mend=rebuilt(faint_lora, Tensor.float),
        why="float16 has no such values: an adapter is kept in float32",
    ),
)  # fmt: skip
