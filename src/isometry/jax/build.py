"""A model from a factory."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import numpy as np

from isometry.errors import ArgumentError

__all__ = ["built"]


def built(build: Callable[[], Any], seed: int) -> Any:
    """A model from a factory. JAX's randomness comes from keys that the factory chooses itself;
    Python's and NumPy's generators are at this seed meanwhile, and put back as they were."""
    python_state, numpy_state = random.getstate(), np.random.get_state()
    try:
        random.seed(seed)
        np.random.seed(seed % 2**32)
        return build()
    except Exception as error:  # the factory's own
        raise ArgumentError(
            f"build() raised {type(error).__name__}: {error}; expected a function that takes nothing "
            "and returns a new model"
        ) from error
    finally:
        random.setstate(python_state)
        np.random.set_state(numpy_state)
