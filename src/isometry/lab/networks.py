"""Plain deep networks: no normalisation, no skip connection, any of eleven activations.

Nothing in them holds a signal's size but the weights, so that training shows the initialisation.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import nn

__all__ = ["ACTIVATIONS", "activation", "cnn", "mlp"]

# As `iso.gain` names them -> the class in torch.nn.
ACTIVATIONS = {
    "relu": "ReLU", "leaky_relu": "LeakyReLU", "gelu": "GELU", "silu": "SiLU", "mish": "Mish",
    "elu": "ELU", "selu": "SELU", "softplus": "Softplus", "sigmoid": "Sigmoid", "tanh": "Tanh",
    "hardswish": "Hardswish",
}  # fmt: skip


def activation(name: str) -> Callable[[], nn.Module]:
    """The class of torch.nn for one of `ACTIVATIONS`."""
    from torch import nn

    made: Callable[[], nn.Module] = getattr(nn, ACTIVATIONS[name])
    return made


def mlp(widths: Sequence[int], name: str, classes: int = 10) -> nn.Sequential:
    """Linear layers from one width to the next, an activation after each, then the head.

    Args:
        widths: the input's, then that of each hidden layer.
        name: of the activation.
        classes: how many logits the head makes.

    Example:
        >>> len(mlp([64, 100, 100], "gelu"))  # two hidden layers, and the head
        5
    """
    from torch import nn

    phi = activation(name)
    hidden = [m for a, b in pairwise(widths) for m in (nn.Linear(a, b), phi())]
    return nn.Sequential(*hidden, nn.Linear(widths[-1], classes))


def cnn(
    depth: int, name: str, channels: int = 16, side: int = 8, classes: int = 10
) -> nn.Sequential:
    """`depth` convolutions of 3 x 3 with zero padding, an activation after each, then the head.

    Images keep their size throughout, and the head reads all their pixels: what a delta-orthogonal
    kernel leaves in its place can be told from what lies beside it.

    Args:
        depth: how many convolutions.
        name: of the activation.
        channels: of every layer; the images have one.
        side: height and width of the images.
        classes: how many logits the head makes.

    Example:
        >>> len(cnn(10, "relu"))  # ten convolutions and ReLUs, a flattening, the head
        22
    """
    from torch import nn

    phi = activation(name)
    hidden = [
        module
        for a, b in pairwise([1, *[channels] * depth])
        for module in (nn.Conv2d(a, b, 3, padding=1), phi())
    ]
    return nn.Sequential(*hidden, nn.Flatten(), nn.Linear(channels * side * side, classes))
