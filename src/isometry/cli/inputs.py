"""`--input 8x3x64x64[:dtype[:high]]` as tensors drawn from a seed."""

from __future__ import annotations

from typing import Any

import numpy as np

from isometry.adapters import framework_of
from isometry.errors import ArgumentError

__all__ = ["draw", "parse"]

FLOATS = ("float16", "bfloat16", "float32", "float64")
INTEGERS = ("int32", "int64", "bool")


def parse(text: str) -> tuple[tuple[int, ...], str, int]:
    """(shape, dtype, high) of one --input; integers are drawn from [0, high).

    Example:
        >>> parse("8x3x64x64")
        ((8, 3, 64, 64), 'float32', 2)
        >>> parse("4x128:int64:50257")
        ((4, 128), 'int64', 50257)
    """
    sizes, *rest = text.split(":")
    dtype, high = (rest + ["float32", "2"][len(rest) :])[:2]
    numbers = [*sizes.lower().split("x"), high]
    legal = len(rest) <= 2 and dtype in FLOATS + INTEGERS
    if not legal or not all(n.isdecimal() and int(n) > 0 for n in numbers):
        raise ArgumentError(
            f"--input {text!r}: expected sizes joined by x, then a dtype ({', '.join(FLOATS)}, "
            f"{', '.join(INTEGERS)}) and for integers the number of values, such as 8x3x64x64, "
            "8x3x64x64:bfloat16 or 4x128:int64:50257"
        )
    return tuple(int(n) for n in numbers[:-1]), dtype, int(high)


def draw(texts: list[str], seed: int, model: Any = None) -> Any:
    """A tensor, or a tuple of positional ones; None where nothing was asked for.

    Floats are N(0, 1), integers uniform in [0, high), bools a coin each: PyTorch's tensors, and for
    a model of another framework NumPy arrays.
    """
    if not texts:
        return None
    parsed = [parse(text) for text in texts]
    if framework_of(model) not in (None, "torch"):
        generator = np.random.default_rng(seed)
        arrays = [_array(generator, *one) for one in parsed]
        return arrays[0] if len(arrays) == 1 else tuple(arrays)
    return _tensors(parsed, seed)


def _array(generator: np.random.Generator, shape: tuple[int, ...], name: str, high: int) -> Any:
    if name not in FLOATS:
        return generator.integers(high, size=shape).astype(name)
    values = generator.normal(size=shape).astype(np.float32)
    if name == "bfloat16":
        import ml_dtypes  # every framework but PyTorch needs it

        return values.astype(ml_dtypes.bfloat16)
    return values.astype(name)


def _tensors(parsed: list[tuple[tuple[int, ...], str, int]], seed: int) -> Any:
    import torch

    generator = torch.Generator().manual_seed(seed)
    tensors = []
    for shape, name, high in parsed:
        dtype = getattr(torch, name)
        if name in FLOATS:
            tensors.append(torch.randn(shape, generator=generator).to(dtype))
        else:
            tensors.append(torch.randint(high, shape, generator=generator).to(dtype))
    return tensors[0] if len(tensors) == 1 else tuple(tensors)
