"""What a recipe says where its premises fail: which one, what was found, what to use instead."""

from __future__ import annotations

from collections.abc import Iterable

from isometry.errors import PlanError

__all__ = ["listed", "refusal"]


def refusal(recipe: str, premise: str, found: str, instead: str) -> PlanError:
    """The error of a recipe that does not suit a model.

    Example:
        >>> str(refusal("fixup", "needs residual branches", "this model has none", "'he'"))
        "recipe 'fixup' needs residual branches; this model has none. Use recipe='he'"
    """
    return PlanError(f"recipe {recipe!r} {premise}; {found}. Use recipe={instead}")


def listed(names: Iterable[str], most: int = 3) -> str:
    """The first few names, and how many more there are.

    Example:
        >>> listed(["a", "b", "c", "d", "e"])
        'a, b, c and 2 more'
    """
    every = list(names)
    shown = ", ".join(every[:most])
    return shown + (f" and {len(every) - most} more" if len(every) > most else "")
