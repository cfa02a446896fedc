"""The errors isometry raises, and nothing else.

    IsometryError
    ├── ArgumentError       a value passed by the caller is not one that can be used   (also ValueError)
    ├── ModelError          a model cannot be read, planned or written as it is
    │   ├── TraceError      its forward could not be run for the graph
    │   └── MaterialiseError    a parameter or buffer on meta cannot be given a value
    ├── PlanError           a plan and the model (or two plans) do not fit together
    │   └── DisagreementError   the ranks of a process group are about to write different models
    ├── BackendError        an optional dependency or a backend is missing
    └── UnhealthyError      assert_healthy found an error                              (also AssertionError)

Every message has three parts: what was received, what was expected, what to type instead.
"""

from __future__ import annotations

__all__ = [
    "ArgumentError",
    "BackendError",
    "DisagreementError",
    "IsometryError",
    "MaterialiseError",
    "ModelError",
    "PlanError",
    "TraceError",
    "UnhealthyError",
]


class IsometryError(Exception):
    """The root of every error raised on purpose by isometry."""


class ArgumentError(IsometryError, ValueError):
    """A value passed by the caller cannot be used."""


class ModelError(IsometryError):
    """A model cannot be read, planned or written as it is."""


class TraceError(ModelError):
    """The model's own forward failed while its graph was being read."""


class MaterialiseError(ModelError):
    """A parameter or buffer on meta cannot be given a value."""


class PlanError(IsometryError):
    """A plan and a model do not fit together."""


class DisagreementError(PlanError):
    """The ranks of a process group do not agree on what to write; none of them has written."""


class BackendError(IsometryError):
    """An optional dependency is missing, or a backend cannot do what was asked."""


class UnhealthyError(IsometryError, AssertionError):
    """`assert_healthy` found an error in the model."""
