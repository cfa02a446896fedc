"""What comes after: training steps, a check, a distributed checkpoint."""

from __future__ import annotations

from typing import Any

import torch
import torch.distributed as dist
import torch.distributed.checkpoint as dcp
import torch.nn.functional as F
from torch import Tensor, nn
from torch.distributed.pipelining import PipelineStage, ScheduleGPipe
from torch.distributed.tensor import DTensor

import isometry as iso

from ..networks import NETWORKS
from ..sharding import PARALLEL
from ..state import gathered
from .fill import OPTIONS, SEED, built
from .parts import planned, stage_of

STEPS, RATE = 3, 0.02


def language_loss(output: Tensor, ids: Tensor) -> Tensor:
    return F.cross_entropy(output.flatten(0, 1), ids.flatten())


def trained(network: str, how: str, cut: int = 1, options: str | None = None) -> dict[str, Any]:
    """Losses of the global batch, of which `cut` groups of ranks take equal parts.

    Returns the losses and which parameters did not move; of the model that was filled once more
    after that, which parameters are not as at first, and its loss.
    """
    model = built(network, "torch.device")
    PARALLEL[how](model, network, **(OPTIONS[options] if options else {}))
    plan = iso.initialize(model, NETWORKS[network].inputs(), seed=SEED)
    model.eval()  # no dropout: what it drops hangs on the batch
    before = gathered(model)["tensors"]
    ids = NETWORKS[network].inputs()
    ids = ids["input_ids"] if isinstance(ids, dict) else ids
    rank, size = (dist.get_rank(), dist.get_world_size()) if dist.is_initialized() else (0, 1)
    own = ids.chunk(cut)[rank * cut // size]
    optimizer = torch.optim.SGD(model.parameters(), lr=RATE)
    losses = []
    for _ in range(STEPS):
        loss = language_loss(_logits(model(own)), own)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        losses.append(_mean(loss.detach()))
    after = gathered(model)["tensors"]
    names = {n for n, _ in model.named_parameters()}
    still = sorted(n for n in names if before[n] == after[n])
    with torch.no_grad():
        model(own)  # a forward alone leaves FSDP2's parameters whole, which are copies
    plan.apply(model, seed=SEED)
    anew = gathered(model)["tensors"]
    other = sorted(n for n in before if before[n] != anew[n])
    again = _mean(language_loss(_logits(model(own)), own).detach())
    return {"losses": losses, "still": still, "other": other, "again": again}


def _logits(output: Any) -> Tensor:
    logits: Tensor = getattr(output, "logits", output)
    return logits.float()


def _mean(loss: Tensor) -> float:
    loss = loss.full_tensor() if isinstance(loss, DTensor) else loss
    if dist.is_initialized():
        dist.all_reduce(loss)
        loss /= dist.get_world_size()
    return float(loss)


def piped() -> dict[str, Any]:
    """The same step through a pipeline of two stages: the loss, from the last."""
    rank = dist.get_rank()
    stage = stage_of(built("decoder", "torch.device"), rank)
    planned("decoder").apply(stage, seed=SEED, part=True)
    ids = NETWORKS["decoder"].inputs()
    schedule = ScheduleGPipe(
        PipelineStage(stage, rank, 2, torch.device("cpu")), n_microbatches=2, loss_fn=language_loss
    )
    losses: list[Tensor] = []
    if rank == 0:
        schedule.step(ids)
    else:
        schedule.step(target=ids, losses=losses)
    grads = [p.grad for p in stage.parameters()]
    moved = all(g is not None and bool(g.any()) for g in grads)
    return {"loss": float(torch.stack(losses).mean()) if losses else None, "gradients": moved}


def checked(network: str, how: str, faulty: bool = False) -> dict[str, Any]:
    """The verdict on a model; a faulty one has weights that are all the same number."""
    model = built(network, "torch.device")
    PARALLEL[how](model, network)
    inputs = NETWORKS[network].inputs()
    plan = iso.initialize(model, inputs, seed=SEED)
    if faulty:
        same = {d.name: iso.Constant(0.05) for d in plan if d.law.random}
        plan.override(same).apply(model, seed=SEED)
    before = gathered(model)
    report = iso.check(model, inputs, select=("ISO1", "ISO2", "ISO3", "ISO4", "ISO6"))
    return {
        "ok": report.ok,
        "findings": [[f.code, str(f.where)] for f in report.findings],
        "not_checked": [str(n) for n in report.not_checked],
        "unchanged": gathered(model) == before,
    }


def saved(network: str, how: str, to: str) -> dict[str, Any]:
    model = built(network, "torch.device")
    PARALLEL[how](model, network)
    iso.initialize(model, NETWORKS[network].inputs(), seed=SEED)
    dcp.save(_state(model), checkpoint_id=to)
    return gathered(model)


def loaded(network: str, how: str, source: str) -> dict[str, Any]:
    model = built(network, "torch.device")
    PARALLEL[how](model, network)
    # Of another seed, so that every value has to come from the file.
    iso.initialize(model, NETWORKS[network].inputs(), seed=SEED + 1)
    other = gathered(model)
    dcp.load(_state(model), checkpoint_id=source)
    return {"before": other, "after": gathered(model)}


def _state(model: nn.Module) -> dict[str, Any]:
    return {"model": model.state_dict()}


def recorded(network: str, how: str) -> dict[str, str | None]:
    """The hashes of a manifest of a model that is sharded and on meta: what is kept is made anew."""
    model = built(network, "torch.device")
    PARALLEL[how](model, network)
    plan = iso.plan(model, NETWORKS[network].inputs())
    manifest = iso.Manifest.of_model(model, plan, seed=SEED)
    return {name: manifest[name].hash for name in manifest}
