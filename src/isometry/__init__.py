"""isometry: initialise neural networks, and prove that it was done right.

    import isometry as iso

    plan = iso.initialize(model, inputs, seed=0)    # the right law for every parameter, with a reason
    report = iso.check(model, inputs)               # the signal and gradient that result

Importing isometry imports no framework; `isometry.torch`, `isometry.keras` and `isometry.jax` are the
frameworks' corners, `isometry.lab` the experiments.
"""

from collections.abc import Callable as _Callable
from importlib import import_module as _import_module

from isometry import adapters as _adapters
from isometry import fan as _fan
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
from isometry.correspondence import Transfer
from isometry.errors import (
    ArgumentError,
    BackendError,
    IsometryError,
    MaterialiseError,
    ModelError,
    PlanError,
    TraceError,
    UnhealthyError,
)
from isometry.fan import fans
from isometry.gains import moments
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
)
from isometry.types import use_adapters as _use_adapters
from isometry.types import use_renderers as _use_renderers

__version__ = "0.1.0"


def _renderer(module: str) -> _Callable[[Report], str]:
    """A renderer of `isometry.report`, imported when first used."""
    return lambda report: _import_module(f"isometry.report.{module}").render(report)


_use_adapters(_adapters.adapter_for)
_use_renderers(
    {".html": _renderer("html"), ".json": _renderer("json_"), ".sarif": _renderer("sarif"),
     ".xml": _renderer("junit"), "notebook": _renderer("notebook")}
)  # fmt: skip


def __getattr__(name: str) -> object:
    """`isometry.lab`, imported when first used: nobody who trains should wait for experiments."""
    if name == "lab":
        return _import_module("isometry.lab")
    raise AttributeError(f"module 'isometry' has no attribute {name!r}")


_fan.use_layers(lambda layer: _adapters.adapter_for(layer).fans(layer))

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
    "Factor",
    "Fans",
    "Finding",
    "Hadamard",
    "Identity",
    "IsometryError",
    "Keep",
    "Law",
    "LogUniform",
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
    "xavier_normal",
    "xavier_uniform",
    "zeros",
]
