"""A rank that has a part of the planned model: a stage of a pipeline, some of the experts."""

from __future__ import annotations

from typing import Any

import torch
import torch.distributed as dist
from torch import nn

import isometry as iso

from ..networks import NETWORKS, Decoder, Experts
from ..sharding import fsdp, mesh_of
from ..state import counted, gathered
from .fill import SEED, built

CLAIMS = {"each its own": (0, 1), "both the first": (0, 0)}


def planned(network: str) -> iso.Plan:
    return iso.plan(built(network, "torch.device"), NETWORKS[network].inputs())


def stage_of(model: Decoder, stage: int) -> Decoder:
    """As torchtitan cuts a model in two: what is not of the stage goes."""
    del model.layers[str(1 - stage)]
    if stage == 0:
        model.norm = model.output = None  # type: ignore[assignment]
    else:
        model.tok_embeddings = None  # type: ignore[assignment]
    return model


def stages(inner: int = 1, claims: str = "each its own", **given: Any) -> dict[str, Any]:
    """A pipeline of two; `inner` ranks share each stage, which FSDP shards over them."""
    mesh = mesh_of(pp=2, dp=inner)
    stage = CLAIMS[claims][mesh["pp"].get_local_rank()]
    model = stage_of(built("decoder", "torch.device"), stage)
    if inner > 1:
        fsdp(model, "decoder", mesh["dp"])
    plan = planned("decoder")
    with counted() as count:
        plan.apply(model, seed=SEED, part=True, **given)
    return {"state": gathered(model), "seen": count.seen, "sent": count.sent}


class Middle(nn.Module):
    """A stage with names of its own."""

    def __init__(self, inner: nn.ModuleList, **others: nn.Module) -> None:
        super().__init__()
        self.blocks = inner
        for name, module in others.items():
            self.add_module(name, module)


def renamed(network: str) -> dict[str, Any]:
    """Stages that call their parameters otherwise than the plan does; the answer goes by the plan's."""
    whole = built(network, "it.meta")  # a stage has no _init_weights to make a buffer with
    rank = dist.get_rank()
    if network == "llama":
        ends = ({"embed": "model.embed_tokens"}, {"norm": "model.norm", "head": "lm_head"})[rank]
        ends["rotary"] = "model.rotary_emb"  # tables of angles: each stage has them
        inner, prefix = whole.model.layers, "model.layers"
    else:
        ends = ({"stem": "stem", "bn": "bn", "wide": "wide"}, {"head": "head"})[rank]
        inner, prefix = whole.blocks, "blocks"
    model = Middle(
        nn.ModuleList([inner[rank]]), **{n: whole.get_submodule(p) for n, p in ends.items()}
    )
    names = {"blocks.0": f"{prefix}.{rank}", **ends}
    planned(network).apply(model, seed=SEED, part=names)
    return {"state": by_plan(gathered(model), names)}


def tied() -> dict[str, Any]:
    """The table is in the first stage, and in the last once more, as its head: a tie between two."""
    whole = built("tied llama", "it.meta").model
    rank = dist.get_rank()
    ends = ({"model.embed_tokens": whole.embed_tokens}, {"lm_head": nn.Linear(1, 1)})[rank]
    if rank == 1:
        ends["lm_head"].weight = whole.embed_tokens.weight
        ends["lm_head"].bias = None
        ends["model.norm"] = whole.norm
    ends[f"model.layers.{rank}"] = whole.layers[rank]
    model = nn.ModuleDict({f"part{i}": m for i, m in enumerate(ends.values())})
    names = {f"part{i}": n for i, n in enumerate(ends)}
    planned("tied llama").apply(model, seed=SEED, part=names)
    return {"state": by_plan(gathered(model), names)}


def by_plan(state: dict[str, Any], names: dict[str, str]) -> dict[str, Any]:
    found = {}
    for name, value in state["tensors"].items():
        own = next(n for n in names if name.startswith(f"{n}.") or not n)
        found[".".join(filter(None, (names[own], name[len(own) :].lstrip("."))))] = value
    return {"tensors": found, "ties": state["ties"]}


def prefixed() -> dict[str, Any]:
    """Each rank holds one block and nothing else; the ends of the model are on no rank."""
    names = {"": f"layers.{dist.get_rank()}"}
    model = built("decoder", "torch.device").layers[str(dist.get_rank())]
    planned("decoder").apply(model, seed=SEED, part=names, include="layers.*")
    return {"state": by_plan(gathered(model), names)}


def experts(own: list[list[int]]) -> dict[str, Any]:
    """Each rank holds those experts that `own` gives it, and all the rest of the model."""
    mine = own[dist.get_rank()]
    with torch.device("meta"):
        model = Decoder(lambda: Experts(own=mine))
    plan = planned("mixture")
    with counted() as count:
        plan.apply(model, seed=SEED, part=True)
    return {"state": gathered(model), "seen": count.seen, "sent": count.sent}


def stages_of_experts() -> dict[str, Any]:
    """Two stages of two ranks, each of which has half of its stage's experts; all named by a mapping."""
    whole = built("mixture", "it.meta")
    stage, half = divmod(dist.get_rank(), 2)
    block = whole.layers[str(stage)]
    for name in list(block.feed_forward.experts):
        if int(name) // 2 != half:
            del block.feed_forward.experts[name]
    ends = ({"start": "tok_embeddings"}, {"norm": "norm", "end": "output"})[stage]
    modules = {n: whole.get_submodule(p) for n, p in ends.items()}
    model = nn.ModuleDict({"block": block, **modules})
    names = {"block": f"layers.{stage}", **ends}
    planned("mixture").apply(model, seed=SEED, part=names)
    return {"state": by_plan(gathered(model), names)}
