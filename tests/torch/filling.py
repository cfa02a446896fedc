"""What the tests of filling a tensor fill it with."""

from __future__ import annotations

import torch

from isometry.stream import sample
from isometry.torch.fill import fill_
from isometry.types import (
    Constant,
    DeltaOrthogonal,
    Law,
    Normal,
    Orthogonal,
    Sparse,
    TruncatedNormal,
    Uniform,
)

SHAPE = (6, 4, 10, 8)
LAWS: list[Law] = [
    Normal(0.02), Normal(0.02, mean=1.0), Uniform(0.1), TruncatedNormal(0.02), Constant(0.3),
    Orthogonal(), DeltaOrthogonal(), Sparse(0.5),
]  # fmt: skip
HALVES = [torch.bfloat16, torch.float16, torch.float8_e4m3fn, torch.float8_e5m2]


def whole(law: Law = LAWS[0], shape: tuple[int, ...] = SHAPE) -> torch.Tensor:
    return torch.from_numpy(sample(law, shape, seed=7, name="w"))


def filled(tensor: torch.Tensor, law: Law = LAWS[0], **more: object) -> torch.Tensor:
    assert fill_(tensor, law, seed=7, name="w", **more) is tensor
    return tensor


def nan(*shape: int, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    """A poisoned tensor: what is not written shows."""
    return torch.full(shape, float("nan"), dtype=dtype)
