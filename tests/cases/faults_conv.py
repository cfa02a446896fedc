"""Faults reported for convolutional networks: the wrong std, the wrong fan, all the same."""

from __future__ import annotations

from functools import partial

from torch import nn

from ..checker.networks import ResNet, conv_chain, he, initialised
from .case import EITHER, Case, noise, positive, rebuilt
from .faults_dense import constant, normal, uniform

__all__ = ["CONV", "discriminator", "lenet", "separable"]


def lenet(width: int = 32) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(1, width, 5, padding=2), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(width, 2 * width, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
        nn.Flatten(), nn.Linear(2 * width * 49, 128), nn.ReLU(), nn.Linear(128, 10),
    )  # fmt: skip


def conv_then_dense() -> nn.Sequential:
    dense = [m for i in range(16) for m in (nn.Linear(1600 if i == 0 else 64, 64), nn.ReLU())]
    return nn.Sequential(
        nn.Conv2d(1, 32, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(32, 64, 3), nn.ReLU(),
        nn.MaxPool2d(2), nn.Flatten(), *dense, nn.Linear(64, 10),
    )  # fmt: skip


def vgg_of_keras() -> nn.Sequential:
    """Widths as reported; images of 16 pixels a side for 32."""
    layers: list[nn.Module] = []
    for n_in, n_out in ((3, 128), (128, 128), (128, 256), (256, 256), (256, 512)):
        layers += [nn.Conv2d(n_in, n_out, 3, padding=1), nn.ReLU()]
        layers += [nn.MaxPool2d(2)] if n_in == n_out or n_out == 512 else []
    return nn.Sequential(
        *layers, nn.Flatten(), nn.Linear(2048, 4096), nn.ReLU(), nn.Linear(4096, 10)
    )


def discriminator(norm: bool = False) -> nn.Sequential:
    """Strided convolutions under a leaky ReLU, as GANs have them."""
    layers: list[nn.Module] = []
    for i, (n_in, n_out) in enumerate(((3, 64), (64, 128), (128, 256), (256, 512))):
        layers.append(nn.Conv2d(n_in, n_out, 4, 2, 1))
        layers += [nn.BatchNorm2d(n_out)] if norm and i else []
        layers.append(nn.LeakyReLU(0.2))
    return nn.Sequential(*layers, nn.Conv2d(512, 1, 2))


def separable(norm: bool, width: int = 64, depth: int = 6) -> nn.Sequential:
    """MobileNet's blocks, He's law by torch's fan_out, which forgets the groups."""
    layers: list[nn.Module] = [nn.Conv2d(3, width, 3, padding=1, bias=not norm)]
    layers += [nn.BatchNorm2d(width)] if norm else []
    layers.append(nn.ReLU())
    for _ in range(depth):
        for groups, size in ((width, 3), (1, 1)):
            conv = nn.Conv2d(width, width, size, padding=size // 2, groups=groups, bias=not norm)
            layers += [conv, *([nn.BatchNorm2d(width)] if norm else []), nn.ReLU()]
    net = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(width, 10))
    for m in net:
        if isinstance(m, nn.Conv2d):
            nn.init.kaiming_normal_(m.weight, mode="fan_out", nonlinearity="relu")
            if m.bias is not None:
                nn.init.zeros_(m.bias)
    return net


def generator() -> nn.Sequential:
    """Transposed convolutions that do not overlap: fan_in is the channels read. torch, as Lasagne
    did, reads the number of channels written off (in, out, k, k), and multiplies by the kernel."""
    layers: list[nn.Module] = []
    for n_in, n_out in ((1, 4), (4, 16), (16, 64), (64, 256)):
        layer = nn.ConvTranspose2d(n_in, n_out, 2, 2)
        nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
        nn.init.zeros_(layer.bias)
        layers += [layer, nn.ReLU()]
    return nn.Sequential(*layers, nn.Conv2d(256, 3, 1))


def planted(value: float) -> nn.Module:
    """Layers of one value, as TheDeepChecker plants it."""
    return initialised(lenet(), constant(val=value))


CONV = (
    Case(
        "constant weights", "https://arxiv.org/abs/2204.00694 (TheDeepChecker)",
        lambda: planted(0.01), positive(32, 1, 28, 28), ("ISO101", "ISO104"), ("0.weight … 7.weight",),
        loss="cross_entropy",
    ),
    Case(
        "MNIST, sixteen dense layers, U(±.05)", "https://github.com/shiningrain/AUTOTRAINER",
        lambda: initialised(conv_then_dense(), uniform(a=-0.05, b=0.05)),
        positive(32, 1, 28, 28), ("ISO201",), ("0 … 39",),
    ),
    Case(
        "CIFAR-10, N(0, .05)", "https://github.com/keras-team/keras/issues/3752",
        lambda: initialised(vgg_of_keras(), normal(std=0.05)), noise(32, 3, 16, 16),
        ("ISO2", "ISO7"), ("2 … 16", "16"), EITHER, loss="cross_entropy",
    ),
    Case(
        "twenty convolutions, N(0, .1)",
        "https://www.moderndescartes.com/essays/initializing_weights_DCNN/",
        lambda: initialised(conv_chain(64, 20), normal(std=0.1)), noise(8, 3, 8, 8),
        ("ISO202",), ("* … 38",),
    ),
    Case(
        "truncated normal of std 1", "https://joshvarty.com/2018/02/19/ltfn-6-weight-initialization/",
        lambda: initialised(lenet(), partial(nn.init.trunc_normal_, std=1.0)),
        positive(32, 1, 28, 28), ("ISO202",), ("0 … *",), loss="cross_entropy",
    ),
    Case(
        "a GAN with gain .2 for .02", "https://github.com/sophiajw/HistAuGAN/pull/4",
        lambda: initialised(discriminator(), normal(std=0.2)), noise(32, 3, 32, 32),
        ("ISO202",), ("0 … 8",),
    ),
    Case(
        "depthwise convolutions, fan_out of all groups",
        "https://github.com/pytorch/pytorch/issues/23854",
        lambda: separable(norm=False), noise(32, 3, 16, 16), ("ISO602",),
        ("2 … 22", "0 … *"), EITHER,
    ),
    Case(
        "transposed convolutions, fans swapped", "https://github.com/Lasagne/Lasagne/issues/858",
        generator, noise(32, 1, 4, 4), ("ISO602",),
        ("0 … 6", "2 … 6"), EITHER,  # the 16 values of layer 0 hardly tell their std
    ),
    Case(
        "VGG under Glorot's law", "https://github.com/apache/mxnet/issues/9866",
        lambda: initialised(conv_chain(32, 16), nn.init.xavier_normal_), noise(32, 3, 8, 8),
        ("ISO201", "ISO601"), ("0 … 30",), EITHER, loss="cross_entropy",
    ),
    Case(
        "batch norm a hundred times, no way round",
        "https://arxiv.org/abs/1902.08129 (Yang et al. 2019)",
        lambda: he(conv_chain(16, 100, norm=True)), noise(32, 3, 8, 8), ("ISO302",), ("0 … 297",),
        mend=rebuilt(lambda: ResNet(zero=True, blocks=50)),
        why="batch normalisation undoes any scale: residual connections",
    ),
)  # fmt: skip
