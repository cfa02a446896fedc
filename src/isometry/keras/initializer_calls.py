"""Which seed and which number the next call of an initializer has; copies count on together.

Keras copies initializers through their configuration: MultiHeadAttention makes one each for query,
key and value, Bidirectional one for either direction. Were each to begin again at call 0, they would
all give one value. So an initializer made from a configuration shares the count of the living one
of its class and seed.
"""

from __future__ import annotations

import json
import threading
from typing import Any, TypeAlias
from weakref import WeakValueDictionary

import keras
from keras.src.random.seed_generator import make_default_seed

from isometry.errors import ArgumentError
from isometry.stream.keys import check_seed

__all__ = ["COUNTING", "Calls", "Seed", "living"]

Seed: TypeAlias = "int | keras.random.SeedGenerator"
COUNTING = threading.RLock()  # held while a call is numbered, or a count found

_living: WeakValueDictionary[tuple[type, str], Calls] = WeakValueDictionary()


class Calls:
    """The seed of an initializer and of its copies, and how many values they have given.

    A copy (`copy.copy`, `copy.deepcopy`) is the same count; unpickled elsewhere it begins at call 0.
    """

    def __init__(self, owner: type, seed: Any) -> None:
        self.owner = owner
        self.seed = _seed(seed)
        self.made = 0
        self.remember()

    def remember(self) -> None:
        """Be the count that initializers made from this class and seed's configuration share."""
        with COUNTING:
            _living[self.owner, _written(self.seed)] = self

    def next(self, *, take: bool = True) -> tuple[int, int]:
        """(seed, call) of the next call; `take=False` looks, and leaves it to be taken.

        A SeedGenerator counts for itself: its next state, two words of 32 bits, low word first, is
        the seed, and the call is 0.
        """
        if not isinstance(self.seed, int):
            state = self.seed.next() if take else self.seed.state.value
            low, high = (int(word) & 0xFFFFFFFF for word in _on_host(state))
            return low | high << 32, 0
        with COUNTING:
            call = self.made
            self.made += take
        return self.seed, call

    def __copy__(self) -> Calls:
        return self

    def __deepcopy__(self, memo: Any) -> Calls:
        return self

    def __reduce__(self) -> tuple[Any, ...]:
        return _found_or_made, (self.owner, self.seed)


def living(owner: type, seed: Any) -> Calls | None:
    """The count made last for this class and seed, as `get_config` writes it or as it is in use.

    None: none is left, or it draws from another generator that is only written the same.
    """
    if seed is None:
        return None
    with COUNTING:
        found = _living.get((owner, _written(seed)))
    another = isinstance(seed, keras.random.SeedGenerator) and found and found.seed is not seed
    return None if another else found


def _found_or_made(owner: type, seed: Seed) -> Calls:
    return living(owner, seed) or Calls(owner, seed)


def _written(seed: Any) -> str:
    return json.dumps(keras.saving.serialize_keras_object(seed))


def _seed(seed: Any) -> Seed:
    """A seed as Keras takes it. None is drawn from Python's `random`, as Keras draws its own."""
    if seed is None:
        return int(make_default_seed())
    if isinstance(seed, dict):
        seed = keras.saving.deserialize_keras_object(seed)
    if isinstance(seed, keras.random.SeedGenerator):
        return seed
    try:
        return check_seed(seed)
    except ArgumentError:
        raise ArgumentError(
            f"seed={seed!r}: expected an integer in [0, 2**64), a keras.random.SeedGenerator, or "
            "None for a fresh one; write for example seed=0"
        ) from None


def _on_host(state: Any) -> list[int]:
    try:
        words: list[int] = keras.ops.convert_to_numpy(state).tolist()
    except Exception as error:
        raise ArgumentError(
            "seed is a SeedGenerator whose state is being traced, and an initializer draws when it "
            "is called; build the layer outside jit, or give an integer: seed=0"
        ) from error
    return words
