"""How long a signal is in many ReLU networks drawn by He's law: measured, and by theory.

    M = (2/n) |relu(h)|²,    M' = M (2/n) chi²_K,    K ~ Binomial(n, 1/2)

so that E[M'] = E[M] and E[M'²] = (1 + 5/n) E[M²], exactly, at every width.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["EDGES", "draw_lengths", "log_moments", "summary"]

Array = NDArray[np.float64]

AT_ONCE = 1 << 24  # weights that are held at a time
SHARES = (0.05, 0.5, 0.95)
PER_DECADE = 6
EDGES = [round(e, 4) for e in np.linspace(-30, 10, 40 * PER_DECADE + 1).tolist()]  # of log10 M


def summary(width: int, depth: int, draws: int) -> dict[str, Any]:
    """What is kept of `draws` networks: by layer means with their standard errors, and quantiles.

    Networks in which a whole layer is off have M = 0: they count in the means of M and M², and are
    left out of all that is said of ln M.
    """
    lengths = draw_lengths(width, depth, draws)
    alive = [layer[layer > 0] for layer in lengths]
    logs = [np.log(layer) for layer in alive]
    counts = np.histogram(logs[-1] / math.log(10), EDGES)[0]
    return {
        "mean": [_mean(layer) for layer in lengths],
        "square": [_mean(layer**2) for layer in lengths],
        "log mean": [_mean(layer) for layer in logs],
        "log variance": [_variance(layer) for layer in logs],
        "alive": len(alive[-1]),
        "shares": [[float(q) for q in np.quantile(layer, SHARES)] for layer in alive],
        "density": [round(float(c) * PER_DECADE / len(logs[-1]), 5) for c in counts],
    }


def draw_lengths(width: int, depth: int, draws: int) -> Array:
    """M after each layer, (depth, draws), where |x|²/n = 1."""
    import torch

    import isometry as iso

    at_once = max(1, AT_ONCE // width**2)
    lengths = torch.empty(depth, draws, dtype=torch.float64)
    for start in range(0, draws, at_once):
        stop = min(draws, start + at_once)
        h = torch.ones(stop - start, width, 1) / math.sqrt(2)  # as relu would leave it
        for layer in range(depth):
            w = iso.sample(
                iso.Normal(math.sqrt(2 / width)),
                (draws, width, width),
                seed=0,
                name=f"width{width}.layer{layer}",
                index=slice(start, stop),
            )
            h = torch.from_numpy(w).bmm(h).relu_()
            lengths[layer, start:stop] = 2 * h.double().square().mean((1, 2))
    return lengths.numpy()


def log_moments(width: int) -> tuple[float, float]:
    """The mean and the variance of ln M'/M through one layer, if any of its units is on.

        M'/M = (2/n) chi²_K,    K ~ Binomial(n, 1/2) units that are on

    With psi the digamma function, E ln chi²_K = psi(K/2) + ln 2 and Var ln chi²_K = psi'(K/2).

    Example:
        >>> mean, variance = log_moments(128)
        >>> round(mean, 4), round(variance, 4), 5 / 128
        (-0.0198, 0.0402, 0.0390625)
    """
    import torch

    on = torch.arange(1, width + 1, dtype=torch.float64)
    total = torch.tensor(float(width), dtype=torch.float64)
    weight = torch.exp(
        torch.lgamma(total + 1) - torch.lgamma(on + 1) - torch.lgamma(total - on + 1)
        - total * math.log(2) - math.log1p(-(0.5**width))
    )  # fmt: skip
    mean = torch.digamma(on / 2) + math.log(4 / width)
    average = float(weight @ mean)
    variance = float(weight @ (torch.polygamma(1, on / 2) + (mean - average) ** 2))
    return average, variance


def _mean(values: Array) -> Sequence[float]:
    """The mean of independent draws, and its standard error."""
    return float(values.mean()), float(values.std(ddof=1)) / math.sqrt(len(values))


def _variance(values: Array) -> Sequence[float]:
    """The variance of independent draws, and its standard error, from their fourth moment."""
    apart = (values - values.mean()) ** 2
    return float(apart.sum() / (len(values) - 1)), _mean(apart)[1]
