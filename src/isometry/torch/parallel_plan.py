"""How a model's own class says that it is to be sharded: transformers' plans for its parameters."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from torch import nn

__all__ = ["ParallelPlan", "parallel_plan"]


class ParallelPlan(NamedTuple):
    """Name of a parameter or its module, `*` for a number -> style: "colwise", "rowwise", ..."""

    tp: Mapping[str, str]
    ep: Mapping[str, str]


def parallel_plan(model: nn.Module) -> ParallelPlan:
    """The tensor- and expert-parallel plans that a model has of its own; empty where it has none.

    Args:
        model: a transformers model, or any other module.

    Example:
        >>> parallel_plan(nn.Linear(2, 2))
        ParallelPlan(tp={}, ep={})
    """
    return ParallelPlan(_styles(model, "_tp_plan"), _styles(model, "_ep_plan"))


def _styles(model: Any, attribute: str) -> Mapping[str, str]:
    found = getattr(model, attribute, None)
    if not isinstance(found, Mapping):
        return {}
    return {name: style for name, style in found.items() if isinstance(style, str)}
