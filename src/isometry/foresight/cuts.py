"""Which axis of each parameter tensor and expert parallelism cut, by a model's own plan or by use.

A model's own plan is words for names: {"layers.*.mlp.up_proj": "colwise"}. Without one the traced graph
says it: a matrix that writes a residual stream is cut by its inputs, any other by its outputs.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from isometry.graph import Graph
from isometry.roles import MATRICES, Usage, read_usages
from isometry.streams import read_streams, weight_values
from isometry.types import Decision, Plan

__all__ = ["STYLES", "Cut", "Cuts", "by_styles", "by_use"]


@dataclass(frozen=True, slots=True)
class Cut:
    """An axis of a tensor that an axis of the mesh cuts, "tp", or two of them as one, "dp+ep"; each of
    `blocks`, sizes along the tensor's axis, by itself."""

    axis: int
    by: str
    blocks: tuple[int, ...] = ()

    @property
    def names(self) -> list[str]:
        """The axes of the mesh."""
        return self.by.split("+")


Cuts = Mapping[str, tuple[Cut, ...]]  # a parameter's name -> its cuts, one an axis of the mesh


def by_styles(plan: Plan, tp: Mapping[str, str], ep: Mapping[str, str]) -> Cuts:
    """The cuts that a model's own plans make.

    Args:
        plan: of the model; its stacked experts are cut by their number in any case.
        tp: name of a parameter or its module -> style, one of STYLES or a word that cuts nothing;
            a `*` stands for a number.
        ep: the same for expert parallelism; empty where there is none.

    Returns:
        The cuts of every parameter that is cut.

    Example:
        >>> from isometry.types import Constant
        >>> weight = Decision("layers.0.up.weight", (), "parameter", (8, 4), "float32", "linear", None,
        ...                   None, "zeros", None, Constant(0.0), (), "", "")
        >>> by_styles(Plan("MLP", "auto", (weight,)), {"layers.*.up": "colwise"}, {})
        {'layers.0.up.weight': (Cut(axis=0, by='tp', blocks=()),)}
    """
    found = {}
    for d in plan:
        if d.kind != "parameter":
            continue
        cuts = [_experts(d) or _styled(d, ep, "ep")]
        if not any(module in ep for module in _spellings(d.name)):  # what ep has, tp leaves alone
            cuts.append(_styled(d, tp, "tp"))
        found[d.name] = tuple(c for c in cuts if c is not None)
    return {name: cuts for name, cuts in found.items() if cuts}


def _styled(d: Decision, styles: Mapping[str, str], by: str) -> Cut | None:
    """The cut by the style of a parameter, or of the module that it lies in."""
    own = [name for name in _spellings(d.name) if name.count(".") >= d.name.count(".") - 1]
    named = next((styles[name] for name in own if name in styles), "")
    return STYLES[named](d, by) if named in STYLES else None


def _spellings(name: str) -> Iterator[str]:
    """A parameter and the modules around it, from the inside, as they are and with a * for numbers."""
    while name:
        yield name
        yield re.sub(r"(?<![^.])\d+(?![^.])", "*", name)
        name = name.rpartition(".")[0]


def _experts(d: Decision) -> Cut | None:
    """Experts that are stacked along an axis are cut along it."""
    if d.role != "experts" or d.axes is None or not d.axes.batch_axis:
        return None
    return Cut(d.axes.batch_axis[0], "ep")


Style = Callable[[Decision, str], Cut | None]


def _outputs(d: Decision, by: str) -> Cut | None:
    return Cut(max(len(d.shape) - 2, 0), by) if d.shape else None


def _inputs(d: Decision, by: str) -> Cut | None:
    if not d.shape or d.name.rpartition(".")[2] == "bias":  # added once the parts are summed
        return None
    return Cut(len(d.shape) - 1, by)


def _halves(n: int) -> tuple[int, ...]:
    """Two matrices in one, as torch.chunk has them."""
    return (-(-n // 2), n // 2)


def _packed_outputs(d: Decision, by: str) -> Cut | None:
    if len(d.shape) < 2:
        return _outputs(d, by)
    axis = len(d.shape) - 2
    return Cut(axis, by, _halves(d.shape[axis]))


def _packed_inputs(d: Decision, by: str) -> Cut | None:
    return Cut(len(d.shape) - 1, by, _halves(d.shape[-1])) if len(d.shape) > 1 else None


def _first(d: Decision, by: str) -> Cut | None:
    return Cut(0, by) if d.shape else None


def _second(d: Decision, by: str) -> Cut | None:
    return Cut(1, by) if len(d.shape) > 1 else None


# The words of transformers' plans, and PyTorch's own; what is not here is whole on every rank.
STYLES: Mapping[str, Style] = {
    "colwise": _outputs,
    "colwise_gather_output": _outputs,
    "colwise_rep": _outputs,
    "rowwise": _inputs,
    "rowwise_rep": _inputs,
    "rowwise_split_input": _inputs,
    "packed_colwise": _packed_outputs,
    "packed_rowwise": _packed_inputs,
    "embedding_rowwise": _first,
    "embedding_colwise": _second,
    "grouped_gemm": _first,
}


def by_use(graph: Graph) -> Cuts:
    """The cuts that follow from what each weight does in the graph of its model.

    A matrix that writes a residual stream is cut along its inputs; any other along its outputs, each
    matrix of a fused one by itself; a table along its rows; the bias of a matrix that is cut along
    its outputs with it. The rest is whole on every rank. Experts are cut by their number.
    """
    weights = weight_values(graph)
    usages = {u.leaf.name: u for u in read_usages(graph, weights, read_streams(graph, weights))}
    found = {name: _matrix(usage) for name, usage in usages.items()}
    for name, usage in usages.items():
        if usage.role == "bias" and usage.partner is not None and usage.leaf.shape:
            found[name] = _bias(usage, usages[usage.partner.name], found[usage.partner.name])
    return {name: cuts for name, cuts in found.items() if cuts}


def _matrix(usage: Usage) -> tuple[Cut, ...]:
    if usage.role == "embedding":
        return (Cut(0, "tp"),)
    axes = usage.axes
    if usage.role not in MATRICES or axes is None or not axes.out_axis or not axes.in_axis:
        return ()
    first = tuple(Cut(a, "ep") for a in axes.batch_axis[:1] if usage.role == "experts")
    if usage.stream is not None:
        return (*first, Cut(axes.in_axis[0], "tp"))
    axis = axes.out_axis[0]
    blocks = tuple(b.stop - b.start for b in usage.blocks if b.axis == axis)
    whole = sum(blocks) == usage.leaf.shape[axis]
    return (*first, Cut(axis, "tp", blocks if whole and len(blocks) > 1 else ()))


def _bias(usage: Usage, matrix: Usage, cuts: tuple[Cut, ...]) -> tuple[Cut, ...]:
    """Cut as the outputs are that it is added to."""
    shape, axes = usage.leaf.shape, matrix.axes
    places = {"ep": 0, "tp": len(shape) - 1}
    return tuple(
        Cut(places[c.by], c.by, c.blocks)
        for c in cuts
        if axes is not None
        and c.axis in (*axes.batch_axis, *axes.out_axis)
        and matrix.leaf.shape[c.axis] == shape[places[c.by]]
    )
