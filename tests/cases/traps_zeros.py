"""Zero, tiny or constant on purpose: what authors start closed and training opens."""

from __future__ import annotations

import math
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..checker.networks import DiT, LoRA, NonLocal, ResNet, he, initialised, mlp
from .case import Trap, both, ids, noise, positive

__all__ = ["ZEROS"]

zero = nn.init.zeros_


class ViT(nn.Module):
    """A zero class token, positions of std 1e-6, a zero head; LayerScale or ReZero in the blocks."""

    def __init__(self, scale: float) -> None:
        super().__init__()
        self.patch, self.cls = nn.Conv2d(3, 32, 4, 4), nn.Parameter(torch.zeros(1, 1, 32))
        self.positions = nn.Parameter(1e-6 * torch.randn(1, 17, 32))
        self.norms = nn.ModuleList(nn.LayerNorm(32) for _ in range(4))
        self.fc = nn.ModuleList(mlp([32, 64, 32], nn.GELU) for _ in range(4))
        self.scales = nn.ParameterList(torch.full((32,), scale) for _ in range(4))
        self.head = nn.Linear(32, 10)
        zero(self.head.weight)

    def forward(self, x: Tensor) -> Tensor:
        x = self.patch(x).flatten(2).transpose(1, 2)
        x = torch.cat([self.cls.expand(len(x), -1, -1), x], 1) + self.positions
        for norm, fc, scale in zip(self.norms, self.fc, self.scales, strict=True):
            x = x + scale * fc(norm(x))
        return self.head(x.mean(1))


class GatingUnit(nn.Module):
    """Spatial weights of 1e-6 and biases of 1 start the gate open."""

    def __init__(self) -> None:
        super().__init__()
        self.embed, self.up, self.norm = nn.Embedding(50, 16), nn.Linear(16, 64), nn.LayerNorm(32)
        self.space, self.down, self.head = nn.Linear(12, 12), nn.Linear(32, 16), nn.Linear(16, 4)
        nn.init.normal_(self.space.weight, std=1e-6)
        nn.init.ones_(self.space.bias)

    def forward(self, x: Tensor) -> Tensor:
        x = self.embed(x)
        u, v = F.gelu(self.up(x)).chunk(2, -1)
        v = self.space(self.norm(v).transpose(1, 2)).transpose(1, 2)
        return self.head((x + self.down(u * v)).mean(1))


class ControlNet(nn.Module):
    """A zero convolution before and after a trainable copy of a frozen layer."""

    def __init__(self) -> None:
        super().__init__()
        self.frozen, self.copy = nn.Conv2d(3, 8, 3, padding=1), nn.Conv2d(3, 8, 3, padding=1)
        self.before, self.after = nn.Conv2d(3, 3, 1), nn.Conv2d(8, 8, 1)
        self.frozen.requires_grad_(False)
        self.copy.load_state_dict(self.frozen.state_dict())
        for conv in (self.before, self.after):
            initialised(conv, zero)

    def forward(self, x: Tensor, hint: Tensor) -> Tensor:
        return self.frozen(x) + self.after(F.silu(self.copy(x + self.before(hint))))


class CrossAttention(nn.Module):
    """Mllama's layer: a tanh gate of 0 on the attention, another on the MLP after it."""

    def __init__(self) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(16, 4, kdim=12, vdim=12, batch_first=True)
        self.fc, self.head = mlp([16, 32, 16], nn.SiLU), nn.Linear(16, 4)
        self.gate_attention, self.gate_fc = (nn.Parameter(torch.zeros(1)) for _ in range(2))

    def forward(self, x: Tensor, image: Tensor) -> Tensor:
        x = x + torch.tanh(self.gate_attention) * self.attention(x, image, image)[0]
        return self.head(x + torch.tanh(self.gate_fc) * self.fc(x))


