"""Small networks whose dimensions do not divide: what is sharded here."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import (
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
    MixtralConfig,
    MixtralForCausalLM,
)

WIDTH, HIDDEN, HEADS, GROUPS, LAYERS, VOCABULARY = 36, 50, 6, 2, 2, 97


class Attention(nn.Module):
    """Grouped queries, as Llama has them; the local heads under tensor parallelism."""

    def __init__(self) -> None:
        super().__init__()
        size = WIDTH // HEADS
        self.wq = nn.Linear(WIDTH, HEADS * size, bias=False)
        self.wk = nn.Linear(WIDTH, GROUPS * size, bias=False)
        self.wv = nn.Linear(WIDTH, GROUPS * size, bias=False)
        self.wo = nn.Linear(HEADS * size, WIDTH, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = (
            w(x).unflatten(-1, (-1, WIDTH // HEADS)).transpose(1, 2)
            for w in (self.wq, self.wk, self.wv)
        )
        k, v = (t.repeat_interleave(HEADS // GROUPS, dim=1) for t in (k, v))
        y = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        return self.wo(y.transpose(1, 2).flatten(2))


class FeedForward(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.w1 = nn.Linear(WIDTH, HIDDEN, bias=False)
        self.w2 = nn.Linear(HIDDEN, WIDTH, bias=False)
        self.w3 = nn.Linear(WIDTH, HIDDEN, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.w2(F.silu(self.w1(x)) * self.w3(x))


class Experts(nn.Module):
    """A mixture of feed-forwards, of which a rank may hold some: `own` says which."""

    def __init__(self, own: Iterable[int] = range(4), among: int = 4) -> None:
        super().__init__()
        self.router = nn.Linear(WIDTH, among, bias=False)
        self.experts = nn.ModuleDict({str(i): FeedForward() for i in own})

    def forward(self, x: Tensor) -> Tensor:
        weight = self.router(x).softmax(-1)
        return sum(weight[..., int(i), None] * e(x) for i, e in self.experts.items())  # type: ignore[return-value]


class Block(nn.Module):
    def __init__(self, feed_forward: nn.Module) -> None:
        super().__init__()
        self.attention = Attention()
        self.feed_forward = feed_forward
        self.attention_norm = nn.RMSNorm(WIDTH)
        self.ffn_norm = nn.RMSNorm(WIDTH)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attention(self.attention_norm(x))
        return x + self.feed_forward(self.ffn_norm(x))


class Decoder(nn.Module):
    """A language model as torchtitan writes it: whatever is None is left out of a stage."""

    def __init__(self, feed_forward: Callable[[], nn.Module] = FeedForward) -> None:
        super().__init__()
        self.tok_embeddings = nn.Embedding(VOCABULARY, WIDTH)
        self.layers = nn.ModuleDict({str(i): Block(feed_forward()) for i in range(LAYERS)})
        self.norm = nn.RMSNorm(WIDTH)
        self.output = nn.Linear(WIDTH, VOCABULARY, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        x = self.tok_embeddings(x) if self.tok_embeddings is not None else x
        for layer in self.layers.values():
            x = layer(x)
        return x if self.output is None else self.output(self.norm(x))


class Scaled(FeedForward):
    """A branch whose author set values on purpose: a small scale, rates of decay, a zeroed end."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.full((WIDTH,), 1e-4))
        self.rate = nn.Parameter(torch.arange(1.0, HIDDEN + 1).log())
        nn.init.zeros_(self.w2.weight)

    def forward(self, x: Tensor) -> Tensor:
        decayed = F.silu(self.w1(x)) * torch.exp(-torch.exp(self.rate) / HIDDEN)
        return self.scale * self.w2(decayed * self.w3(x))


class Thin(nn.Module):
    """A branch whose zeroed end has three rows: of four ranks the last has nothing of it."""

    def __init__(self) -> None:
        super().__init__()
        self.w1 = nn.Linear(3, HIDDEN)
        self.w2 = nn.Linear(HIDDEN, 3)
        self.head = nn.Linear(3, 5)
        nn.init.zeros_(self.w2.weight)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(x + self.w2(F.silu(self.w1(x))))


class Residual(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu(self.bn1(self.conv1(x)))
        return F.relu(x + self.bn2(self.conv2(y)))


class ResNet(nn.Module):
    """Convolutions and batch normalisation; three rows, fewer than four ranks, in the first."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 3, 3, padding=1, bias=False)
        self.bn = nn.BatchNorm2d(3)
        self.wide = nn.Conv2d(3, 10, 3, stride=2, bias=True)
        self.blocks = nn.Sequential(Residual(10), Residual(10))
        self.head = nn.Linear(10, 7)

    def forward(self, x: Tensor) -> Tensor:
        x = self.wide(F.relu(self.bn(self.stem(x))))
        return self.head(self.blocks(x).mean((2, 3)))


@dataclass(frozen=True)
class Network:
    """How it is built, what it takes, and which of its modules are sharded as one."""

    build: Callable[[], Any]
    inputs: Callable[[], Any]
    blocks: Callable[[Any], Iterable[nn.Module]]


def ids() -> Tensor:
    return torch.arange(32).reshape(4, 8) * 3


def gpt2() -> nn.Module:
    config = GPT2Config(
        n_embd=WIDTH, n_layer=LAYERS, n_head=HEADS, n_inner=HIDDEN, vocab_size=VOCABULARY,
        n_positions=24, bos_token_id=0, eos_token_id=0, attn_implementation="eager",
    )  # fmt: skip
    return GPT2LMHeadModel(config)


LLAMA = {
    "hidden_size": WIDTH, "intermediate_size": HIDDEN, "num_hidden_layers": LAYERS,
    "num_attention_heads": HEADS, "num_key_value_heads": GROUPS, "vocab_size": VOCABULARY,
    "max_position_embeddings": 24, "bos_token_id": 0, "eos_token_id": 0,
    "attn_implementation": "eager",
}  # fmt: skip

NETWORKS = {
    "gpt2": Network(gpt2, lambda: {"input_ids": ids()}, lambda m: m.transformer.h),
    "llama": Network(
        lambda: LlamaForCausalLM(LlamaConfig(**LLAMA)),
        lambda: {"input_ids": ids()},
        lambda m: m.model.layers,
    ),
    "tied llama": Network(
        lambda: LlamaForCausalLM(LlamaConfig(**LLAMA, tie_word_embeddings=True)),
        lambda: {"input_ids": ids()},
        lambda m: m.model.layers,
    ),
    "mixtral": Network(
        lambda: MixtralForCausalLM(
            MixtralConfig(
                **LLAMA, num_local_experts=3, num_experts_per_tok=2, experts_implementation="eager"
            )
        ),
        lambda: {"input_ids": ids()},
        lambda m: m.model.layers,
    ),
    "resnet": Network(
        ResNet, lambda: torch.arange(4 * 3 * 81.0).reshape(4, 3, 9, 9).sin(), lambda m: m.blocks
    ),
    "decoder": Network(Decoder, ids, lambda m: m.layers.values()),
    "mixture": Network(lambda: Decoder(Experts), ids, lambda m: m.layers.values()),
    "thin": Network(Thin, lambda: torch.ones(4, 3), lambda m: [m.w1]),
    "scaled": Network(lambda: Decoder(Scaled), ids, lambda m: m.layers.values()),
}
