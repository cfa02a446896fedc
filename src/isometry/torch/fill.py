"""One tensor, in place: any strides, any floating dtype, any device, any shard.

The value of an element depends on its place in the logical shape alone, so a transposed view, a
channels_last tensor, a slice and a shard all get what the whole contiguous tensor would have.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from isometry.errors import ArgumentError
from isometry.stream import write
from isometry.stream.backend import advise_huge_pages, backend
from isometry.stream.index import Dim, Selection, select, shape_of, tiles
from isometry.stream.rounding import DTYPES
from isometry.torch.sharded import is_dtensor, local_index
from isometry.types import Axes, Block, Law

__all__ = ["check_fillable", "fill_", "fresh_like"]

# Elements filled on the host at once, for a tensor on another device.
_STAGED = 1 << 24

_WORTH_HUGE_PAGES = 4 << 20  # bytes: two of them

_ORDINARY = (torch.Tensor, torch.nn.Parameter)
_NAMES = {getattr(torch, name): name for name in DTYPES}


def fill_(
    tensor: torch.Tensor,
    law: Law,
    *,
    seed: int,
    name: str,
    index: Any = None,
    shape: Sequence[int] | None = None,
    axes: Axes | None = None,
    blocks: Sequence[Block] = (),
) -> torch.Tensor:
    """Fill a tensor with the law's values, in place.

        tensor[i] = law(word i of the stream (seed, name)),  i row-major in the logical shape

    Args:
        tensor: floating-point (float64, 32, 16, bfloat16, float8_e4m3fn, float8_e5m2), of any
            strides, on any device but meta; a leaf that requires grad is fine and nothing is
            recorded. A DTensor's local shard gets its part of the whole.
        law: what to draw. Any law but Keep.
        seed: an integer in [0, 2^64).
        name: of the parameter; two names are two independent streams.
        index: where the tensor is a part of a larger one, which: an entry an axis, integers,
            slices, 1-D arrays of integers or booleans, an Ellipsis.
        shape: of that larger tensor.
        axes: which axes are in, out and batch, for laws of whole matrices. None: PyTorch's order
            of Linear and Conv, axis 0 out and axis 1 in.
        blocks: ranges of one axis that have laws of their own.

    Returns:
        The same tensor.

    Raises:
        ArgumentError: the tensor cannot be filled (integer, complex, quantised, sparse, on meta,
            expanded), or another argument is not as above. The tensor is then as it was.

    Example:
        >>> from isometry.types import Normal
        >>> whole = fill_(torch.empty(64, 8), Normal(std=0.02), seed=0, name="wte")
        >>> part = torch.empty(4, 8, dtype=torch.bfloat16)
        >>> part = fill_(part, Normal(std=0.02), seed=0, name="wte",
        ...              index=slice(60, 64), shape=(64, 8))
        >>> torch.equal(part, whole[60:].bfloat16())
        True

    Source: docs/spec/stream.md.

    `torch.nn.init` draws from a global generator: its values depend on every draw before them, on
    the device, the dtype and the sharding.
    """
    whole_of_one_law = (
        index is None and shape is None and isinstance(blocks, (tuple, list)) and not blocks
    )
    if whole_of_one_law and (axes is None or isinstance(axes, Axes)) and _is_plain(tensor):
        done = isinstance(law, Law) and backend().whole(
            law, name, seed, _NAMES[tensor.dtype], tensor.data_ptr(), tensor.numel(),
            torch.get_num_threads(),
        )  # fmt: skip
        if done:
            torch.autograd.graph.increment_version(tensor)
            return tensor
    check_fillable(tensor)
    local, index, whole = _part_of_whole(tensor, index, shape)
    check_fillable(local)
    selection = select(whole, index)
    if selection.shape != tuple(local.shape):
        raise ArgumentError(
            f"the tensor has shape {tuple(local.shape)}, and index={index!r} takes a part of shape "
            f"{selection.shape} of {whole}; expected them to be equal"
        )
    if local.device.type == "cpu":
        write(
            _as_numpy(local), law, whole,
            seed=seed, name=name, dtype=_dtype(local), index=index, axes=axes, blocks=blocks,
            threads=torch.get_num_threads(),
        )  # fmt: skip
        # NumPy wrote behind autograd's back: a graph that saved the old values must notice.
        torch.autograd.graph.increment_version(local)
        if local is not tensor:
            torch.autograd.graph.increment_version(tensor)
    else:
        elementwise = all(each.elementwise for each in (law, *(b.law for b in blocks)))
        staged = _STAGED if elementwise else max(local.numel(), 1)
        _through_host(
            local, law, whole, selection, staged,
            seed=seed, name=name, axes=axes, blocks=blocks,
        )  # fmt: skip
    return tensor


def check_fillable(tensor: torch.Tensor) -> None:
    if not isinstance(tensor, torch.Tensor):
        raise ArgumentError(
            f"received {type(tensor).__name__}: expected a torch.Tensor; for NumPy arrays there is "
            "isometry.sample"
        )
    if tensor.layout != torch.strided or _dtype(tensor) not in DTYPES:
        kind = _dtype(tensor) if tensor.layout == torch.strided else str(tensor.layout)
        raise ArgumentError(
            f"the tensor is {kind}: expected one of {', '.join(DTYPES)}, dense; fill such a tensor "
            "and convert it"
        )
    if tensor.is_meta:
        raise ArgumentError(
            "the tensor is on meta and has no memory: expected one with values; give it some with "
            "torch.empty_like(tensor, device='cpu'), or a whole model with model.to_empty(...)"
        )
    if tensor.is_neg():
        raise ArgumentError(
            "the tensor is a negated view (imag of a conjugate); write tensor.resolve_neg()"
        )
    strides = zip(tensor.shape, tensor.stride(), strict=True)
    if tensor.numel() and any(size > 1 and stride == 0 for size, stride in strides):
        raise ArgumentError(
            f"the tensor is expanded: elements of shape {tuple(tensor.shape)} share memory; fill "
            "the tensor it was expanded from, or a contiguous copy"
        )


def fresh_like(tensor: torch.Tensor) -> torch.Tensor:
    """Memory on the host for a tensor that has none, in huge pages where the system gives them.

    Nothing is written: its pages are touched once, by whoever fills them.
    """
    fresh = torch.empty_like(tensor, device="cpu")
    if fresh.nbytes >= _WORTH_HUGE_PAGES:
        advise_huge_pages(_as_numpy(fresh))
    return fresh


def _is_plain(tensor: torch.Tensor) -> bool:
    """Is it an ordinary tensor, contiguous in the processor's memory?"""
    return (
        type(tensor) in _ORDINARY
        and tensor.is_cpu
        and tensor.dtype in _NAMES
        and tensor.layout == torch.strided
        and tensor.is_contiguous()
        and not tensor.is_neg()
        and not tensor.is_inference()
    )


