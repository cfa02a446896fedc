"""Tensors on a device that no kernel of ours runs on: drawn on the host piece by piece, and copied."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import numpy as np
import torch

from isometry.stream.index import Dim, tiles

__all__ = ["PIECE", "through_host"]

PIECE = 16 << 20  # bytes

Draw = Callable[[torch.Tensor, tuple[Any, ...]], None]


def through_host(
    target: torch.Tensor, dims: Sequence[Dim], draw: Draw, piece: int | None = PIECE
) -> None:
    """Fill a tensor from two pieces of memory on the host: one is drawn while the other is copied.

    Args:
        target: the memory to fill, with an axis for each of `dims`.
        dims: the positions along every axis.
        draw: fills a tensor on the host with the values of an index.
        piece: the most bytes of a piece. None: the whole tensor is one, for laws of whole matrices,
            which would be made anew for every piece.
    """
    most = max(target.numel(), 1) if piece is None else max(piece // target.itemsize, 1)
    buffers = _buffers(target, min(most, target.numel()), pinned=piece is not None)
    with torch.no_grad(), _current(target.device):
        for tile in tiles(tuple(target.shape), most):
            to = target[tile]
            host = next(buffers)[: to.numel()].view(to.shape)
            draw(host, tuple(_entry(dim[cut]) for dim, cut in zip(dims, tile, strict=True)))
            to.copy_(host, non_blocking=host.is_pinned())  # other memory is drawn over at once


def _current(device: torch.device) -> AbstractContextManager[Any]:
    """Where events are recorded: on the device's own stream."""
    return torch.cuda.device(device) if device.type == "cuda" else nullcontext()


def _buffers(target: torch.Tensor, count: int, pinned: bool) -> Iterator[torch.Tensor]:
    """Memory on the host, again and again: on CUDA two pinned buffers, each free when it comes."""
    if not (pinned and target.is_cuda):
        buffer = torch.empty(count, dtype=target.dtype)
        while True:
            yield buffer
    pair = [torch.empty(count, dtype=target.dtype, pin_memory=True) for _ in range(2)]
    copied = [torch.cuda.Event(), torch.cuda.Event()]
    while True:
        for buffer, event in zip(pair, copied, strict=True):
            event.synchronize()  # of nothing, the first time
            yield buffer
            event.record()  # the piece's copy is on the current stream by now


def _entry(dim: Dim) -> Any:
    """Positions as an index entry: a slice where they are a rising range."""
    if isinstance(dim, range) and dim.step > 0:
        return slice(dim.start, dim.stop, dim.step)
    return np.asarray(dim)
