"""NumPy memory as a tensor of Keras's backend, without a copy where the memory is the processor's.

The stream writes bfloat16 and the float8s as bits; here they get their dtype back. PyTorch takes
memory as it is. JAX and TensorFlow take it as it is where it begins at a multiple of 64 bytes, which
is what `empty` returns.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from isometry.stream.memory import fresh_memory
from isometry.stream.rounding import DTYPES

__all__ = ["empty", "laid_out", "to_tensor"]

_ALIGNED = 64  # bytes


def empty(shape: Sequence[int], dtype: str) -> NDArray[Any]:
    """Memory to write a tensor's values or bits into; its pages are touched once, by the writer.

    Args:
        shape: of the tensor.
        dtype: of the tensor, as Keras names it; the array has the dtype in which it is stored
            (uint16 for "bfloat16", uint8 for the float8s).

    Returns:
        A C-contiguous array of that shape that begins at a multiple of 64 bytes.

    Example:
        >>> empty((2, 3), "bfloat16").dtype
        dtype('uint16')
    """
    return fresh_memory(shape, DTYPES[dtype].storage)


def to_tensor(array: NDArray[Any], dtype: str) -> Any:
    """An array that nobody writes to any more, as a tensor of Keras's backend on its device.

    Args:
        array: values, or the bits of "bfloat16" or a float8, any shape. The tensor may share its
            memory, so hand it over: do not write to it again.
        dtype: of the tensor. JAX without x64 makes float32 of "float64".

    Returns:
        A torch.Tensor, jax.Array or tf.Tensor of the array's shape.

    Example:
        >>> tensor = to_tensor(np.array([0x3F80], dtype=np.uint16), "bfloat16")
        >>> float(tensor[0])
        1.0
    """
    match keras.backend.backend():
        case "torch":
            import torch

            return keras.ops.convert_to_tensor(torch.from_numpy(array).view(getattr(torch, dtype)))
        case "jax":
            import jax

            return jax.device_put(_typed(array, dtype))
        case "tensorflow":
            return _tensorflow(array, dtype)
    return keras.ops.convert_to_tensor(_typed(array, dtype), dtype=dtype)


def laid_out(
    draw: Callable[[tuple[int, ...], Any], NDArray[Any]],
    shape: tuple[int, ...],
    dtype: str,
    layout: Any,
) -> Any:
    """A tensor distributed by a layout, drawn part by part, each on the device that keeps it.

    Args:
        draw: (shape of the part, its index in the whole) -> its values or bits.
        shape: of the whole.
        dtype: of the tensor.
        layout: a `keras.distribution.TensorLayout` or `jax.sharding.Sharding`.

    Returns:
        A jax.Array; on the other backends, which have no layouts at creation, the whole as
        `keras.distribution.distribute_tensor` distributes it.
    """
    if keras.backend.backend() != "jax":
        return keras.distribution.distribute_tensor(to_tensor(draw(shape, None), dtype), layout)
    import jax

    sharding = getattr(layout, "backend_layout", layout)
    if isinstance(sharding, jax.sharding.NamedSharding) and not isinstance(
        sharding.mesh, jax.sharding.Mesh
    ):  # Keras gives the axes alone, inside `jax.set_mesh`
        sharding = jax.sharding.NamedSharding(jax.sharding.get_mesh(), sharding.spec)

    def part(index: Any) -> NDArray[Any]:
        sizes = tuple(len(range(*i.indices(n))) for i, n in zip(index, shape, strict=True))
        return _typed(draw(sizes, index), dtype)

    return jax.make_array_from_callback(shape, sharding, part)


def _tensorflow(array: NDArray[Any], dtype: str) -> Any:
    """`tf.convert_to_tensor` copies; DLPack, which has no graph to be a constant of, does not."""
    import tensorflow as tf

    aligned = array.ctypes.data % _ALIGNED == 0 and array.flags.c_contiguous
    takes = array.dtype != np.uint8  # TensorFlow has no bitcast to a float8
    if not tf.executing_eagerly() or not array.size or not aligned or not takes:
        return tf.convert_to_tensor(_typed(array, dtype))
    bits = tf.experimental.dlpack.from_dlpack(array.__dlpack__())
    return tf.bitcast(bits, dtype) if array.dtype == np.uint16 else bits


def _typed(array: NDArray[Any], dtype: str) -> NDArray[Any]:
    """The same memory, of the dtype that its bits are of."""
    if array.dtype.kind != "u":
        return array
    import ml_dtypes  # Keras itself needs it

    return array.view(getattr(ml_dtypes, dtype))
