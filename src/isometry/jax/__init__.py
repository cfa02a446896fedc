"""JAX's corner: initializers by JAX's signatures, and whole models that are values.

    import isometry.jax as ij

    nnx.Linear(512, 256, kernel_init=ij.he_normal(), rngs=rngs)
    model, plan = ij.initialize(model, inputs, seed=0)    # Equinox, Linen, trees of arrays

Axes are JAX's own: a kernel is (..., in, out).
"""

from isometry.types._late import require

require("jax", "isometry.jax", "'isometry[jax]'")

from isometry.jax.apply import initialize  # noqa: E402
from isometry.jax.initializers import (  # noqa: E402
    Initializer,
    glorot_normal,
    glorot_uniform,
    he_normal,
    he_uniform,
    kaiming_normal,
    kaiming_uniform,
    lecun_normal,
    lecun_uniform,
    variance_scaling,
    xavier_normal,
    xavier_uniform,
)
from isometry.jax.initializers_plain import (  # noqa: E402
    constant,
    delta_orthogonal,
    normal,
    ones,
    orthogonal,
    truncated_normal,
    uniform,
    zeros,
)

__all__ = [
    "Initializer",
    "constant",
    "delta_orthogonal",
    "glorot_normal",
    "glorot_uniform",
    "he_normal",
    "he_uniform",
    "initialize",
    "kaiming_normal",
    "kaiming_uniform",
    "lecun_normal",
    "lecun_uniform",
    "normal",
    "ones",
    "orthogonal",
    "truncated_normal",
    "uniform",
    "variance_scaling",
    "xavier_normal",
    "xavier_uniform",
    "zeros",
]
