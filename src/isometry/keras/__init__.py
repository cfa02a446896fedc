"""isometry for Keras 3, on TensorFlow, JAX and PyTorch: initializers that give the same bits on each.

    import keras
    import isometry.keras as ik

    he = ik.HeNormal(seed=0)
    model = keras.Sequential([
        keras.layers.Dense(64, activation="relu", kernel_initializer=he),
        keras.layers.Dense(64, activation="relu", kernel_initializer=he),    # values of its own
        keras.layers.Dense(10, kernel_initializer="isometry>GlorotUniform"),  # by name, seed drawn
    ])

Names, signatures and laws are Keras's. An initializer counts its calls, and each call draws another
stream; without a seed one is drawn, which `.seed` and the saved model tell.
"""

from isometry.types._late import require

require("keras", "isometry.keras", "'isometry[keras]' and one of tensorflow, jax, torch")

from isometry.keras.initializer_scaling import VarianceScaling  # noqa: E402
from isometry.keras.initializers import (  # noqa: E402
    GlorotNormal,
    GlorotUniform,
    HeNormal,
    HeUniform,
    LecunNormal,
    LecunUniform,
)
from isometry.keras.initializers_constant import (  # noqa: E402
    Constant,
    Identity,
    IdentityInitializer,
    Ones,
    Zeros,
)
from isometry.keras.initializers_plain import (  # noqa: E402
    DeltaOrthogonal,
    Orthogonal,
    RandomNormal,
    RandomUniform,
    TruncatedNormal,
)

__all__ = [
    "Constant",
    "DeltaOrthogonal",
    "GlorotNormal",
    "GlorotUniform",
    "HeNormal",
    "HeUniform",
    "Identity",
    "IdentityInitializer",
    "LecunNormal",
    "LecunUniform",
    "Ones",
    "Orthogonal",
    "RandomNormal",
    "RandomUniform",
    "TruncatedNormal",
    "VarianceScaling",
    "Zeros",
]
