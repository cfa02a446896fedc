"""Training one network from the same weights at several learning rates, and keeping the best."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from isometry.lab.learning import accuracy, train

if TYPE_CHECKING:
    from torch import Tensor, nn

__all__ = ["CHANCE", "RATES", "Trained", "best_of_rates"]

RATES = (0.03, 0.003, 0.0003)
ENOUGH, CHANCE = 0.99, 0.1


@dataclass(frozen=True, slots=True)
class Trained:
    """What came of the best rate: the accuracy on what was trained on, and the loss of each step."""

    accuracy: float
    rate: float
    losses: tuple[float, ...]


def best_of_rates(
    net: nn.Module,
    x: Tensor,
    y: Tensor,
    *,
    steps: int,
    seed: int,
    batch: int = 128,
    rates: Sequence[float] = RATES,
) -> Trained:
    """Train by SGD with momentum 0.9 from the weights that `net` has, once for each rate.

    All rates see the same batches. One that diverges counts as chance; once one reads 99 % rightly, the
    others are not tried. The network is left as the last rate made it.

    Args:
        net: the network, initialised.
        x: the inputs.
        y: the classes.
        steps: of each rate.
        seed: of the batches.
        batch: samples a step.
        rates: the learning rates, in the order in which they are tried.

    Returns:
        The best of them by accuracy.
    """
    start = {name: value.clone() for name, value in net.state_dict().items()}
    best = Trained(0.0, rates[0], ())
    for rate in rates:
        net.load_state_dict(start)
        losses = train(net, x, y, steps=steps, rate=rate, seed=seed, batch=batch)
        found = accuracy(net, x, y) if math.isfinite(losses[-1]) else CHANCE
        if found > best.accuracy:
            best = Trained(found, rate, tuple(losses))
        if best.accuracy > ENOUGH:
            break
    return best
