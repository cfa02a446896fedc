"""Recipes: a rule for a whole model, one file each."""

from __future__ import annotations

import difflib

from isometry.errors import ArgumentError
from isometry.recipe.auto import Auto
from isometry.recipe.base import Choice, Recipe, Site, Survey
from isometry.recipe.chrono import Chrono
from isometry.recipe.classic import CLASSIC
from isometry.recipe.critical import Critical
from isometry.recipe.depth_scaled import DepthScaled
from isometry.recipe.edge_of_chaos import EdgeOfChaos
from isometry.recipe.fixup import Fixup
from isometry.recipe.isometric import Isometric
from isometry.recipe.mimetic import Mimetic
from isometry.recipe.mup import MuP
from isometry.recipe.siren import Siren
from isometry.recipe.torch_defaults import TorchDefaults
from isometry.recipe.transformer_scaling import DeepNorm, TFixup
from isometry.recipe.zero import ZerO

__all__ = [
    "RECIPES",
    "Choice",
    "Chrono",
    "DeepNorm",
    "DepthScaled",
    "EdgeOfChaos",
    "Fixup",
    "Mimetic",
    "MuP",
    "Recipe",
    "Siren",
    "Site",
    "Survey",
    "TFixup",
    "ZerO",
    "find_recipe",
]

_ALL: tuple[Recipe, ...] = (
    Auto(), Isometric(), *CLASSIC, EdgeOfChaos(), Critical(), Fixup(), TFixup(), DeepNorm(),
    DepthScaled(), MuP(), Siren(), Chrono(), ZerO(), Mimetic(), TorchDefaults(),
)  # fmt: skip

RECIPES: dict[str, Recipe] = {r.name: r for r in _ALL}


def find_recipe(recipe: str | Recipe) -> Recipe:
    """A recipe by name, or a recipe of your own as it is."""
    if not isinstance(recipe, str):
        if callable(getattr(recipe, "decide", None)):
            return recipe
        raise ArgumentError(
            f"recipe is {type(recipe).__name__}; expected a name ({', '.join(RECIPES)}) or an "
            "object with a decide(site) method"
        )
    if recipe not in RECIPES:
        near = difflib.get_close_matches(recipe, RECIPES, n=1)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        raise ArgumentError(f"recipe {recipe!r} is not one of {', '.join(RECIPES)}{hint}")
    return RECIPES[recipe]
