"""What the experiments train: plain networks on scikit-learn's digits, by stochastic gradients."""

from __future__ import annotations

import math
import statistics
from functools import cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor, nn

__all__ = ["CLASSES", "LN_C", "MOST", "PIXELS", "accuracy", "digits", "held_out", "smooth", "train"]

PIXELS, CLASSES = 64, 10
LN_C = math.log(CLASSES)  # the loss of a network that knows nothing
MOST = 1e3  # what a larger loss counts as, and one that is no number


@cache
def digits() -> tuple[Tensor, Tensor]:
    """1,797 images of 8 x 8 pixels, flattened, each pixel of mean 0 and all of second moment 1."""
    import torch
    from sklearn.datasets import load_digits  # type: ignore[import-untyped]

    data = load_digits()
    x = torch.tensor(data.data, dtype=torch.float32)
    x = x - x.mean(0)
    return x / x.square().mean().sqrt(), torch.tensor(data.target)


def held_out() -> tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]]:
    """The digits in two: every fifth image is kept for testing."""
    import torch

    x, y = digits()
    test = torch.arange(len(x)) % 5 == 4
    return (x[~test], y[~test]), (x[test], y[test])


def accuracy(net: nn.Module, x: Tensor, y: Tensor) -> float:
    """The share of the images that are read rightly."""
    import torch

    with torch.no_grad():
        return float((net(x).argmax(1) == y).double().mean())


def train(
    net: nn.Module,
    x: Tensor,
    y: Tensor,
    *,
    steps: int,
    rate: float,
    seed: int,
    batch: int = 64,
    momentum: float = 0.9,
) -> list[float]:
    """Train in place by SGD; the same seed gives the same batches. Returns each step's loss."""
    import torch
    from torch.nn import functional as F

    optimiser = torch.optim.SGD(net.parameters(), lr=rate, momentum=momentum, foreach=True)
    order = torch.Generator().manual_seed(seed)
    losses = []
    for _ in range(steps):
        chosen = torch.randint(len(x), (batch,), generator=order)
        loss = F.cross_entropy(net(x[chosen]), y[chosen])
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
        if not math.isfinite(losses[-1]):  # nothing brings it back
            return losses + losses[-1:] * (steps - len(losses))
    return losses


def smooth(losses: list[float], window: int = 20) -> list[float]:
    """The mean of each window of steps: single batches are noisy. No loss counts more than MOST."""
    kept = [loss if loss < MOST else MOST for loss in losses]
    return [
        statistics.fmean(kept[at : at + window]) for at in range(0, len(kept) - window + 1, window)
    ]
