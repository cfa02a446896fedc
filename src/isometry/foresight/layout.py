"""Where every tensor of a plan lies on a mesh: in which stages, and which part of it on which rank."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from isometry.errors import ArgumentError
from isometry.foresight.cuts import Cut, Cuts
from isometry.foresight.stages import stages_of
from isometry.foresight.values import Row
from isometry.mesh import Chunk, Mesh, lengths, positions
from isometry.types import Decision, Plan

__all__ = ["Layout", "Placed", "layout"]

Index = tuple[tuple[range, ...], ...]  # the positions along every axis, as runs


@dataclass(frozen=True, slots=True)
class Placed:
    """A tensor on a mesh."""

    decision: Decision
    stages: tuple[int, ...]
    cuts: tuple[Cut, ...]  # in the order in which they are made; only those that the mesh makes

    def index(self, mesh: Mesh, at: Mapping[str, int]) -> Index:
        """The positions of the rank at these coordinates, if its stage is one of the tensor's."""
        found = []
        for axis, size in enumerate(self.decision.shape):
            chunks = []
            for cut in self._along(axis):
                place, names = 0, mesh.together(cut.names)
                count = math.prod(mesh.size(n) for n in names)
                for n in names:
                    place = place * mesh.size(n) + at[n]
                chunks.append(Chunk(count, place, cut.blocks))
            found.append(positions(size, chunks))
        return tuple(found)

    def sides(self, mesh: Mesh) -> list[NDArray[np.int64]]:
        """How long the part of every rank of a stage is, an array for each axis of the tensor; its
        axes are those of the mesh, of size 1 where it does not matter."""
        order, found = list(mesh.sizes), []
        for axis, size in enumerate(self.decision.shape):
            cuts = self._along(axis)
            names = [mesh.together(c.names) for c in cuts]
            counts = [math.prod(mesh.size(n) for n in several) for several in names]
            counted = lengths(size, [(n, c.blocks) for n, c in zip(counts, cuts, strict=True)])
            flat = [n for several in names for n in several]
            ascending = sorted(range(len(flat)), key=lambda i: order.index(flat[i]))
            apart = counted.reshape([mesh.size(n) for n in flat]).transpose(ascending)
            found.append(apart.reshape([mesh.size(n) if n in flat else 1 for n in order]))
        return found

    def _along(self, axis: int) -> list[Cut]:
        return [c for c in self.cuts if c.axis == axis]


@dataclass(frozen=True, slots=True)
class Layout:
    """All tensors of a model on a mesh."""

    mesh: Mesh
    tensors: tuple[Placed, ...]
    holds: tuple[tuple[str, ...], ...]  # what each stage holds, in words
    notes: tuple[str, ...]

    def stage(self, rank: int) -> int:
        """The stage of a rank."""
        return self.mesh.coordinates(rank).get("pp", 0)

    def rows(self) -> tuple[Row, ...]:
        """How the tensors are cut, those of repeated modules that are cut alike as one."""
        groups: dict[tuple[Any, ...], list[Placed]] = {}
        for t in self.tensors:
            name = re.sub(r"(?<![^.])\d+(?![^.])", "*", t.decision.name)
            groups.setdefault((name, t.decision.shape, t.cuts), []).append(t)
        found = []
        for (name, shape, cuts), members in groups.items():
            first = members[0]
            words = ", ".join(_words(c) for c in cuts)
            largest = tuple(int(side.max()) for side in first.sides(self.mesh))
            own = first.decision.name if len(members) == 1 else name
            found.append(Row(own, len(members), shape, words, largest))
        return tuple(found)


def layout(plan: Plan, mesh: Mesh, cuts: Cuts, *, guessed: bool) -> Layout:
    """Put every tensor of a plan on a mesh.

    Args:
        plan: of the whole model.
        mesh: of the ranks.
        cuts: which axis of each parameter `tp` and `ep` cut; what it does not name is whole there.
        guessed: whether those are a guess: then a tensor with fewer positions than `tp` has ranks stays
            whole, and else it is an error.

    Raises:
        ArgumentError: the mesh has more ranks along an axis than the model has to give.
    """
    stages = stages_of(plan, mesh.size("pp"))
    _check_something_to_cut(plan, mesh, cuts)
    tensors, whole = [], []
    uneven: dict[tuple[str, int], list[str]] = {}
    for d in plan:
        made: list[Cut] = []
        for cut in cuts.get(d.name, ()):
            count, size = mesh.size(cut.by), min(cut.blocks or (d.shape[cut.axis],))
            if count == 1:
                continue
            if count > size and guessed and cut.by == "tp":
                whole.append(d.name)
                continue
            if count > size:
                what = "experts" if cut.by == "ep" else f"positions of axis {cut.axis}"
                raise ArgumentError(
                    f"{cut.by}={count}, and {d.name} has {size} {what} (shape {d.shape}): expected at "
                    f"most as many ranks; write {cut.by}={size} or less"
                )
            if size % count:
                uneven.setdefault((cut.by, size), []).append(d.name)
            made.append(cut)
        if d.kind == "parameter" and d.shape and mesh.size("dp") > 1:
            expert = any(c.by == "ep" for c in made)
            both = mesh.size("ep") > 1 and not expert  # ranks with other experts have other data
            made.append(Cut(0, "dp+ep" if both else "dp"))  # last: FSDP cuts what is left
        tensors.append(Placed(d, stages.of[d.name], tuple(made)))
    notes = [*stages.notes, *(_uneven(mesh, *key, names) for key, names in uneven.items())]
    if whole:
        notes.append(
            f"with fewer positions than tp={mesh.size('tp')}, and so whole: {_some(whole)}"
        )
    return Layout(mesh, tuple(tensors), stages.holds, tuple(notes))


def _check_something_to_cut(plan: Plan, mesh: Mesh, cuts: Cuts) -> None:
    """A mesh whose ranks would all hold the same is a slip of the pen."""
    for by, what in (("tp", "matrix"), ("ep", "stack of experts")):
        sizes = [d.shape[c.axis] for d in plan for c in cuts.get(d.name, ()) if c.by == by]
        count = mesh.size(by)
        if count > max(sizes, default=1):
            most = f"none with more than {max(sizes)} positions to cut" if sizes else "none"
            raise ArgumentError(
                f"{by}={count} cuts a {what}, and {plan.model} has {most}; write "
                + (f"{by}={max(sizes)} or less" if sizes else f"the mesh without {by}")
            )


def _uneven(mesh: Mesh, by: str, size: int, names: list[str]) -> str:
    step = -(-size // mesh.size(by))
    last = max(size - step * (mesh.size(by) - 1), 0)
    return f"{by}={mesh.size(by)} does not divide {size}: parts of {step}, the last of {last}, in {_some(names)}"


def _some(names: list[str]) -> str:
    more = len(names) - 1
    return names[0] + (f" and {more} more" if more else "")


def _words(cut: Cut) -> str:
    """ "tp 0", or "tp 0 (3 in one)"."""
    return f"{cut.by} {cut.axis}" + (f" ({len(cut.blocks)} in one)" if cut.blocks else "")
