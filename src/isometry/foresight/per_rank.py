"""Plan, mesh -> Foresight: every rank counted at once, with arrays that have the mesh's axes."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from isometry.foresight.cost import is_orthogonal, memory, operations
from isometry.foresight.cuts import Cuts
from isometry.foresight.layout import Layout, Placed, layout
from isometry.foresight.proof import prove
from isometry.foresight.speed import measured
from isometry.foresight.values import Foresight, Span, Speed, StageForesight
from isometry.mesh import Mesh
from isometry.stream.keys import check_seed
from isometry.types import Plan

__all__ = ["foresee"]

Numbers = NDArray[np.float64]
LARGE = 100  # a share of the model's parameters, 1/100, from which on a tensor is worth a note
# Bytes of an element, where NumPy does not know the dtype.
ODD = {"bfloat16": 2, "float8_e4m3fn": 1, "float8_e5m2": 1, "complex32": 4}


def foresee(
    plan: Plan,
    mesh: Mesh,
    cuts: Cuts,
    *,
    rule: str = "as given",
    guessed: bool = False,
    dtype: str | None = None,
    seed: int = 0,
) -> Foresight:
    """What each rank of a mesh will hold of a model, and what it takes to fill it.

        held(rank) = sum over its stage's tensors of prod_axis |positions(axis, rank)|

    `dp` cuts axis 0 of every parameter (FSDP2), after what `tp` and `ep` cut. Ranks along `ep` hold
    other experts and see other data: where there is `dp`, all that is no expert is cut by both together.
    Buffers are whole on every rank. Nothing is counted that a forward or an optimiser takes.

    Args:
        plan: of the whole model.
        mesh: `Mesh.parse("dp=64,tp=8,pp=4")`.
        cuts: which axes `tp` and `ep` cut: `by_styles` or `by_use`.
        rule: where the cuts come from, in words.
        guessed: whether they are a guess: a tensor too small for `tp` is then left whole.
        dtype: of the parameters, such as "bfloat16"; None: as in the plan.
        seed: for the proof.

    Returns:
        A Foresight: stages, rows, notes, the speed that was measured, and the proof.

    Raises:
        ArgumentError: the mesh has more ranks along an axis than the model has to give.

    Example:
        >>> import numpy as np
        >>> from isometry.foresight.cuts import Cut
        >>> from isometry.types import Decision, Normal
        >>> weight = Decision("up.weight", (), "parameter", (96, 64), "float32", "linear", None, None,
        ...                   "normal", None, Normal(std=0.02), (), "", "")
        >>> seen = foresee(Plan("MLP", "auto", (weight,)), Mesh.parse("dp=5,tp=2"),
        ...                {"up.weight": (Cut(0, "tp"),)})
        >>> seen.stages[0].parameters, seen.rows[0].shard, seen.proof.unequal
        (Span(low=512, high=640), (10, 64), ())

    Source: torch.distributed.tensor's Shard and FSDP2's fully_shard, whose shards these are.
    """
    check_seed(seed)
    placed = layout(plan, mesh, cuts, guessed=guessed)
    kinds = Counter[str]()
    for d in plan:
        if d.kind == "parameter":
            kinds[dtype or d.dtype] += math.prod(d.shape)
    main = kinds.most_common(1)[0][0] if kinds else "float32"
    speed = measured(main, orthogonal=any(map(is_orthogonal, plan)))
    stages = tuple(_Stage(placed, i, dtype, speed).seen() for i in range(len(placed.holds)))
    return Foresight(
        model=plan.model,
        mesh=str(mesh),
        world=mesh.world,
        parameters=sum(kinds.values()),
        bytes=sum(math.prod(t.decision.shape) * _itemsize(t, dtype) for t in placed.tensors),
        dtype=", ".join(sorted(kinds)),
        stages=stages,
        rows=placed.rows(),
        rule=rule,
        speed=speed,
        notes=(*placed.notes, *_notes(placed)),
        proof=prove(placed, seed=seed, dtype=dtype),
    )


def _notes(placed: Layout) -> Iterable[str]:
    """What is assumed, who goes without, and what is not proved."""
    mesh, tensors = placed.mesh, placed.tensors
    parameters = [t for t in tensors if t.decision.kind == "parameter"]
    total = sum(math.prod(t.decision.shape) for t in parameters)
    if mesh.size("ep") > 1:
        rest = "cut by dp and ep together" if mesh.size("dp") > 1 else "whole on each rank of ep"
        yield f"ep cuts the experts; everything else is {rest}"
    scalars = sum(not t.decision.shape for t in parameters)
    if scalars and mesh.size("dp") > 1:
        numbers = (
            "parameter is a single number" if scalars == 1 else "parameters are single numbers"
        )
        yield f"{scalars} {numbers}: whole on every rank here, and refused by FSDP2"
    absent = [
        t for t in parameters if math.prod(t.decision.shape) * LARGE > total and _missing(t, mesh)
    ]
    if absent:
        more = f" and {len(absent) - 1} more" if len(absent) > 1 else ""
        yield f"cut into more parts than there are, so that some ranks hold none of {absent[0].decision.name}{more}"
    matrices = sum(is_orthogonal(t.decision) for t in tensors)
    if matrices:
        laws = (
            "tensor with orthogonal laws is"
            if matrices == 1
            else "tensors with orthogonal laws are"
        )
        yield f"{matrices} {laws} not in the proof: equal within a tolerance, not to the bit"


def _missing(tensor: Placed, mesh: Mesh) -> bool:
    return any(int(side.min()) == 0 for side in tensor.sides(mesh))


@dataclass(slots=True)
class _Stage:
    """The ranks of a stage, counted together: the arrays have the mesh's axes."""

    placed: Layout
    number: int
    dtype: str | None
    speed: Speed
    parameters: Numbers = field(init=False)
    bytes: Numbers = field(init=False)
    seconds: Numbers = field(init=False)

    def seen(self) -> StageForesight:
        mesh = self.placed.mesh
        grid = [1 if name == "pp" else size for name, size in mesh.sizes.items()]
        self.parameters, self.bytes, self.seconds = (np.zeros(grid) for _ in range(3))
        extra = 0
        for tensor, count in self._kinds().values():
            extra = max(extra, self._add(tensor, count))
        worst = np.unravel_index(int(self.bytes.argmax()), grid)
        at = dict(zip(mesh.sizes, map(int, worst), strict=True))
        low, high = float(self.bytes.min()), float(self.bytes.max())
        return StageForesight(
            holds=self.placed.holds[self.number],
            ranks=math.prod(grid),
            parameters=Span(int(self.parameters.min()), int(self.parameters.max())),
            bytes=Span(int(low), int(high)),
            seconds=Span(float(self.seconds.min()), float(self.seconds.max())),
            peak=Span(int(low) + extra, int(high) + extra),
            mean=float(self.bytes.mean()),
            worst=mesh.rank({**at, "pp": self.number}),
        )

    def _kinds(self) -> dict[Any, tuple[Placed, int]]:
        """The stage's tensors, those that cost the same counted once."""
        found: dict[Any, tuple[Placed, int]] = {}
        for t in self.placed.tensors:
            if self.number in t.stages:
                d = t.decision
                kind = (d.shape, d.dtype, d.kind, t.cuts, d.law, d.blocks, d.axes)
                first, count = found.get(kind, (t, 0))
                found[kind] = first, count + 1
        return found

    def _add(self, tensor: Placed, count: int) -> int:
        """Count so many tensors like this; bytes that filling one takes beyond it."""
        d = tensor.decision
        sides = tensor.sides(self.placed.mesh)
        elements = math.prod(sides, start=np.ones((), dtype=np.int64))
        self.bytes += count * elements * _itemsize(tensor, self.dtype)
        if d.kind != "parameter":
            return 0
        self.parameters += count * elements
        if d.keeps:
            return 0
        if not is_orthogonal(d):
            self.seconds += count * elements / self.speed.numbers
        elif self.speed.operations:
            self.seconds += count * operations(d, sides) / self.speed.operations
        return memory(d, sides)


def _itemsize(tensor: Placed, dtype: str | None) -> int:
    """Bytes of one of its elements; a dtype that is asked for is that of floating-point tensors."""
    own = tensor.decision.dtype
    floating = "float" in own
    kind = dtype if dtype is not None and floating else own
    return ODD.get(kind) or int(np.dtype(kind).itemsize)
