"""Models of transformers and torch.nn, end to end: read, planned, filled, proved; on meta too."""

from __future__ import annotations

import math
from collections.abc import Mapping
from fnmatch import fnmatchcase
from typing import Any

import pytest
import torch
import transformers as hf
from torch import nn
from torch.nn import functional as F

import isometry as iso
from isometry.torch.inputs import as_call, draw_inputs
from isometry.torch.meta import meta

from .zoo import ZOO, Row, tensors

hf.logging.set_verbosity_error()
ROLES = set(
    "linear conv conv_transpose bilinear experts recurrent gates direction embedding positions "
    "query bias norm_gain scale attention_bias state_space magnitude special unused buffer".split()
)


@pytest.fixture(params=ZOO, ids=lambda name: name.replace(" ", ""))
def row(request: pytest.FixtureRequest) -> Row:
    return ZOO[request.param]


def built(row: Row) -> nn.Module:
    torch.manual_seed(0)
    return row.make()


def ties(model: nn.Module) -> set[tuple[str, ...]]:
    """The names that each tensor goes by."""
    found: dict[int, list[str]] = {}
    for name, tensor in tensors(model).items():
        found.setdefault(id(tensor), []).append(name)
    return {tuple(names) for names in found.values()}


def kept(plan: iso.Plan) -> set[str]:
    return {name for d in plan if d.keeps for name in (d.name, *d.aliases)}


def outputs(model: nn.Module, row: Row) -> Any:
    given = row.inputs()
    call = draw_inputs(model) if given is None else as_call(given)
    assert call is not None
    with torch.no_grad():
        return model.eval()(*call.args, **call.kwargs)


def floats(output: Any) -> list[torch.Tensor]:
    if isinstance(output, torch.Tensor):
        return [output] if output.is_floating_point() else []
    items = output.values() if isinstance(output, Mapping) else output
    return [t for i in items for t in floats(i)] if isinstance(output, (Mapping, tuple)) else []


def test_every_parameter_and_buffer_is_decided_once_with_a_reason(row: Row) -> None:
    model = built(row)
    plan = iso.plan(model, row.inputs())
    assert {(d.name, *d.aliases) for d in plan} == ties(model)
    assert len(plan) == len(ties(model))
    owned = tensors(model)
    for decision in plan:
        assert decision.role in ROLES
        assert len(decision.reason) > 10, decision.name
        assert decision.shape == tuple(owned[decision.name].shape)
        assert decision.kind == (
            "parameter" if isinstance(owned[decision.name], nn.Parameter) else "buffer"
        )
        if not decision.keeps and decision.role not in ("bias", "norm_gain"):
            assert decision.role not in ("special", "unused"), decision


def test_an_initialised_model_is_tied_finite_and_healthy(row: Row) -> None:
    model = built(row)
    before, tied = {n: t.clone() for n, t in tensors(model).items()}, ties(model)
    plan = iso.initialize(model, row.inputs(), seed=0)
    assert ties(model) == tied
    for name in kept(plan):
        assert torch.equal(tensors(model)[name], before[name]), name
    found = floats(outputs(model, row))
    assert found
    assert all(bool(torch.isfinite(t).all()) for t in found)
    report = iso.check(model, row.inputs())
    assert report.layers
    assert report.ok, str(report)


@pytest.mark.parametrize("name", [n for n, row in ZOO.items() if row.vocabulary])
def test_a_language_model_starts_at_the_loss_of_knowing_nothing(name: str) -> None:
    row = ZOO[name]
    model = built(row)
    iso.initialize(model, row.inputs(), seed=0)
    logits = outputs(model, row).logits
    assert logits.shape[-1] == row.vocabulary
    generator = torch.Generator().manual_seed(1)
    targets = torch.randint(0, row.vocabulary, logits.shape[:-1], generator=generator)
    loss = float(F.cross_entropy(logits.flatten(0, -2), targets.flatten()))
    assert loss == pytest.approx(math.log(row.vocabulary), rel=0.05)


@pytest.mark.parametrize("how", ["torch.device", "isometry"])
def test_on_meta_the_same_plan_and_the_same_bits(row: Row, how: str) -> None:
    model = built(row)
    plan = iso.initialize(model, row.inputs(), seed=0)
    with torch.device("meta") if how == "torch.device" else meta():
        on_meta = row.make()
    assert any(p.is_meta for p in on_meta.parameters())
    if how == "torch.device" and row.lost:
        refused(on_meta, row)
        return
    planned = iso.initialize(on_meta, row.inputs(), seed=0)
    guessed = row.guessed if how == "torch.device" else ()
    differ = [line.split(":")[0] for line in planned.diff(plan)]
    assert all(any(fnmatchcase(n, p) for p in guessed) for n in differ), differ
    assert bool(differ) == bool(guessed)
    assert [(d.name, d.role, d.keeps) for d in planned] == [(d.name, d.role, d.keeps) for d in plan]
    assert ties(on_meta) == ties(model)
    free = [n for n in kept(plan) if any(fnmatchcase(n, p) for p in row.drawn)]
    assert bool(free) == bool(row.drawn)
    theirs = tensors(on_meta)
    for name, tensor in tensors(model).items():
        assert not theirs[name].is_meta, name
        if name not in (*free, *differ):
            assert torch.equal(theirs[name], tensor), name
    assert [p.requires_grad for p in on_meta.parameters()] == [
        p.requires_grad for p in model.parameters()
    ]


def refused(on_meta: nn.Module, row: Row) -> None:
    """What nothing can recreate is an error that lists it, and the model is as it was."""
    before = tensors(on_meta)
    with pytest.raises(iso.MaterialiseError, match=r"isometry\.torch\.meta") as error:
        iso.initialize(on_meta, row.inputs(), seed=0)
    for pattern in row.lost:
        names = [n for n in before if fnmatchcase(n, pattern)]
        assert names
        assert all(n in str(error.value) for n in names)
    after = tensors(on_meta)
    assert after.keys() == before.keys()
    assert all(after[n] is before[n] and after[n].is_meta for n in before)
