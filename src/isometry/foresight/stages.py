"""Pipeline stages: the numbered blocks of a model, in order, as evenly as can be."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import groupby

from isometry.errors import ArgumentError
from isometry.types import Plan
from isometry.types.names import canonical

__all__ = ["Stages", "stages_of"]

Block = tuple[str, int]
FIRST_NUMBER = re.compile(
    r"(?:(.*?)\.)?(\d+)\."
)  # a block's own; what is numbered inside it comes later
SHOWN = 3  # modules outside of blocks that are named


@dataclass(frozen=True, slots=True)
class Stages:
    """Where a pipeline puts each tensor.

    Attributes:
        of: a tensor's name -> the stages that hold it.
        holds: what each stage holds, in words.
        notes: what does not divide, and what more than one stage holds.
    """

    of: dict[str, tuple[int, ...]]
    holds: tuple[tuple[str, ...], ...]
    notes: tuple[str, ...]


def stages_of(plan: Plan, count: int) -> Stages:
    """Cut a model into contiguous stages.

    Blocks are modules that are numbered and of which there are several, `layers.0` and `layers.1`.
    What is before the first block is in the first stage, what is after the last in the last stage,
    what is between two with the one before. A tied tensor is in the stages of all its names, those of
    a head in the last; a buffer that belongs to no block is in every stage.

    Raises:
        ArgumentError: there are fewer blocks than stages.
    """
    blocks = _blocks(plan)
    if count > max(len(blocks), 1):
        raise ArgumentError(
            f"pp={count}, and {plan.model} has {len(blocks) or 'no'} numbered blocks"
            f"{' (' + ', '.join(_ranges(blocks)) + ')' if blocks else ''}: a stage needs one; write "
            + (f"pp={len(blocks)} at most" if len(blocks) > 1 else "the mesh without pp")
        )
    share, more = divmod(len(blocks), count)
    sizes = [share + (i < more) for i in range(count)]
    stage_of = dict(zip(blocks, (i for i, n in enumerate(sizes) for _ in range(n)), strict=True))
    of: dict[str, tuple[int, ...]] = {}
    own: list[list[str]] = [[] for _ in range(count)]  # modules outside of blocks
    stage, shared = 0, []
    for d in plan:
        stage = stage_of.get(_block(d.name), stage)
        if d.kind == "buffer" and _block(d.name) not in stage_of:
            of[d.name] = tuple(range(count))
            continue
        places = {stage_of.get(_block(d.name), stage)}
        ties = {canonical(alias) for alias in d.aliases} - {canonical(d.name)}  # no other spellings
        places |= {stage_of.get(_block(tie), count - 1) for tie in ties}
        of[d.name] = tuple(sorted(places))
        if _block(d.name) not in stage_of:
            own[stage].append(d.name.rpartition(".")[0] or d.name)
        if len(places) > 1:
            shared.append(d.name)
    notes = []
    if more:
        notes.append(f"pp={count} does not divide {len(blocks)} blocks: {_counts(sizes)}")
    if shared:
        notes.append(f"tied, and so in several stages: {', '.join(shared)}")
    held = [[b for b in blocks if stage_of[b] == i] for i in range(count)]
    holds = (
        _holds(_ranges(b), _few(list(dict.fromkeys(o)))) for b, o in zip(held, own, strict=True)
    )
    return Stages(of, tuple(holds), tuple(notes))


def _block(name: str) -> Block:
    found = FIRST_NUMBER.match(name)
    return ("", -1) if found is None else (found[1] or "", int(found[2]))


def _blocks(plan: Plan) -> list[Block]:
    """Every block, in the model's order."""
    found = dict.fromkeys(_block(d.name) for d in plan if d.kind == "parameter")
    stacks = [prefix for prefix, number in found if number >= 0]
    return [(p, n) for p, n in found if n >= 0 and stacks.count(p) > 1]


def _ranges(blocks: Iterable[Block]) -> list[str]:
    """layers.{0-31} for the blocks of a stack."""
    found = []
    for prefix, run in groupby(blocks, key=lambda b: b[0]):
        numbers = [n for _, n in run]
        text = str(numbers[0]) if len(numbers) == 1 else f"{{{numbers[0]}-{numbers[-1]}}}"
        found.append(f"{prefix}.{text}" if prefix else text)
    return found


def _holds(blocks: list[str], modules: list[str]) -> tuple[str, ...]:
    return (*blocks, *modules)


def _few(modules: list[str]) -> list[str]:
    more = len(modules) - SHOWN
    return modules if more <= 0 else [*modules[:SHOWN], f"{more} more"]


def _counts(sizes: list[int]) -> str:
    """ "2 stages of 32, 2 of 31"."""
    runs = [(n, len(list(same))) for n, same in groupby(sizes)]
    return ", ".join(f"{k} stage{'s' * (k != 1)} of {n}" for n, k in runs)
