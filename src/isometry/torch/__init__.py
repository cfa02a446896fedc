"""PyTorch's corner: one tensor in place, and models without memory.

    import isometry.torch as it

    it.fill_(tensor, iso.Normal(std=0.02), seed=0, name="wte")
    it.he_normal_(layer.weight, seed=0, name="fc1.weight")
    with it.meta():
        model = build()      # parameters on meta, buffers real; then iso.initialize(model)

Axes are PyTorch's own: (out, in, kernel...).
"""

from isometry.types._late import require

require("torch", "isometry.torch", "'isometry[torch]'")

from isometry.torch.fill import fill_  # noqa: E402
from isometry.torch.layers import fans  # noqa: E402
from isometry.torch.meta import meta  # noqa: E402
from isometry.torch.schemes import (  # noqa: E402
    constant_,
    delta_orthogonal_,
    dirac_,
    glorot_normal_,
    glorot_uniform_,
    he_normal_,
    he_uniform_,
    identity_,
    kaiming_normal_,
    kaiming_uniform_,
    lecun_normal_,
    lecun_uniform_,
    normal_,
    ones_,
    orthogonal_,
    sparse_,
    truncated_normal_,
    uniform_,
    variance_scaling_,
    xavier_normal_,
    xavier_uniform_,
    zeros_,
)

__all__ = [
    "constant_",
    "delta_orthogonal_",
    "dirac_",
    "fans",
    "fill_",
    "glorot_normal_",
    "glorot_uniform_",
    "he_normal_",
    "he_uniform_",
    "identity_",
    "kaiming_normal_",
    "kaiming_uniform_",
    "lecun_normal_",
    "lecun_uniform_",
    "meta",
    "normal_",
    "ones_",
    "orthogonal_",
    "sparse_",
    "truncated_normal_",
    "uniform_",
    "variance_scaling_",
    "xavier_normal_",
    "xavier_uniform_",
    "zeros_",
]
