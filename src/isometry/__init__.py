"""isometry: initialise neural networks, and prove that it was done right.

    import isometry as iso

    plan = iso.initialize(model, inputs, seed=0)    # the right law for every parameter, with a reason
    report = iso.check(model, inputs)               # the signal and gradient that result

Importing isometry imports no framework; `isometry.torch`, `isometry.keras` and `isometry.jax` are the
frameworks' corners, `isometry.lab` the experiments.
"""

from importlib import import_module as _import_module
from typing import TYPE_CHECKING as _TYPE_CHECKING

if _TYPE_CHECKING:
    from isometry import stream
    from isometry.api import assert_healthy, check, gain, initialize, plan, recipes, transfer
    from isometry.arrays import (
        constant,
        delta_orthogonal,
        dirac,
        glorot_normal,
        glorot_uniform,
        he_normal,
        he_uniform,
        identity,
        kaiming_normal,
        kaiming_uniform,
        lecun_normal,
        lecun_uniform,
        normal,
        ones,
        orthogonal,
        sparse,
        truncated_normal,
        uniform,
        variance_scaling,
        xavier_normal,
        xavier_uniform,
        zeros,
    )
    from isometry.checkpoint import write_checkpoint
    from isometry.correspondence import Transfer
    from isometry.errors import (
        ArgumentError,
        BackendError,
        DisagreementError,
        IsometryError,
        MaterialiseError,
        ModelError,
        PlanError,
        TraceError,
        UnhealthyError,
    )
    from isometry.fan import fans
    from isometry.gains import moments
    from isometry.manifest import Manifest
    from isometry.stream import sample
    from isometry.types import (
        Axes,
        Block,
        CenteredOrthogonal,
        Constant,
        Decision,
        DeltaOrthogonal,
        Dirac,
        Factor,
        Fans,
        Finding,
        Hadamard,
        Identity,
        Keep,
        Law,
        LogUniform,
        Measurement,
        MirroredOrthogonal,
        Normal,
        Orthogonal,
        Plan,
        Report,
        Sparse,
        TruncatedNormal,
        Uniform,
        Verification,
    )

__version__ = "0.1.0"

# Where each public name lives. It is imported when first used: `import isometry` costs next to nothing.
_PLACES = {
    "api": "assert_healthy check gain initialize plan recipes transfer",
    "arrays": "constant delta_orthogonal dirac glorot_normal glorot_uniform he_normal he_uniform identity "
    "kaiming_normal kaiming_uniform lecun_normal lecun_uniform normal ones orthogonal sparse "
    "truncated_normal uniform variance_scaling xavier_normal xavier_uniform zeros",
    "checkpoint": "write_checkpoint",
    "correspondence": "Transfer",
    "errors": "ArgumentError BackendError DisagreementError IsometryError MaterialiseError ModelError PlanError TraceError "
    "UnhealthyError",
    "fan": "fans",
    "gains": "moments",
    "manifest": "Manifest",
    "stream": "sample",
    "types": "Axes Block CenteredOrthogonal Constant Decision DeltaOrthogonal Dirac Factor Fans Finding "
    "Hadamard Identity Keep Law LogUniform Measurement MirroredOrthogonal Normal Orthogonal Plan Report "
    "Sparse TruncatedNormal Uniform Verification",
}
_MODULE_OF = {name: module for module, names in _PLACES.items() for name in names.split()}
_SUBPACKAGES = ("lab", "stream")


def __getattr__(name: str) -> object:
    if name in _SUBPACKAGES:
        return _import_module(f"isometry.{name}")
    if name not in _MODULE_OF:
        raise AttributeError(f"module 'isometry' has no attribute {name!r}")
    value = getattr(_import_module(f"isometry.{_MODULE_OF[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


__all__ = [
    "ArgumentError",
    "Axes",
    "BackendError",
    "Block",
    "CenteredOrthogonal",
    "Constant",
    "Decision",
    "DeltaOrthogonal",
    "Dirac",
    "DisagreementError",
    "Factor",
    "Fans",
    "Finding",
    "Hadamard",
    "Identity",
    "IsometryError",
    "Keep",
    "Law",
    "LogUniform",
    "Manifest",
    "MaterialiseError",
    "Measurement",
    "MirroredOrthogonal",
    "ModelError",
    "Normal",
    "Orthogonal",
    "Plan",
    "PlanError",
    "Report",
    "Sparse",
    "TraceError",
    "Transfer",
    "TruncatedNormal",
    "UnhealthyError",
    "Uniform",
    "Verification",
    "__version__",
    "assert_healthy",
    "check",
    "constant",
    "delta_orthogonal",
    "dirac",
    "fans",
    "gain",
    "glorot_normal",
    "glorot_uniform",
    "he_normal",
    "he_uniform",
    "identity",
    "initialize",
    "kaiming_normal",
    "kaiming_uniform",
    "lecun_normal",
    "lecun_uniform",
    "moments",
    "normal",
    "ones",
    "orthogonal",
    "plan",
    "recipes",
    "sample",
    "sparse",
    "stream",
    "transfer",
    "truncated_normal",
    "uniform",
    "variance_scaling",
    "write_checkpoint",
    "xavier_normal",
    "xavier_uniform",
    "zeros",
]
