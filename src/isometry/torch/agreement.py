"""Ranks that fill one model together: one small collective says that they are about to write the same.

Nobody needs another rank's numbers; but a rank that plans otherwise, or fails, would leave a model
of which each part is fine and the whole is not. So before anything is written

    v = max over ranks of (h, M - h, no stage, stage of each name, M - stage of each name)

is worked out, in whole numbers up to M = 2^31 - 1 and of a fixed count (33 KB), with h the hash of plan,
seed and patterns, and 0 of a rank that has failed. All ranks see one v, so that all write or none
does; only when they do not, they tell each other why.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import distributed, nn

from isometry.errors import ArgumentError, DisagreementError
from isometry.stream import STREAM_VERSION
from isometry.torch.sharded import meshes_of
from isometry.types import Plan

__all__ = ["Intent", "agree", "group_of", "withdraw"]

LARGEST = 2**31 - 1  # that a 32-bit number holds, which every backend reduces
HASH = 4  # such numbers
NAMES = 4096  # of a plan, whose owners are compared; of a longer one, so many spread evenly


@dataclass(frozen=True, slots=True)
class Intent:
    """What a rank is about to write.

    `names` are those of the plan that are written by someone; `mine` those of them that this rank
    writes, or its part of. `stage`: the mapping that makes this rank's part a stage, whose names no other
    stage has. `to`: what comes next.
    """

    plan: Plan
    seed: int
    patterns: tuple[Any, Any]
    names: tuple[str, ...] = ()
    mine: frozenset[str] = frozenset()
    stage: Mapping[str, str] | None = None
    to: str = "write"

    def hash(self) -> list[int]:
        """Of everything that must be the same on all ranks."""
        tensors = [[d.name, d.shape, d.dtype, str(d.axes)] for d in self.plan]
        what = [
            STREAM_VERSION, self.to, self.plan.digest, sorted(tensors), int(self.seed), self.patterns,
        ]  # fmt: skip
        return _numbers(what, HASH)


@dataclass(frozen=True, slots=True)
class Group:
    """The process groups over which the ranks of a model reduce: one, or one an axis of its mesh."""

    groups: tuple[Any, ...]
    device: str = "cpu"

    def largest(self, vector: torch.Tensor) -> torch.Tensor:
        on_device = vector.to(self.device)
        for group in self.groups:
            distributed.all_reduce(on_device, distributed.ReduceOp.MAX, group=group)
        return on_device.cpu()

    def everyone(self, mine: Any) -> list[Any]:
        """What each rank has to say; along each axis of a mesh in turn."""
        known = [mine]
        for group in self.groups:
            parts: list[Any] = [None] * distributed.get_world_size(group)
            distributed.all_gather_object(parts, known, group=group)
            known = [one for part in parts for one in part]
        return known


def group_of(model: nn.Module, *, part: bool, verify: Any) -> Group | None:
    """The ranks that have to agree about a model; None where it is nobody's business but this rank's.

    Args:
        model: sharded or not.
        part: it is a part of the planned one.
        verify: False: nobody. True: all ranks. None: all ranks where the model is sharded, a part of
            a larger one, or wrapped in DistributedDataParallel. A process group: that one.

    Raises:
        ArgumentError: `verify` is none of these.
        DisagreementError: the model is sharded over processes that are not there (any more).
    """
    if verify is False:
        return None
    there = distributed.is_available() and distributed.is_initialized()
    if not (verify in (None, True) or (there and isinstance(verify, distributed.ProcessGroup))):
        raise ArgumentError(
            f"verify={verify!r}; expected None, True, False, or a process group of torch.distributed"
        )
    meshes = meshes_of(model)
    world = distributed.get_world_size() if there else 0
    widest = max(meshes, key=lambda mesh: mesh.size(), default=None)
    if widest is not None and int(widest.mesh.max()) >= world:
        raise DisagreementError(
            f"the model is sharded over a mesh of {widest.size()} processes, and "
            + (f"the process group has {world}" if world else "there is no process group")
            + ": the world has changed since; build the model and shard it again, or pass verify=False"
        )
    if world < 2:
        return None
    device = widest.device_type if widest is not None else _device_of(None)
    if isinstance(verify, distributed.ProcessGroup):
        return Group((verify,), _device_of(verify))
    replicas = any(isinstance(m, nn.parallel.DistributedDataParallel) for m in model.modules())
    everyone = verify is True or part or replicas
    if everyone or (widest is not None and widest.size() == world):
        return Group((None,), device)
    if widest is None:
        return None
    if widest.get_coordinate() is None:  # this rank has no part in it
        return None
    return Group(tuple(widest.get_group(axis) for axis in range(widest.ndim)), device)


def agree(group: Group | None, intent: Intent) -> None:
    """Return on every rank, or raise on every rank.

    Raises:
        DisagreementError: a rank has another plan, seed or patterns, or failed; a name of the plan
            is on no rank, or on two stages.
    """
    if group is None:
        return
    found = _exchanged(group, _vector(intent))
    high, low = found[:HASH], [LARGEST - x for x in found[HASH : 2 * HASH]]
    lenient, *owners = found[2 * HASH :]
    compared = list(zip(_compared(intent.names), owners[:NAMES], owners[NAMES:], strict=False))
    missing = [name for name, stage, _ in compared if not stage]
    # Of two stages one has the larger number, and the other the larger complement.
    tied = {d.name for d in intent.plan if d.aliases}  # which may be in as many as it has names
    twice = [
        name
        for name, stage, rest in compared
        if stage and stage + rest != LARGEST and not lenient and name not in tied
    ]
    if high != low or missing or twice:
        raise DisagreementError(_why(group, intent, missing, twice))


def withdraw(group: Group | None, error: Exception) -> None:
    """Tell the other ranks that this one has failed, so that none of them waits or writes."""
    if group is None:
        return
    with contextlib.suppress(DisagreementError, RuntimeError):  # this rank has an error of its own
        _exchanged(group, _vector(None))
        group.everyone(
            {"rank": distributed.get_rank(), "error": f"{type(error).__name__}: {error}"}
        )


def _vector(intent: Intent | None) -> torch.Tensor:
    """This rank's part of v; None is of a rank that failed."""
    own = [0] * HASH if intent is None else intent.hash()
    head = [*own, *(LARGEST - x for x in own), intent is not None and intent.stage is None]
    stages, rest = [0] * NAMES, [0] * NAMES
    if intent is not None:
        stage = max(1, *_numbers(sorted((intent.stage or {}).items()), 1))
        for i, name in enumerate(_compared(intent.names)):
            if name in intent.mine:
                stages[i], rest[i] = stage, LARGEST - stage
    return torch.tensor([*head, *stages, *rest], dtype=torch.int32)


