"""Ranks that must not fill a model: what each of them is told, and whether it wrote anything."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import nn
from torch.distributed.fsdp import FullyShardedDataParallel
from torch.distributed.tensor import DTensor, Partial

import isometry as iso

from ..networks import NETWORKS, VOCABULARY, WIDTH, Decoder, Experts
from ..sharding import PARALLEL, fsdp, mesh_of
from ..state import gathered, held
from .fill import SEED, built
from .parts import planned, stage_of


def told(model: nn.Module, call: Callable[[], Any]) -> dict[str, Any]:
    """What a call raised, and whether the model's tensors are the same, to the bit."""
    before, identities = held(model), [id(p) for p in model.parameters()]
    try:
        call()
    except iso.IsometryError as error:
        kind, message = type(error).__name__, str(error)
    else:
        kind, message = None, ""
    same = held(model) == before and [id(p) for p in model.parameters()] == identities
    return {"kind": kind, "message": message, "unchanged": same}


# What the last rank does otherwise than the others.
OTHERWISE: dict[str, dict[str, Any]] = {
    "seed": {"seed": SEED + 1},
    "recipe": {"recipe": "he"},
    "override": {"overrides": {"layers.1.*.w2.weight": iso.Normal(std=0.5)}},
    "include": {"include": ("layers.*",)},
    "exclude": {"exclude": "output.weight"},
    "no such pattern": {"include": "heads.*"},
    "no such seed": {"seed": -1},
    "no pattern": {"include": 3},
    "no such recipe": {"recipe": "magic"},
    "bad inputs": {"inputs": torch.zeros(4, 8)},
    "no inputs": {"inputs": (1, 2, 3)},
    "loss": {"loss": 3},
    "no batch": {"inputs": None},
}


def one_differs(how: str, build: str, otherwise: str, calibrate: bool = False) -> dict[str, Any]:
    """All ranks initialise one sharded model, and the last of them does it otherwise."""
    model = built("decoder", build)
    PARALLEL[how](model, "decoder")
    given: dict[str, Any] = {"inputs": NETWORKS["decoder"].inputs(), "seed": SEED}
    if calibrate:
        given["calibrate"] = True
    if dist.get_rank() == dist.get_world_size() - 1:
        given |= OTHERWISE[otherwise]
    answer = told(model, lambda: iso.initialize(model, **given))
    # The ranks are still in step: the next call is like any other.
    iso.initialize(model, NETWORKS["decoder"].inputs(), seed=SEED)
    return answer | {"state": gathered(model)}


def another_shape() -> dict[str, Any]:
    """A plan whose model is a block shorter on the last rank."""
    model = built("decoder", "torch.device")
    if dist.get_rank() == dist.get_world_size() - 1:
        del model.layers["1"]
    plan = planned("decoder")
    return told(model, lambda: plan.apply(model, seed=SEED, verify=True))


def other_sizes(what: str) -> dict[str, Any]:
    """Replicas that have one set of names and laws; the last rank's head is larger, or narrower."""
    model = built("decoder", "torch.device")
    if dist.get_rank() == dist.get_world_size() - 1:
        wider = what == "shape"
        model.output = nn.Linear(
            WIDTH, VOCABULARY + wider, bias=False, device="meta",
            dtype=torch.float32 if wider else torch.bfloat16,
        )  # fmt: skip
    inputs = NETWORKS["decoder"].inputs()
    return told(model, lambda: iso.initialize(model, inputs, seed=SEED, verify=True))


def two_models(agree: bool) -> dict[str, Any]:
    """Ranks 0 and 1 shard one model, ranks 2 and 3 another: what the others do is their affair."""
    mesh = mesh_of(model=2, dp=2)
    model = built("decoder", "torch.device")
    fsdp(model, "decoder", mesh["dp"])
    seed = mesh["model"].get_local_rank() if agree else dist.get_rank()
    inputs = NETWORKS["decoder"].inputs()
    return told(model, lambda: iso.initialize(model, inputs, seed=seed))


def stages_claim(claims: list[int], by: str) -> dict[str, Any]:
    """Stages of a pipeline of which some are held twice, or by nobody."""
    model = stage_of(built("decoder", "torch.device"), claims[dist.get_rank()])
    names: Any = True
    if by == "a mapping":
        names = {n: n for n, m in model.named_children() if isinstance(m, nn.Module)}
    plan = planned("decoder")
    return told(model, lambda: plan.apply(model, seed=SEED, part=names))


def overlapping_stages() -> dict[str, Any]:
    """Both stages have the first block, and between them they have everything."""
    model = built("decoder", "torch.device")
    if dist.get_rank() == 0:
        del model.layers["1"]
        model.norm = model.output = None
    else:
        model.tok_embeddings = None
    names = {n: n for n, m in model.named_children() if isinstance(m, nn.Module)}
    plan = planned("decoder")
    return told(model, lambda: plan.apply(model, seed=SEED, part=names))


