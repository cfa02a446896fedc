"""Keras takes its backend from the environment when it is first imported; without one, JAX."""

import contextlib
import os

os.environ.setdefault("KERAS_BACKEND", "jax")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

if os.environ["KERAS_BACKEND"] == "tensorflow":
    # Both hold an LLVM, and Triton, which PyTorch imports when it likes, aborts after TensorFlow's.
    with contextlib.suppress(ImportError):
        import triton._C.libtriton  # noqa: F401
