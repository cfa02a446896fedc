"""One name for one parameter, however a framework writes its path.

fc1.weight      PyTorch, Equinox
fc1/kernel      Keras, Flax
['fc1']['kernel'], params/fc1/kernel, layers[0].kernel, fc1/kernel:0
"""

from __future__ import annotations

import re

__all__ = ["canonical", "dotted"]

# What PyTorch calls the parameter that others call this. Of a normalisation alone: gamma, beta, ...
SLOTS = {"kernel": "weight", "embedding": "weight", "embeddings": "weight"}
NORM_SLOTS = {
    "gamma": "weight", "scale": "weight", "beta": "bias", "moving_mean": "running_mean",
    "moving_variance": "running_var", "mean": "running_mean", "var": "running_var",
}  # fmt: skip
COLLECTIONS = ("params", "batch_stats")  # Flax's, at the head of a path
_PART = re.compile(r"[^./\[\]'\"]+")


def canonical(path: str, *, norm: bool = False) -> str:
    """A path as PyTorch writes it: dotted, the last part by PyTorch's name for it.

    Args:
        path: "fc1/kernel", "['fc1']['kernel']", "layers[0].weight", "params/fc1/kernel", ...
        norm: of a normalisation, whose `scale` or `gamma` is PyTorch's `weight`, `beta` its `bias`.

    Example:
        >>> canonical("['params']['fc1']['kernel']"), canonical("bn/gamma", norm=True)
        ('fc1.weight', 'bn.weight')
    """
    parts = _PART.findall(path.partition(":")[0])
    if len(parts) > 1 and parts[0] in COLLECTIONS:
        parts = parts[1:]
    if parts:
        slots = {**SLOTS, **NORM_SLOTS} if norm else SLOTS
        parts[-1] = slots.get(parts[-1], parts[-1])
    return ".".join(parts)


def dotted(path: str) -> str:
    """A path of a module or parameter as PyTorch writes it, its last part as it is."""
    return ".".join(_PART.findall(path))