def wrong_mapping() -> dict[str, Any]:
    """The last rank maps its stage onto a name that the plan has not got."""
    last = dist.get_rank() == dist.get_world_size() - 1
    model = built("decoder", "torch.device").layers[str(dist.get_rank())]
    plan = planned("decoder")
    names = {"": "blocks.9" if last else f"layers.{dist.get_rank()}"}
    return told(model, lambda: plan.apply(model, seed=SEED, part=names))


def experts_missing() -> dict[str, Any]:
    """Nobody has the last expert."""
    with torch.device("meta"):
        model = Decoder(lambda: Experts(own=((0, 1), (2,))[dist.get_rank()]))
    plan = planned("mixture")
    return told(model, lambda: plan.apply(model, seed=SEED, part=True))


def partial() -> dict[str, Any]:
    """A parameter that is a sum which the ranks have not added up."""
    model = built("decoder", "values", seed=0)
    sums = DTensor.from_local(torch.ones(97, 36), mesh_of(tp=dist.get_world_size()), [Partial()])
    model.output.weight = nn.Parameter(sums)
    inputs = NETWORKS["decoder"].inputs()
    return told(model, lambda: iso.initialize(model, inputs, seed=SEED, verify=True))


@contextlib.contextmanager
def fewer(room: str, size: int, patience: float = 60) -> Iterator[bool]:
    """The process group is gone; of another, of the first ranks, this one is a member or not."""
    rank = dist.get_rank()
    dist.barrier()
    dist.destroy_process_group()
    if rank < size:
        dist.init_process_group(
            "gloo", init_method=f"file://{Path(room) / 'again'}", rank=rank, world_size=size,
            timeout=timedelta(seconds=patience),
        )  # fmt: skip
    yield rank < size
    if dist.is_initialized():
        dist.barrier()
        dist.destroy_process_group()


def world_changed(how: str, build: str, members: int, room: str) -> dict[str, Any]:
    """Sharded in a world of four, filled in one of `members`."""
    model = built("decoder", build, seed=0)
    PARALLEL[how](model, "decoder")
    inputs = NETWORKS["decoder"].inputs()
    plan = planned("decoder")
    with fewer(room, members):
        return {
            "initialize": told(model, lambda: iso.initialize(model, inputs, seed=SEED)),
            "apply": told(model, lambda: plan.apply(model, seed=SEED)),
        }


def one_never_comes(room: str) -> dict[str, Any]:
    """The last rank does something else; the others wait as long as their group has patience."""
    size = dist.get_world_size()
    with fewer(room, size, patience=2):
        last = dist.get_rank() == size - 1
        model = built("decoder", "torch.device")
        PARALLEL["FSDP"](model, "decoder")
        inputs = NETWORKS["decoder"].inputs()
        store = dist.distributed_c10d._get_default_store()
        if last:
            store.wait([str(rank) for rank in range(size - 1)], timedelta(seconds=60))
            answer = {"kind": "absent", "unchanged": True}
        else:
            answer = told(model, lambda: iso.initialize(model, inputs, seed=SEED))
            store.set(str(dist.get_rank()), "told")
            store.wait([str(rank) for rank in range(size - 1)], timedelta(seconds=60))
        dist.destroy_process_group()
    return answer


def flattened(use_orig_params: bool) -> dict[str, Any]:
    """FSDP1: refused, and then by the lines that the message says."""
    model = built("decoder", "values", seed=0)
    wrapped = FullyShardedDataParallel(
        model, use_orig_params=use_orig_params, device_id=torch.device("cpu")
    )
    inputs = NETWORKS["decoder"].inputs()
    answer = told(wrapped, lambda: iso.initialize(wrapped, inputs, seed=SEED))
    with FullyShardedDataParallel.summon_full_params(wrapped):
        iso.initialize(wrapped, inputs, seed=SEED)
    with FullyShardedDataParallel.summon_full_params(wrapped):
        found = gathered(wrapped)["tensors"]
    plain = {n.replace("_fsdp_wrapped_module.", ""): v for n, v in found.items()}
    return answer | {"tensors": plain, "finite": bool(wrapped(inputs).isfinite().all())}


def emptied() -> dict[str, Any]:
    """What DeepSpeed's ZeRO 3 leaves of a parameter between its runs."""
    model = built("decoder", "values", seed=0)
    for number, parameter in enumerate(model.parameters()):
        shape = parameter.shape
        parameter.ds_id, parameter.ds_status = number, "NOT_AVAILABLE"
        parameter.ds_shape, parameter.ds_numel = shape, shape.numel()
        parameter.data = torch.empty(0)
    inputs = NETWORKS["decoder"].inputs()
    return told(model, lambda: iso.initialize(model, inputs, seed=SEED))


def replicas_differ() -> dict[str, Any]:
    """DistributedDataParallel, one rank with another seed."""
    model = built("decoder", "values", seed=0)
    model = nn.parallel.DistributedDataParallel(model)
    inputs = NETWORKS["decoder"].inputs()
    answer = told(model, lambda: iso.initialize(model, inputs, seed=dist.get_rank()))
    iso.initialize(model, inputs, seed=SEED)
    found = gathered(model.module)["tensors"]
    return answer | {"tensors": found}