def _dtype(tensor: torch.Tensor) -> str:
    return _NAMES.get(tensor.dtype) or str(tensor.dtype).removeprefix("torch.")


def _part_of_whole(
    tensor: torch.Tensor, index: Any, shape: Sequence[int] | None
) -> tuple[torch.Tensor, Any, tuple[int, ...]]:
    """The memory to fill, which part of the whole it is, and the shape of the whole."""
    if is_dtensor(tensor):
        if index is not None or shape is not None:
            raise ArgumentError(
                "a DTensor knows which part of the whole it is; leave out index and shape, or pass "
                "tensor.to_local()"
            )
        return tensor.to_local(), local_index(tensor), tuple(tensor.shape)  # type: ignore[attr-defined]
    if shape is None:
        if index is not None:
            raise ArgumentError(
                f"index={index!r} takes a part of a larger tensor, whose shape is missing; write "
                "shape=(rows, columns) as well"
            )
        return tensor, None, tuple(tensor.shape)
    entries = index if isinstance(index, tuple) else (index,)
    plain = tuple(i.numpy(force=True) if isinstance(i, torch.Tensor) else i for i in entries)
    return tensor, None if index is None else plain, shape_of(shape)


def _as_numpy(tensor: torch.Tensor) -> NDArray[Any]:
    """A view of a CPU tensor's memory; of its bits, where NumPy has not the dtype."""
    plain = tensor.detach()
    if plain.dtype == torch.bfloat16:
        plain = plain.view(torch.uint16)
    elif plain.itemsize == 1:
        plain = plain.view(torch.uint8)
    view: NDArray[Any] = plain.numpy()
    return view


def _through_host(
    tensor: torch.Tensor,
    law: Law,
    shape: tuple[int, ...],
    selection: Selection,
    limit: int,
    **stream: Any,
) -> None:
    """Fill pieces of at most `limit` elements on the host, and copy each to the device."""
    kept = [dim for dim, keep in zip(selection.dims, selection.kept, strict=True) if keep]
    target = tensor.detach()
    for tile in tiles(tuple(tensor.shape), limit):
        pieces = iter([dim[piece] for dim, piece in zip(kept, tile, strict=True)])
        index = tuple(
            _entry(next(pieces)) if keep else int(dim[0])
            for dim, keep in zip(selection.dims, selection.kept, strict=True)
        )
        to = target[tile]
        host = torch.empty(to.shape, dtype=tensor.dtype)
        write(_as_numpy(host), law, shape, dtype=_dtype(tensor), index=index, **stream)
        with torch.no_grad():
            to.copy_(host)


def _entry(dim: Dim) -> Any:
    """Positions as an index entry: a slice where they are a rising range."""
    if isinstance(dim, range) and dim.step > 0:
        return slice(dim.start, dim.stop, dim.step)
    return np.asarray(dim)