class Contrastive(nn.Module):
    """Two towers and a temperature that starts at log 10."""

    def __init__(self, bias: float | None = None) -> None:
        super().__init__()
        self.a, self.b = nn.Linear(16, 32), nn.Linear(12, 32)
        self.logit_scale = nn.Parameter(torch.tensor(math.log(10.0)))
        self.bias = None if bias is None else nn.Parameter(torch.tensor(bias))

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        a, b = F.normalize(self.a(x), dim=-1), F.normalize(self.b(y), dim=-1)
        logits = self.logit_scale.exp() * a @ b.T
        return logits if self.bias is None else logits + self.bias


class GlobalContext(nn.Module):
    """GCNet: a context added to all positions, the last layer of its transform zero."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.mask = nn.Conv2d(3, 16, 3, padding=1), nn.Conv2d(16, 1, 1)
        self.down, self.norm, self.up = nn.Linear(16, 4), nn.LayerNorm(4), nn.Linear(4, 16)
        self.head = nn.Linear(16, 10)
        initialised(self.up, zero)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.stem(x))
        weight = self.mask(x).flatten(2).softmax(-1)
        context = (x.flatten(2) * weight).sum(-1)
        context = self.up(F.relu(self.norm(self.down(context))))
        return self.head((x + context[..., None, None]).mean((2, 3)))


class Fixup(nn.Module):
    """Residual blocks without norms: scalar biases, the last layer of each block zero."""

    def __init__(self, blocks: int = 4) -> None:
        super().__init__()
        self.stem, self.head = nn.Linear(16, 64), nn.Linear(64, 4)
        self.first = nn.ModuleList(nn.Linear(64, 64, bias=False) for _ in range(blocks))
        self.last = nn.ModuleList(nn.Linear(64, 64, bias=False) for _ in range(blocks))
        self.biases = nn.Parameter(torch.zeros(blocks, 3))
        self.scales = nn.Parameter(torch.ones(blocks))
        for first, last in zip(self.first, self.last, strict=True):
            nn.init.normal_(first.weight, std=math.sqrt(2 / 64) * blocks**-0.5)
            zero(last.weight)
        initialised(self.head, zero)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        for i, (first, last) in enumerate(zip(self.first, self.last, strict=True)):
            h = F.relu(first(x + self.biases[i, 0]) + self.biases[i, 1])
            x = F.relu(x + self.scales[i] * last(h) + self.biases[i, 2])
        return self.head(x)


class Adapters(nn.Module):
    """peft's way: frozen projections, each with a LoRA of A drawn and B zero, and a new head."""

    def __init__(self, depth: int = 3) -> None:
        super().__init__()
        self.layers = nn.ModuleList(LoRA(zero_a=False) for _ in range(depth))
        for layer in self.layers:
            he(layer.base)  # type: ignore[arg-type]
        self.head = nn.Linear(32, 4)

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.layers:
            x = F.gelu(layer(x))
        return self.head(x)


