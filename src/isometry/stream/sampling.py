"""`sample` and `write`: any part of a tensor, in any dtype, equal to the same part of the whole."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from isometry.errors import ArgumentError, BackendError
from isometry.stream.backend import backend as backend_named
from isometry.stream.backend import thread_count
from isometry.stream.fill import fill
from isometry.stream.keys import key
from isometry.stream.request import Request, validate
from isometry.stream.rounding import DTYPES
from isometry.types import Axes, Block, Law

__all__ = ["sample", "words", "write"]


def words(
    seed: int, name: str, start: int, stop: int, purpose: str = "weight"
) -> NDArray[np.uint32]:
    """The raw words of elements [start, stop) of a named tensor.

    word(i) = Philox4x32-10(counter = (i // 4 mod 2^32, i // 2^34, h0, h1), key)[i % 4]

    Args:
        seed, name, purpose: as for `key`.
        start, stop: row-major element numbers, 0 <= start <= stop <= 2^62.

    Returns:
        uint32, shape (stop - start,).

    Raises:
        ArgumentError: the seed, a name or the range is not valid.

    Example:
        >>> from isometry.stream import words
        >>> bool((words(0, "w", 2, 6) == words(0, "w", 0, 6)[2:]).all())
        True

    Source: docs/spec/stream.md.
    """
    stream = key(seed, name, purpose)
    for number in (start, stop):
        if isinstance(number, bool) or not isinstance(number, (int, np.integer)):
            raise ArgumentError(f"words(start={start!r}, stop={stop!r}): expected integers")
    if not 0 <= start <= stop <= 2**62:
        raise ArgumentError(
            f"words(start={start}, stop={stop}): expected 0 <= start <= stop <= 2**62"
        )
    return backend_named().element_words(stream, int(start), int(stop))


def sample(
    law: Law,
    shape: Sequence[int],
    *,
    seed: int,
    name: str,
    dtype: DTypeLike = "float32",
    index: Any = None,
    axes: Axes | None = None,
    blocks: Sequence[Block] = (),
    backend: str | None = None,
    threads: int | None = None,
) -> NDArray[Any]:
    """A tensor of the law, or any part of it, as a new array.

    Element i, in row-major order, is law(word i of the stream (seed, name)): it depends on
    nothing else, so a part equals the same part of the whole, and a narrower dtype rounds it.

    Args:
        law: what to draw. Any law but Keep.
        shape: the whole tensor's shape.
        seed: an integer in [0, 2^64).
        name: the tensor's name; two names are two independent streams.
        dtype: "float32", "float64", "float16", "bfloat16", "float8_e4m3fn" or "float8_e5m2".
            The last three need the package ml_dtypes.
        index: the part wanted, an entry an axis: integers, slices, 1-D arrays of integers or
            booleans, an Ellipsis. Arrays on several axes combine as in numpy.ix_.
        axes: which axes are in, out and batch; for structured laws only. None: axis 0 is out,
            axis 1 in, the rest is the kernel (PyTorch's order).
        blocks: ranges of one axis that have laws of their own; elements keep their numbers.
        backend: "native", the compiled kernel; "numpy", the reference; None, the faster that is
            there. The bits are the same.
        threads: at most so many; None is OMP_NUM_THREADS, or one for each processor.

    Returns:
        An array of the dtype; memory beyond it is a chunk, or a matrix for structured laws.

    Raises:
        ArgumentError: any argument is not as above, or the dtype cannot hold the law.
        BackendError: ml_dtypes is missing, or the backend is.

    Example:
        >>> from isometry.stream import sample
        >>> from isometry.types import Normal
        >>> whole = sample(Normal(std=0.02), (64, 8), seed=0, name="wte")
        >>> part = sample(Normal(std=0.02), (64, 8), seed=0, name="wte", index=slice(60, None))
        >>> bool((part == whole[60:]).all())
        True

    Source: docs/spec/stream.md. Other frameworks' values depend on the order of calls, the
    device, the number of shards or the dtype.
    """
    chosen, most = backend_named(backend), thread_count(threads)
    request = validate(law, shape, seed, name, dtype, index, axes, blocks)
    final = _array_dtype(request.dtype)
    out = np.empty(request.selection.shape, dtype=DTYPES[request.dtype].storage)
    fill(request, out, chosen, most)
    return out.view(final)


def write(
    out: NDArray[Any],
    law: Law,
    shape: Sequence[int],
    *,
    seed: int,
    name: str,
    dtype: DTypeLike,
    index: Any = None,
    axes: Axes | None = None,
    blocks: Sequence[Block] = (),
    backend: str | None = None,
    threads: int | None = None,
) -> None:
    """`sample`, into a buffer of the caller's, of any strides.

    out[...] = sample(law, shape, ...), and nothing is written unless everything is valid.

    Args:
        out: shape of the part asked for; float32, float64 or float16 for those dtypes, uint16
            for "bfloat16" and uint8 for the float8s, which are written as bits.
        law, shape, seed, name, dtype, index, axes, blocks, backend, threads: as for `sample`; the
            dtype is said, since bits do not tell it.

    Raises:
        ArgumentError: any argument is not valid; the buffer is then untouched.

    Example:
        >>> import numpy as np
        >>> from isometry.stream import write
        >>> from isometry.types import Constant
        >>> bits = np.empty(2, dtype=np.uint16)
        >>> write(bits, Constant(1.0), (2,), seed=0, name="ones", dtype="bfloat16")
        >>> [hex(b) for b in bits]
        ['0x3f80', '0x3f80']

    Source: docs/spec/stream.md.
    """
    chosen, most = backend_named(backend), thread_count(threads)
    request = validate(law, shape, seed, name, dtype, index, axes, blocks)
    _check_buffer(out, request, index)
    fill(request, out, chosen, most)


def _check_buffer(out: object, request: Request, index: Any) -> None:
    storage = DTYPES[request.dtype].storage
    if not isinstance(out, np.ndarray) or out.dtype != storage:
        got = f"dtype {out.dtype}" if isinstance(out, np.ndarray) else type(out).__name__
        raise ArgumentError(
            f"out is {got}: expected a NumPy array of {storage} for dtype={request.dtype!r}"
        )
    if out.shape != request.selection.shape:
        raise ArgumentError(
            f"out has shape {out.shape}: expected {request.selection.shape}, the part of "
            f"{request.shape} that index={index!r} takes"
        )
    if not out.flags.writeable:
        raise ArgumentError("out is read-only: expected a writable array; write out.copy()")
    strides = zip(out.shape, out.strides, strict=True)
    if out.size and any(n > 1 and step == 0 for n, step in strides):  # NumPy strides nothing by 0
        raise ArgumentError(
            f"out has strides {out.strides}: elements share memory; expected one place an element"
        )


def _array_dtype(dtype: str) -> np.dtype[Any]:
    """The dtype of `sample`'s array: NumPy's own, or that of ml_dtypes."""
    if dtype in ("float32", "float64", "float16"):
        return DTYPES[dtype].storage
    try:
        import ml_dtypes
    except ImportError:
        raise BackendError(
            f"dtype={dtype!r} as a NumPy array needs ml_dtypes; run: pip install ml_dtypes"
        ) from None
    final: np.dtype[Any] = np.dtype(getattr(ml_dtypes, dtype))
    return final
