"""One tensor, in place: any strides, any floating dtype, any device, any shard.

The value of an element depends on its place in the logical shape alone, so a transposed view, a
channels_last tensor, a slice and a shard all get what the whole contiguous tensor would have.
"""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from isometry.errors import ArgumentError
from isometry.stream import write
from isometry.stream.backend import advise_huge_pages, backend
from isometry.stream.draws import draw_of
from isometry.stream.fill import pieces
from isometry.stream.index import select, shape_of
from isometry.stream.keys import key
from isometry.stream.request import validate
from isometry.stream.rounding import DTYPES
from isometry.torch.on_cuda import way_of
from isometry.torch.sharded import is_dtensor, local_index
from isometry.torch.staged import PIECE, through_host
from isometry.types import Axes, Block, Constant, Law

__all__ = ["check_fillable", "fill_", "fresh_like", "in_huge_pages"]

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
    if is_dtensor(tensor) and not local.numel():
        return tensor  # nothing of it is here: more ranks than rows, or a rank outside its mesh
    selection = select(whole, index)
    if selection.shape != tuple(local.shape):
        raise ArgumentError(
            f"the tensor has shape {tuple(local.shape)}, and index={index!r} takes a part of shape "
            f"{selection.shape} of {whole}; expected them to be equal"
        )
    given: dict[str, Any] = {"seed": seed, "name": name, "axes": axes, "blocks": blocks}
    if local.device.type == "cpu":
        _draw(local, law, whole, index, given)
    else:
        _fill_elsewhere(local, law, whole, index, given)
    # NumPy or a kernel wrote behind autograd's back: a graph that saved the old values must notice.
    torch.autograd.graph.increment_version(local)
    if local is not tensor:
        torch.autograd.graph.increment_version(tensor)
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
    return in_huge_pages(torch.empty_like(tensor, device="cpu"))


def in_huge_pages(fresh: torch.Tensor) -> torch.Tensor:
    """The same memory, in huge pages where it is large and the system gives them."""
    if fresh.is_cpu and fresh.nbytes >= _WORTH_HUGE_PAGES:
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
    """A view of a CPU tensor's memory, of its bits where NumPy has not the dtype, while it lives.

    From the address: `tensor.numpy()` makes a storage one that cannot be resized any more, as FSDP1
    resizes its own.
    """
    strides = [step * tensor.itemsize for step in tensor.stride()]
    dtype = DTYPES[_dtype(tensor)].storage
    if not tensor.numel():
        return np.empty(tuple(tensor.shape), dtype)
    last = sum(step * (n - 1) for step, n in zip(strides, tensor.shape, strict=True))
    memory: Any = (ctypes.c_char * (last + tensor.itemsize)).from_address(tensor.data_ptr())
    return np.ndarray(tuple(tensor.shape), dtype, memory, strides=strides)


def _draw(tensor: torch.Tensor, law: Law, shape: Sequence[int], part: Any, given: Any) -> None:
    """Write a part of the whole into the processor's memory."""
    memory, dtype, threads = _as_numpy(tensor), _dtype(tensor), torch.get_num_threads()
    write(memory, law, shape, dtype=dtype, index=part, threads=threads, **given)


def _fill_elsewhere(
    tensor: torch.Tensor, law: Law, shape: tuple[int, ...], index: Any, given: dict[str, Any]
) -> None:
    """Fill a device's memory: there, where a kernel draws the law; else from the host."""
    request = validate(law, shape, dtype=_dtype(tensor), index=index, **given)
    memory: Any = tensor.detach()

    def draw(host: torch.Tensor, part: Any) -> None:
        _draw(host, law, shape, part, given)

    for each, _, dims, found in pieces(request, request.selection.expand(memory)):
        target: Any = found
        how = draw_of(each) if each.elementwise and target.numel() else None
        kernel = way_of(target.device).fill if how is not None and target.is_cuda else None
        if isinstance(each, Constant):
            _set_all(target, each)
        elif how is not None and kernel is not None:
            kernel(how, key(request.seed, request.name), dims, shape, request.dtype, target)
        else:
            through_host(target, dims, draw, PIECE if each.elementwise else None)


def _set_all(target: torch.Tensor, law: Constant) -> None:
    """Every element: its bits, since a float8 of PyTorch's does not saturate."""
    cell = torch.empty((), dtype=target.dtype)
    write(_as_numpy(cell), law, (), seed=0, name="", dtype=_dtype(target))
    bits = {1: torch.uint8, 2: torch.int16, 4: torch.int32, 8: torch.int64}[target.itemsize]
    target.view(bits).fill_(cell.view(bits).item())