class SmallBranches(nn.Module):
    """Residual branches that add next to nothing: a branch may, where a stream may not."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.head = nn.Linear(16, 64), nn.Linear(64, 4)
        self.branches = nn.ModuleList(
            initialised(mlp([64, 64, 64, 64, 64]), partial(nn.init.normal_, std=1e-3))
            for _ in range(3)
        )

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        for branch in self.branches:
            x = x + branch(x)
        return self.head(x)


class RelativeBias(nn.Module):
    """Attention with a zero table of relative positions and learned zero queries (Swin, MAE)."""

    def __init__(self) -> None:
        super().__init__()
        self.qkv, self.proj, self.head = nn.Linear(16, 48), nn.Linear(16, 16), nn.Linear(16, 4)
        self.table, self.mask = nn.Parameter(torch.zeros(23)), nn.Parameter(torch.zeros(16))
        place = torch.arange(12)
        self.register_buffer("index", place[:, None] - place + 11)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.cat([x[:, :6], self.mask.expand(len(x), 6, -1)], 1)
        q, k, v = self.qkv(x).chunk(3, -1)
        weight = (q @ k.transpose(1, 2) / 4 + self.table[self.index]).softmax(-1)
        return self.head((x + self.proj(weight @ v)).mean(1))


IMAGES, TOKENS = noise(32, 3, 16, 16), ids(50, 32, 12)
FIRST, SECOND = frozenset({1}), frozenset({1, 2})

ZEROS = (
    Trap("the last batch norm zero", "https://arxiv.org/abs/1706.02677, timm's zero_init_last",
         lambda: ResNet(zero=True), IMAGES, "cross_entropy", steps=FIRST),
    Trap("LayerScale 1e-6, zero head and token", "https://arxiv.org/abs/2103.17239, timm's ViT",
         lambda: ViT(1e-6), IMAGES, "cross_entropy", steps=FIRST),
    Trap("LayerScale 1e-4", "https://arxiv.org/abs/2103.17239",
         lambda: ViT(1e-4), IMAGES, "cross_entropy", steps=FIRST),
    Trap("ReZero, zero head", "https://arxiv.org/abs/2003.04887",
         lambda: ViT(0.0), IMAGES, steps=SECOND),
    Trap("adaLN-Zero and a zero last layer", "https://arxiv.org/abs/2212.09748 (DiT)",
         DiT, both(noise(32, 12), noise(32, 16)), steps=SECOND),
    Trap("zero convolutions", "https://arxiv.org/abs/2302.05543 (ControlNet)",
         ControlNet, both(IMAGES, IMAGES), steps=SECOND),
    Trap("non-local block", "https://arxiv.org/abs/1711.07971", NonLocal, noise(32, 3, 8, 8),
         steps=FIRST),
    Trap("global context", "https://arxiv.org/abs/1904.11492", GlobalContext, noise(32, 3, 8, 8),
         steps=FIRST),
    Trap("Fixup", "https://arxiv.org/abs/1901.09321", Fixup, noise(32, 16), "cross_entropy",
         steps=SECOND),
    Trap("LoRA, B zero", "https://arxiv.org/abs/2106.09685", lambda: LoRA(zero_a=False),
         noise(32, 32), steps=FIRST),
    Trap("LoRA in every layer, a new head", "https://github.com/huggingface/peft", Adapters,
         noise(32, 32), "cross_entropy", steps=FIRST),
    Trap("gMLP", "https://arxiv.org/abs/2105.08050", GatingUnit, TOKENS),
    Trap("tanh gates of 0", "https://arxiv.org/abs/2204.14198 (Flamingo), Mllama in transformers",
         CrossAttention, both(noise(32, 6, 16), noise(32, 5, 12)), steps=FIRST),
    Trap("a temperature of log 10", "https://arxiv.org/abs/2103.00020 (CLIP)", Contrastive,
         both(noise(32, 16), noise(32, 12))),
    Trap("a temperature and a bias of -10", "https://arxiv.org/abs/2303.15343 (SigLIP)",
         lambda: Contrastive(-10.0), both(noise(32, 16), noise(32, 12)), "bce_with_logits",
         target=lambda: torch.eye(32)),
    Trap("relative positions and mask tokens of zero", "Swin and MAE in transformers",
         RelativeBias, noise(32, 12, 16)),
    Trap("small residual branches", "https://arxiv.org/abs/2003.04887", SmallBranches,
         noise(64, 16)),
    Trap("logistic regression of zeros", "https://scikit-learn.org, TensorFlow's MNIST tutorial",
         lambda: initialised(nn.Linear(16, 4), zero), noise(64, 16), "cross_entropy",
         steps=FIRST),
    Trap("linear regression of zeros", "https://scikit-learn.org",
         lambda: initialised(nn.Linear(16, 1), zero), noise(64, 16), "mse", steps=FIRST),
    Trap("a zero head on an MLP", "timm's zero heads",
         lambda: nn.Sequential(mlp([16, 64, 64]), nn.ReLU(), initialised(nn.Linear(64, 4), zero)),
         noise(64, 16), "cross_entropy", steps=FIRST),
    Trap("a zero first layer under sigmoid",
         "https://stats.stackexchange.com/questions/316898",
         lambda: nn.Sequential(initialised(nn.Linear(784, 100), zero), nn.Sigmoid(),
                               nn.Linear(100, 10)),
         positive(64, 784),
         warns={"ISO203": "all samples get one answer until it moves, at the first step"}),
)  # fmt: skip