def _numbers(what: Any, count: int) -> list[int]:
    """A hash, as numbers of 31 bits."""
    digest = hashlib.blake2b(json.dumps(what).encode(), digest_size=4 * count).digest()
    return [int.from_bytes(digest[4 * i : 4 * i + 4]) & LARGEST for i in range(count)]


def _compared(names: Sequence[str]) -> Sequence[str]:
    return names[:: -(-len(names) // NAMES) or 1]


def _exchanged(group: Group, vector: torch.Tensor) -> list[int]:
    try:
        return group.largest(vector).tolist()
    except RuntimeError as error:  # a rank that has gone, or that never came
        raise DisagreementError(
            f"not every rank of the process group came to compare plans, and nothing was written: "
            f"{error}; call initialize (or apply) on all of them, or pass verify=False"
        ) from error


def _why(group: Group, intent: Intent, missing: list[str], twice: list[str]) -> str:
    """What the ranks have to say for themselves, in one message that is the same on all of them."""
    mine = {
        "rank": distributed.get_rank(), "error": None, "count": len(intent.mine),
        "hash": str(intent.hash()), "what": _what(intent), "claims": bool(twice) and twice[0] in intent.mine,
    }  # fmt: skip
    said = sorted(group.everyone(mine), key=lambda r: int(r["rank"]))
    lines = [f"rank {r['rank']} failed: {r['error']}" for r in said if r["error"]]
    told = [r for r in said if not r["error"]]
    kinds: dict[str, list[int]] = {}
    for r in told:
        kinds.setdefault(r["hash"], []).append(r["rank"])
    if len(kinds) > 1:
        what = {r["hash"]: r["what"] for r in told}
        lines += [f"{_ranks(ranks)}: {what[h]}" for h, ranks in kinds.items()]
        lines.append(
            "expected one of these on all ranks: plan on one, and send plan.to_json(); with "
            "calibrate=True, pass the same batch on all"
        )
    elif not lines and missing:
        lines.append(
            f"no rank has {missing[0]}" + (f", nor {len(missing) - 1} more" if missing[1:] else "")
            + f": the ranks hold {', '.join(str(r['count']) for r in told)} of "
            f"{len(intent.names)} tensors. Say which part each has, such as "
            "part={'layers.0': 'layers.4'}, or pass verify=False"
        )  # fmt: skip
    if not lines or (twice and missing):
        lines.append(
            f"{twice[0]} is in two stages, on {_ranks([r['rank'] for r in told if r['claims']])}; "
            "expected each name in one: mend part=, or pass verify=False where it is meant"
        )
    return "the ranks do not agree, and nothing was written:\n  " + "\n  ".join(lines)


def _what(intent: Intent) -> str:
    include, exclude = intent.patterns
    chosen = f", include {include}" * (include is not None)
    chosen += f", exclude {exclude}" * (exclude is not None)
    count = sum(math.prod(d.shape) for d in intent.plan)
    dtypes = " and ".join(sorted({d.dtype for d in intent.plan}))
    return (
        f"plan {intent.plan.digest} of {len(intent.plan)} tensors, {count:,} numbers in {dtypes}, "
        f"seed {intent.seed}{chosen}" + f", to {intent.to}" * (intent.to != "write")
    )


def _ranks(ranks: Sequence[int]) -> str:
    some = ", ".join(map(str, ranks[:8])) + (", ..." if len(ranks) > 8 else "")
    return f"rank {some}" if len(ranks) == 1 else f"ranks {some}"


def _device_of(group: Any) -> str:
    """Where the backend of a process group reduces."""
    return "cuda" if distributed.get_backend(group) == "nccl" else "cpu"
