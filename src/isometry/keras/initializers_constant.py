"""Initializers that draw nothing: Keras's own values, under names that are saved as isometry's."""

from __future__ import annotations

import keras

from isometry.keras.initializer import registered

__all__ = ["Constant", "Identity", "IdentityInitializer", "Ones", "Zeros"]


@registered
class Zeros(keras.initializers.Zeros):  # type: ignore[misc]
    """Every element 0.

    Example:
        >>> float(Zeros()((2, 2))[0, 1])
        0.0
    """


@registered
class Ones(keras.initializers.Ones):  # type: ignore[misc]
    """Every element 1.

    Example:
        >>> float(Ones()((2, 2))[0, 1])
        1.0
    """


@registered
class Constant(keras.initializers.Constant):  # type: ignore[misc]
    """Every element the same number.

    Args:
        value: the number.

    Example:
        >>> float(Constant(10.0)((2, 2))[0, 1])
        10.0
    """


@registered
class Identity(keras.initializers.Identity):  # type: ignore[misc]
    """The gain on the diagonal of a matrix, zero elsewhere.

    Args:
        gain: the number on the diagonal.

    Example:
        >>> float(Identity(gain=2.0)((2, 2))[1, 1])
        2.0
    """

    def get_config(self) -> dict[str, float]:
        """The argument that makes it again; Keras's own forgets its gain."""
        return {"gain": self.gain}


IdentityInitializer = Identity
