"""`isometry plan --mesh`: what every rank would hold, how long it would take, and a proof."""

from __future__ import annotations

from typing import Any

from isometry.adapters import adapter_for, framework_of
from isometry.foresight import Cuts, Foresight, by_styles, by_use, foresee
from isometry.graph import Graph
from isometry.mesh import Mesh
from isometry.planner import plan_graph
from isometry.types import Plan

__all__ = ["foreseen"]

OWN = "as the model's own plan says (its class has one for tp and ep)"
USE = (
    "as the graph has it, since the model has no plan: along the inputs what writes a residual stream, "
    "tables along their rows, other matrices along the outputs"
)


def foreseen(
    model: Any, inputs: Any, mesh: Mesh, *, recipe: str, loss: str | None, dtype: str | None, seed: int
) -> tuple[Plan, Foresight]:  # fmt: skip
    """Plan a model, and say what it will be on a mesh."""
    graph = adapter_for(model).read(model, inputs, loss)
    made = plan_graph(graph, recipe)
    cuts, own = _cuts(model, graph, made, mesh)
    rule = OWN if own else USE
    if mesh.size("dp") > 1:
        rule += "; dp along axis 0 of what is left"
    seen = foresee(made, mesh, cuts, rule=rule, guessed=not own, dtype=dtype, seed=seed)
    return made, seen


def _cuts(model: Any, graph: Graph, made: Plan, mesh: Mesh) -> tuple[Cuts, bool]:
    """The cuts, and whether they are the model's own."""
    if framework_of(model) == "torch":
        from isometry.torch.parallel_plan import parallel_plan

        tp, ep = parallel_plan(model)
        if tp:
            return by_styles(made, tp, ep if mesh.size("ep") > 1 else {}), True
    return by_use(graph), False
