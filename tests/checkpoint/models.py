"""Small models of every kind that a checkpoint meets: tied, normalised, with experts, with buffers."""

from __future__ import annotations

from collections.abc import Callable

import torch
import transformers as hf
from torch import Tensor, nn

from isometry.torch.meta import meta

hf.logging.set_verbosity_error()

SIZE = {
    "num_hidden_layers": 2, "hidden_size": 64, "num_attention_heads": 4, "num_key_value_heads": 2,
    "intermediate_size": 96, "vocab_size": 101, "max_position_embeddings": 32,
}  # fmt: skip


def gpt2() -> nn.Module:
    return hf.GPT2LMHeadModel(
        hf.GPT2Config(
            n_layer=2, n_embd=64, n_head=4, vocab_size=101, n_positions=32, bos_token_id=1,
            eos_token_id=2, loss_type="ForCausalLM",
        )
    )  # fmt: skip


def llama() -> nn.Module:
    return hf.LlamaForCausalLM(hf.LlamaConfig(**SIZE))


def mixtral() -> nn.Module:
    return hf.MixtralForCausalLM(hf.MixtralConfig(num_local_experts=4, **SIZE))


class Block(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(x + self.bn2(self.conv2(torch.relu(self.bn1(self.conv1(x))))))


class ResNet(nn.Module):
    """Running statistics, an integer counter in every norm, a table that is in no state dict."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 13, 3, padding=1)
        self.blocks = nn.Sequential(Block(13), Block(13))
        self.head = nn.Linear(13, 7)
        self.register_buffer("mean", torch.tensor([0.485, 0.456, 0.406]).view(1, 3, 1, 1))
        self.register_buffer("scratch", torch.zeros(5), persistent=False)
        self.register_buffer("flags", torch.tensor([True, False, True]))

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.blocks(torch.relu(self.stem(x - self.mean))).mean((2, 3)))


def resnet() -> nn.Module:
    return ResNet()


MODELS: dict[str, Callable[[], nn.Module]] = {
    "gpt2": gpt2, "llama": llama, "mixtral": mixtral, "resnet": resnet,
}  # fmt: skip
INPUTS = {"resnet": (torch.zeros(2, 3, 8, 8),)}


def weightless(make: Callable[[], nn.Module]) -> nn.Module:
    """The model on meta."""
    with meta():
        return make()
