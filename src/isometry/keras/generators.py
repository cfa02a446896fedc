"""Every generator that a Keras model may draw from, set for a while and put back as it was."""

from __future__ import annotations

import random
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import keras
import numpy as np
from keras.src.backend.common import global_state

__all__ = ["seeded"]

KEPT = ("global_random_seed", "global_seed_generator")  # what keras.utils.set_random_seed sets


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """As after `keras.utils.set_random_seed(seed)`; no framework is imported that is not already."""
    seed %= 2**32
    python, numpy = random.getstate(), np.random.get_state()
    kept = {name: global_state.get_global_attribute(name) for name in KEPT}
    torch = sys.modules.get("torch") if keras.backend.backend() == "torch" else None
    drawn = None if torch is None else torch.random.get_rng_state()
    tensorflow = _tensorflow_context()
    before = None if tensorflow is None else (tensorflow._seed, getattr(tensorflow, "_rng", None))
    try:
        random.seed(seed)
        np.random.seed(seed)
        global_state.set_global_attribute("global_random_seed", seed)
        global_state.set_global_attribute("global_seed_generator", None)
        if torch is not None:
            torch.manual_seed(seed)
        if tensorflow is not None:
            sys.modules["tensorflow"].random.set_seed(seed)
        yield
    finally:
        random.setstate(python)
        np.random.set_state(numpy)
        for name, value in kept.items():
            global_state.set_global_attribute(name, value)
        if torch is not None:
            torch.random.set_rng_state(drawn)
        if tensorflow is not None and before is not None:
            tensorflow._seed, tensorflow._rng = before


def _tensorflow_context() -> Any:
    """Where TensorFlow keeps its global seed, where it is in use."""
    if "tensorflow" not in sys.modules or not hasattr(sys.modules["tensorflow"], "random"):
        return None
    from tensorflow.python.eager import context

    return context.context()
