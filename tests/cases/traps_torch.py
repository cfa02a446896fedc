"""What torch, torchvision and their users do: parametrisations, norms, odd laws, odd inputs."""

from __future__ import annotations

import math
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils import parametrizations, prune

from ..checker.networks import he, initialised, mlp
from ..torch.zoo import ZOO as PLANNED
from .case import Draw, Trap, both, ids, noise, positive
from .faults_conv import discriminator, separable
from .faults_source import Detector, rare

__all__ = ["TORCH"]

COPIES = "copies of one layer, by copy.deepcopy: alike at the start, not for ever"


class Attends(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.attention, self.head = nn.MultiheadAttention(32, 4, batch_first=True), nn.Linear(32, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(x + self.attention(x, x, x, need_weights=False)[0])


class Experts(nn.Module):
    """Top-1 of experts, some of which no sample reaches."""

    def __init__(self) -> None:
        super().__init__()
        self.router, self.head = nn.Linear(16, 8), nn.Linear(16, 4)
        self.experts = nn.ModuleList(mlp([16, 32, 16]) for _ in range(8))
        with torch.no_grad():
            self.router.bias[:4] = -100.0

    def forward(self, x: Tensor) -> Tensor:
        chosen = self.router(x).argmax(-1)
        out = torch.zeros_like(x)
        for i, expert in enumerate(self.experts):
            if bool((chosen == i).any()):
                out = out.index_add(0, (chosen == i).nonzero()[:, 0], expert(x[chosen == i]))
        return self.head(x + out)


class Inverted(nn.Module):
    """MobileNetV2's block; torchvision draws it by He's law with torch's fan_out."""

    def __init__(self, width: int, expand: int) -> None:
        super().__init__()
        hidden = width * expand
        self.net = nn.Sequential(
            nn.Conv2d(width, hidden, 1, bias=False), nn.BatchNorm2d(hidden), nn.ReLU6(),
            nn.Conv2d(hidden, hidden, 3, padding=1, groups=hidden, bias=False),
            nn.BatchNorm2d(hidden), nn.ReLU6(),
            nn.Conv2d(hidden, width, 1, bias=False), nn.BatchNorm2d(width),
        )  # fmt: skip

    def forward(self, x: Tensor) -> Tensor:
        return x + self.net(x)


def mobilenet() -> nn.Module:
    net = nn.Sequential(
        nn.Conv2d(3, 16, 3, 2, 1, bias=False), nn.BatchNorm2d(16), nn.ReLU6(),
        *(Inverted(16, 6) for _ in range(3)), nn.AdaptiveAvgPool2d(1), nn.Flatten(),
        nn.Dropout(0.2), nn.Linear(16, 10),
    )  # fmt: skip
    for m in net.modules():
        if isinstance(m, nn.Conv2d):
            nn.init.kaiming_normal_(m.weight, mode="fan_out")
    nn.init.normal_(net[-1].weight, std=0.01)
    nn.init.zeros_(net[-1].bias)
    return net


def dcgan(model: nn.Module) -> nn.Module:
    """N(0, .02) for convolutions and N(1, .02) for the gains of norms."""
    for m in model.modules():
        if isinstance(m, nn.Conv2d | nn.ConvTranspose2d):
            nn.init.normal_(m.weight, std=0.02)
        elif isinstance(m, nn.BatchNorm2d):
            nn.init.normal_(m.weight, 1.0, 0.02)
    return model


def dcgan_generator() -> nn.Module:
    layers: list[nn.Module] = []
    for i, (n_in, n_out) in enumerate(((64, 128), (128, 64), (64, 32))):
        stride, pad = (2, 1) if i else (1, 0)
        layers.append(nn.ConvTranspose2d(n_in, n_out, 4, stride, pad, bias=False))
        layers += [nn.BatchNorm2d(n_out), nn.ReLU()]
    return dcgan(nn.Sequential(*layers, nn.ConvTranspose2d(32, 3, 4, 2, 1, bias=False), nn.Tanh()))


def parametrised() -> nn.Module:
    first = parametrizations.weight_norm(nn.Linear(16, 64))
    second = parametrizations.spectral_norm(nn.Linear(64, 64))
    third = parametrizations.orthogonal(nn.Linear(64, 64))
    return nn.Sequential(first, nn.ReLU(), second, nn.ReLU(), third, nn.ReLU(), nn.Linear(64, 4))


def frozen() -> nn.Module:
    """A backbone that is not trained under a head that is."""
    net = he(mlp([16, 64, 64, 64, 4]))
    for layer in net[:-1]:  # type: ignore[index]
        layer.requires_grad_(False)
    return net


def identity() -> nn.Module:
    """IRNN's and ZerO's way: square layers that start as the identity."""
    return nn.Sequential(
        nn.Linear(16, 64), nn.ReLU(), initialised(nn.Linear(64, 64), nn.init.eye_), nn.ReLU(),
        initialised(nn.Linear(64, 64), nn.init.eye_), nn.ReLU(), nn.Linear(64, 4),
    )  # fmt: skip


def dirac() -> nn.Module:
    middle = [
        m
        for _ in range(3)
        for m in (initialised(nn.Conv2d(16, 16, 3, padding=1), nn.init.dirac_), nn.ReLU())
    ]
    return nn.Sequential(
        nn.Conv2d(3, 16, 3, padding=1), nn.ReLU(), *middle, nn.AdaptiveAvgPool2d(1), nn.Flatten(),
        nn.Linear(16, 10),
    )  # fmt: skip


def sparse() -> nn.Module:
    net = initialised(mlp([64, 128, 128]), partial(nn.init.sparse_, sparsity=0.8, std=0.25))
    return nn.Sequential(net, nn.ReLU(), nn.Linear(128, 4))


def cast(draw: Draw, dtype: torch.dtype) -> Draw:
    return lambda: draw().to(dtype)


def pruned() -> nn.Module:
    net = he(mlp([16, 64, 64, 4]))
    prune.random_unstructured(net[2], "weight", 0.5)
    return net


def forget() -> nn.Module:
    """An LSTM of Keras: orthogonal, and 1 in the forget gate's part of one bias."""
    rnn = nn.LSTM(16, 32, batch_first=True)
    nn.init.xavier_uniform_(rnn.weight_ih_l0)
    for block in rnn.weight_hh_l0.chunk(4):
        nn.init.orthogonal_(block)
    nn.init.zeros_(rnn.bias_ih_l0)
    nn.init.zeros_(rnn.bias_hh_l0)
    with torch.no_grad():
        rnn.bias_ih_l0[32:64] = 1.0
    return rnn


class RandomFeatures(nn.Module):
    """Random cosines that are not trained under a linear layer that is."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("directions", torch.randn(16, 256) / 4)
        self.register_buffer("phases", 2 * math.pi * torch.rand(256))
        self.head = nn.Linear(256, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(2**0.5 * torch.cos(x @ self.directions + self.phases))


def one_hot() -> Tensor:
    return F.one_hot(ids(100, 64)(), 100).float()


def encoder_layer(**more: Any) -> nn.TransformerEncoderLayer:
    return nn.TransformerEncoderLayer(32, 4, 64, batch_first=True, **more)


IMAGES = noise(32, 3, 16, 16)
SEQUENCE = noise(16, 6, 32)

TORCH = (
    Trap("nn.MultiheadAttention", "torch.nn", Attends, SEQUENCE),
    Trap("nn.TransformerEncoderLayer", "torch.nn", encoder_layer, SEQUENCE),
    Trap("nn.TransformerEncoderLayer, norm first", "torch.nn",
         lambda: encoder_layer(norm_first=True), SEQUENCE),
    Trap("nn.TransformerEncoder", "torch.nn", lambda: nn.TransformerEncoder(encoder_layer(), 3),
         SEQUENCE, warns={"ISO102": COPIES}),
    Trap("nn.Transformer, Glorot", "torch.nn",
         lambda: nn.Transformer(32, 4, 2, 2, 64, batch_first=True),
         both(SEQUENCE, noise(16, 5, 32))),
    *(Trap(f"{name}, as torch makes it", "torch.nn", row.make, row.inputs)
      for name, row in PLANNED.items() if name.startswith("nn.") and name != "nn.Transformer"),
    Trap("weight, spectral and orthogonal norm", "torch.nn.utils.parametrizations",
         parametrised, noise(64, 16)),
    Trap("pruned by a mask", "torch.nn.utils.prune",
         pruned, noise(64, 16)),
    Trap("a frozen backbone", "every fine-tuning", frozen, noise(64, 16)),
    Trap("unused experts", "https://arxiv.org/abs/2101.03961", Experts, noise(64, 16)),
    Trap("dropout", "https://jmlr.org/papers/v15/srivastava14a.html",
         lambda: nn.Sequential(nn.Dropout(0.2), mlp([64, 128]), nn.ReLU(), nn.Dropout(0.5),
                               mlp([128, 128]), nn.ReLU(), nn.Dropout(0.5), nn.Linear(128, 10)),
         noise(64, 64), "cross_entropy"),
    Trap("MobileNetV2", "torchvision", mobilenet, IMAGES, "cross_entropy"),
    Trap("depthwise convolutions, torch's fan_out, batch norm",
         "https://github.com/pytorch/pytorch/issues/23854", lambda: separable(norm=True), IMAGES,
         "cross_entropy"),
    Trap("DCGAN's generator", "https://arxiv.org/abs/1511.06434", dcgan_generator,
         noise(32, 64, 1, 1)),
    Trap("DCGAN's discriminator", "https://arxiv.org/abs/1511.06434",
         lambda: dcgan(discriminator(norm=True)), noise(32, 3, 32, 32), "bce_with_logits"),
    Trap("a detection head with its prior", "https://arxiv.org/abs/1708.02002",
         lambda: Detector(prior=0.01), noise(8, 32, 16, 16), "bce_with_logits", target=rare),
    Trap("identity layers", "https://arxiv.org/abs/1504.00941, https://arxiv.org/abs/2110.12661",
         identity, noise(64, 16)),
    Trap("Dirac kernels", "https://arxiv.org/abs/1706.00388", dirac, IMAGES),
    Trap("sparse initialisation", "Martens 2010, nn.init.sparse_", sparse, noise(64, 64)),
    Trap("one-hot inputs", "every tutorial", lambda: mlp([100, 64, 10]), one_hot, "cross_entropy"),
    Trap("a batch of two", "every debugger", lambda: mlp([64, 128, 128, 10]), noise(2, 64),
         "cross_entropy"),
    Trap("a batch of one", "every debugger", lambda: mlp([64, 128, 128, 10]), noise(1, 64),
         "cross_entropy"),
    Trap("inputs of zeros", "every smoke test", lambda: mlp([64, 128, 128, 10]),
         lambda: torch.zeros(32, 64)),
    Trap("equal samples", "every smoke test", lambda: mlp([64, 128, 128, 10]),
         lambda: torch.ones(32, 64)),
    Trap("bfloat16", "torch", lambda: he(mlp([64, *[128] * 6, 10])).bfloat16(),
         cast(noise(64, 64), torch.bfloat16)),
    Trap("float16", "torch", lambda: he(mlp([64, *[128] * 6, 10])).half(),
         cast(noise(64, 64), torch.float16)),
    Trap("in evaluation mode", "every user", lambda: separable(norm=True, depth=2).eval(), IMAGES),
    Trap("group norm", "https://arxiv.org/abs/1803.08494",
         lambda: nn.Sequential(nn.Conv2d(3, 16, 3), nn.GroupNorm(4, 16), nn.ReLU(),
                               nn.Conv2d(16, 16, 3), nn.GroupNorm(4, 16), nn.ReLU(),
                               nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(16, 10)), IMAGES),
    Trap("a softmax before the loss's own", "Keras' habit",
         lambda: nn.Sequential(mlp([64, 128, 10]), nn.Softmax(-1)), noise(64, 64)),
    Trap("a forget gate's bias of 1", "https://proceedings.mlr.press/v37/jozefowicz15.html",
         forget, noise(32, 12, 16)),
    Trap("built anew for every seed", "iso.check(build=)", lambda: he(mlp([16, 64, 64, 4])),
         noise(64, 16), factory=True),
    Trap("random features that are not trained", "Rahimi & Recht 2007",
         RandomFeatures, noise(64, 16)),
    Trap("embeddings in a bag", "torch.nn.EmbeddingBag",
         lambda: nn.Sequential(nn.EmbeddingBag(50, 32), mlp([32, 64, 4])), ids(50, 32, 12),
         "cross_entropy"),
    Trap("pixels and batch norm first", "torchvision",
         lambda: nn.Sequential(nn.Flatten(), nn.BatchNorm1d(784), mlp([784, 128, 10])),
         lambda: 255 * positive(64, 1, 28, 28)(), "cross_entropy"),
)  # fmt: skip
