"""`mup`: the coordinate check. What a few steps change does not depend on the width."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, nn

import isometry as iso
from isometry.errors import ArgumentError, PlanError
from isometry.recipe import MuP
from isometry.types import Normal

from .networks import Transformer

INPUTS, CLASSES, BASE = 16, 10, 64
X = torch.randn(64, INPUTS, generator=torch.Generator().manual_seed(0))
TARGET = torch.randint(0, CLASSES, (64,), generator=torch.Generator().manual_seed(1))


def net(width: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Linear(INPUTS, width), nn.ReLU(), nn.Linear(width, width), nn.ReLU(),
        nn.Linear(width, width), nn.ReLU(), nn.Linear(width, CLASSES),
    )  # fmt: skip


def outputs(model: nn.Sequential) -> list[Tensor]:
    """The output of each matrix."""
    x, found = X, []
    for layer in model:
        x = layer(x)
        if isinstance(layer, nn.Linear):
            found.append(x.detach())
    return found


def changes(width: int, optimiser: str, rate: float, mup: MuP | None) -> list[float]:
    """How far each matrix's output moves, root mean square, in three steps."""
    model = net(width)
    plan = iso.initialize(model, X, recipe=mup or "auto")
    rates = mup.learning_rates(plan, optimiser) if mup else {}
    groups = [{"params": [p], "lr": rate * rates.get(n, 1.0)} for n, p in model.named_parameters()]
    steps = torch.optim.Adam(groups) if optimiser == "adam" else torch.optim.SGD(groups)
    before = outputs(model)
    for _ in range(3):
        steps.zero_grad()
        nn.functional.cross_entropy(model(X), TARGET).backward()
        steps.step()
    after = outputs(model)
    return [float((a - b).square().mean().sqrt()) for a, b in zip(after, before, strict=True)]


def growth(optimiser: str, rate: float, mup: MuP | None) -> list[float]:
    narrow, wide = (changes(w, optimiser, rate, mup) for w in (64, 1024))
    return [w / n for n, w in zip(narrow, wide, strict=True)]


@pytest.mark.parametrize(("optimiser", "rate"), [("adam", 2e-3), ("sgd", 0.05)])
def test_coordinate_check(optimiser: str, rate: float) -> None:
    """Yang et al. 2022, fig. 5: 16 times the width moves every activation as far."""
    base = MuP(base=iso.plan(net(BASE), X))
    with_mup = growth(optimiser, rate, base)
    standard = growth(optimiser, rate, None)
    assert all(0.5 < g < 2 for g in with_mup), with_mup
    if optimiser == "adam":  # each step is of one size: hidden layers sum up fan_in of them
        assert min(standard[1:]) > 4, standard
    else:  # the output runs away, the input is left behind
        assert standard[-1] > 4 or standard[0] < 1 / 3, standard


def test_laws_and_rates() -> None:
    mup = MuP(base=iso.plan(net(BASE), X))
    base, wide = iso.plan(net(BASE), X, recipe=mup), iso.plan(net(4 * BASE), X, recipe=mup)
    ratio = {n: (base[n].law.variance / wide[n].law.variance) ** 0.5 for n in ("0.weight", "2.weight", "6.weight")}  # fmt: skip
    assert ratio == pytest.approx({"0.weight": 1.0, "2.weight": 2.0, "6.weight": 4.0}, rel=1e-4)
    adam, sgd = mup.learning_rates(wide), mup.learning_rates(wide, "sgd")
    assert [adam[n] for n in ("0.weight", "2.weight", "6.weight", "0.bias")] == [1, 0.25, 0.25, 1]
    assert [sgd[n] for n in ("0.weight", "2.weight", "6.weight", "0.bias")] == [4, 1, 0.25, 4]
    assert set(mup.learning_rates(base).values()) == {1.0}
    assert (
        "output, fan_in x 4 of base; learning rate adam x 0.25, sgd x 0.25"
        in wide["6.weight"].reason
    )


def test_base_as_shapes() -> None:
    plan = MuP(base=iso.plan(net(BASE), X))
    shapes = MuP(base={n: tuple(p.shape) for n, p in net(BASE).named_parameters()})
    wide = net(256)
    assert iso.plan(wide, X, recipe=plan).digest == iso.plan(wide, X, recipe=shapes).digest


def test_a_transformer() -> None:
    """Tables are input; where heads grow the plan says what scores need."""
    tokens = torch.zeros(2, 4, dtype=torch.long)
    mup = MuP(base=iso.plan(Transformer(2, 16), tokens))
    plan = iso.plan(Transformer(2, 64), tokens, recipe=mup)
    assert plan["table.weight"].law == Normal(1.0)
    assert any("q k'/d and not q k'/sqrt(d)" in note for note in plan.notes)
    rates = mup.learning_rates(plan)
    assert (rates["table.weight"], rates["layers.0.up.weight"], rates["head.weight"]) == (
        1,
        0.25,
        0.25,
    )


def test_refusals() -> None:
    with pytest.raises(
        PlanError, match=r"from a base model; none was given\. Use recipe=MuP\(base="
    ):
        iso.plan(net(64), X, recipe="mup")
    deeper = copy.deepcopy(net(64))
    deeper.append(nn.Linear(CLASSES, CLASSES))
    with pytest.raises(PlanError, match=r"7.weight of Sequential is not in the base"):
        iso.plan(deeper, X, recipe=MuP(base=iso.plan(net(64), X)))
    tied = Transformer(1)
    tied.head.weight = tied.table.weight
    tokens = torch.zeros(2, 4, dtype=torch.long)
    with pytest.raises(PlanError, match=r"table.weight is both\. Use recipe='auto', or untie"):
        iso.plan(tied, tokens, recipe=MuP(base=iso.plan(tied, tokens)))
    with pytest.raises(ArgumentError, match=r"MuP\(base=int\): expected the base model's plan"):
        MuP(base=64)  # type: ignore[arg-type]
    with pytest.raises(ArgumentError, match="optimiser='lion'; expected adam or sgd"):
        MuP(base=iso.plan(net(64), X)).learning_rates(iso.plan(net(64), X), "lion")
