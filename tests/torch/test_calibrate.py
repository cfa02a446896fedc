"""Calibration on data: what every weight makes has the second moment that the plan aims at.

It holds on the batch itself, so that the tolerance is float32's and not a sample's; the aim of the
project is 5 %.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import isometry as iso
from isometry.calibration import rescaled
from isometry.torch.inputs import draw_inputs
from isometry.types import CenteredOrthogonal, MirroredOrthogonal

from ..cases.zoo import ZOO as EVERY
from ..checker.test_no_trace import bits, state
from .calibrated_nets import ACTIVATIONS, NEAR, cnn, mlp, noise, second_moments
from .zoo import ZOO, tensors


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("kind", [mlp, cnn])
def test_what_every_weight_makes_has_second_moment_one(
    kind: Callable[..., tuple[nn.Module, Tensor]], activation: str
) -> None:
    model, x = kind(activation)
    iso.initialize(model, x)
    before = second_moments(model, x)
    assert max(abs(math.log(q)) for q in before.values()) > math.log(1.5)
    iso.initialize(model, x, calibrate=True)
    after = second_moments(model, x)
    assert len(after) == 30
    assert all(q == pytest.approx(1.0, rel=NEAR) for q in after.values()), after


@pytest.mark.parametrize("recipe", ["lecun", "glorot", "he"])
def test_the_classic_rules_are_brought_to_one_as_well(recipe: str) -> None:
    model, x = mlp("gelu")
    iso.initialize(model, x, recipe=recipe, calibrate=True)
    assert all(q == pytest.approx(1.0, rel=NEAR) for q in second_moments(model, x).values())


def test_a_recipe_with_a_scale_of_its_own_keeps_it() -> None:
    """The critical point of GELU: pre-activations of 3.56, of which the random bias makes 0.17."""
    model, x = mlp("gelu", depth=10)
    iso.initialize(model, x, recipe="critical", calibrate=True)
    hidden = list(second_moments(model, x).values())[:-1]
    assert hidden == pytest.approx([3.5616 - 0.17292] * 9, rel=2e-3)


def test_an_isometry_is_rescaled_and_stays_one() -> None:
    model, x = mlp("relu", depth=20)
    plan = iso.initialize(model, x, recipe="isometric", calibrate=True)
    assert any(isinstance(d.law, MirroredOrthogonal) for d in plan)
    found = iso.check(model, x, jacobian=True).jacobian
    assert found is not None
    assert found.spread < 0.01


def test_one_forward_is_enough() -> None:
    class Counting(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.net = mlp()[0]

        def forward(self, x: Tensor) -> Tensor:
            calls.append(x.device.type)
            return self.net(x)

    calls: list[str] = []
    iso.initialize(Counting(), mlp()[1], calibrate=True)
    assert calls == ["meta", "cpu"]


def test_the_factors_are_part_of_the_plan_which_then_needs_no_data(tmp_path: Path) -> None:
    model, x = mlp()
    plan = iso.initialize(model, x, seed=3, calibrate=True)
    first = plan["0.weight"]
    factor = math.sqrt(first.law.variance * 64)
    assert f"calibrated: x {factor:.4g} on the given inputs" in first.reason
    assert first.gain == pytest.approx(factor, rel=1e-5)
    assert "30 of 30 matrices calibrated on the given inputs" in plan.notes[-1]
    assert plan.predictions == ()
    plan.save(tmp_path / "plan.json")
    twin = mlp()[0]
    iso.Plan.load(tmp_path / "plan.json").apply(twin, seed=3)
    for (name, a), b in zip(model.state_dict().items(), twin.state_dict().values(), strict=True):
        assert bits(a) == bits(b), name


def test_two_calls_decide_the_same_and_a_dry_run_writes_nothing() -> None:
    model, x = mlp()
    before = state(model)
    decided = iso.initialize(model, x, calibrate=True, dry_run=True)
    assert state(model) == before
    assert iso.initialize(model, x, calibrate=True) == decided


class Residual(nn.Module):
    """Four branches on one stream, and a classifier's head."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.head = nn.Linear(32, 64), nn.Linear(64, 10)
        self.inner = nn.ModuleList(nn.Linear(64, 64) for _ in range(4))
        self.outer = nn.ModuleList(nn.Linear(64, 64) for _ in range(4))

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        for inner, outer in zip(self.inner, self.outer, strict=True):
            x = x + outer(torch.tanh(inner(x)))
        return self.head(x)


def test_what_is_small_on_purpose_stays_so() -> None:
    model, x = Residual(), 5 * noise(64, 32)
    iso.initialize(model, x, loss="cross_entropy", calibrate=True)
    q = second_moments(model, x)
    assert q["stem"] == pytest.approx(1.0, rel=NEAR)
    assert [q[f"outer.{i}"] for i in range(4)] == pytest.approx([0.25] * 4, rel=NEAR)
    assert q["head"] == pytest.approx(0.01, rel=NEAR)
    with torch.no_grad():
        loss = F.cross_entropy(model(x), torch.arange(64) % 10)
    assert float(loss) == pytest.approx(math.log(10), abs=0.1)


def test_before_a_normalisation_nothing_is_changed() -> None:
    model = nn.Sequential(nn.Linear(16, 32), nn.LayerNorm(32), nn.ReLU(), nn.Linear(32, 8))
    plan = iso.initialize(model, 7 * noise(32, 16), calibrate=True)
    assert plan["0.weight"].law == iso.plan(model, 7 * noise(32, 16))["0.weight"].law
    assert "not calibrated: its output is normalised next" in plan["0.weight"].reason
    assert "calibrated: x" in plan["3.weight"].reason


class Kept(nn.Module):
    """A bias its author set, a frozen layer, and a branch that starts silent."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.frozen, self.branch = (nn.Linear(16, 16) for _ in range(3))
        self.last = nn.Linear(16, 4)
        nn.init.constant_(self.first.bias, 0.5)
        nn.init.zeros_(self.branch.weight)
        self.frozen.requires_grad_(False)

    def forward(self, x: Tensor) -> Tensor:
        x = self.frozen(torch.relu(self.first(x)))
        return self.last(x + self.branch(x))


def test_what_the_plan_keeps_stays_to_the_bit_and_a_bias_is_not_counted() -> None:
    model, x = Kept(), 4 * noise(64, 16)
    before = {n: bits(p) for n, p in model.named_parameters()}
    iso.initialize(model, x, calibrate=True)
    same = {n for n, p in model.named_parameters() if bits(p) == before[n]}
    assert same == {"first.bias", "frozen.weight", "frozen.bias", "branch.weight"}
    q = second_moments(model, x)
    assert (q["first"], q["last"]) == pytest.approx((1.0, 1.0), rel=NEAR)


class Twice(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.fc, self.out = nn.Linear(16, 16), nn.Linear(16, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.out(torch.relu(self.fc(torch.relu(self.fc(x)))))


def test_a_weight_used_twice_is_calibrated_at_its_first_use() -> None:
    model, x = Twice(), 4 * noise(64, 16)
    iso.initialize(model, x, calibrate=True)
    q = second_moments(model, x)  # of the first uses
    assert (q["fc"], q["out"]) == pytest.approx((1.0, 1.0), rel=NEAR)


def test_only_what_is_included_is_calibrated_on_what_the_others_hold() -> None:
    model, x = mlp("relu", depth=4)
    before = {n: bits(p) for n, p in model.named_parameters()}
    plan = iso.initialize(model, x, include="6", calibrate=True)
    changed = {n for n, p in model.named_parameters() if bits(p) != before[n]}
    assert changed == {"6.weight", "6.bias"}
    assert second_moments(model, x)["6"] == pytest.approx(1.0, rel=NEAR)
    assert "1 of 4 matrices" in plan.notes[-1]


def test_blocks_are_rescaled_together() -> None:
    model = nn.MultiheadAttention(16, 4, batch_first=True)
    x = 6 * noise(8, 12, 16)
    plain, plan = iso.plan(model, (x, x, x)), iso.initialize(model, (x, x, x), calibrate=True)
    before, after = plain["in_proj_weight"], plan["in_proj_weight"]
    ratios = {b.law.variance / a.law.variance for a, b in zip(before.blocks, after.blocks, strict=True)}  # fmt: skip
    assert len(before.blocks) == 3
    assert max(ratios) == pytest.approx(min(ratios))
    with torch.no_grad():
        product = x @ model.in_proj_weight.T
    assert float(product.square().mean()) == pytest.approx(1.0, rel=NEAR)


REAL = [n for n in ZOO if not n.startswith("nn.")]
MORE = ("Beit", "DeiT", "Dinov2", "Falcon", "OPT")  # tokens and tables that begin at zero


@pytest.mark.parametrize("name", [*REAL, *MORE])
def test_in_real_models_what_is_kept_is_untouched_and_the_weights_move_little(name: str) -> None:
    """The theory says what calibration measures, but for the statistics of a small batch."""
    torch.manual_seed(0)
    make, draw = EVERY[name]
    model, inputs = make(), None if draw is None else draw()
    if inputs is None:
        call = draw_inputs(model, batch=4)
        assert call is not None
        inputs = dict(call.kwargs)
    before = {n: bits(t) for n, t in tensors(model).items()}
    plain = iso.plan(model, inputs)
    plan = iso.initialize(model, inputs, calibrate=True)
    assert any("calibrated: x" in d.reason for d in plan)
    for planned, d in zip(plain, plan, strict=True):
        if d.keeps:
            assert bits(tensors(model)[d.name]) == before[d.name], d.name
        elif d.law != planned.law:
            assert 0.2 < d.law.variance / planned.law.variance < 12.0, d.reason
    assert iso.check(model, inputs).ok


@pytest.mark.parametrize(
    "law",
    [
        iso.Normal(0.5, mean=0.25), iso.Uniform(0.5), iso.TruncatedNormal(0.5), iso.Constant(2.0),
        iso.Sparse(0.5, 0.1), iso.Orthogonal(1.5, 64), iso.DeltaOrthogonal(1.5, 64),
        CenteredOrthogonal(1.5, 64), MirroredOrthogonal(1.5, 64, 4, 8),
    ],
    ids=lambda law: type(law).__name__,
)  # fmt: skip
def test_a_law_times_a_factor_is_the_law_of_the_weight_times_that_factor(law: iso.Law) -> None:
    twice = rescaled(law, 2.0)
    values = [iso.sample(each, (16, 16), seed=0, name="w") for each in (law, twice)]
    assert (2 * values[0] == values[1]).all()
    assert twice.variance == 4 * law.variance
    assert type(twice) is type(law)


def test_keep_stays_keep() -> None:
    assert rescaled(iso.Keep(), 2.0) == iso.Keep()


class Unrolled(nn.Module):
    """A recurrence by hand, whose state starts at zero."""

    def __init__(self) -> None:
        super().__init__()
        self.read, self.keep = nn.Linear(8, 16), nn.Linear(16, 16, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        state = x.new_zeros(len(x), 16)
        for moment in x.unbind(1):
            state = torch.tanh(self.read(moment) + self.keep(state))
        return state


def test_a_state_that_starts_at_zero_is_waited_for() -> None:
    model, x = Unrolled(), torch.randn(64, 5, 8, generator=torch.Generator().manual_seed(0))
    plan = iso.initialize(model, x, seed=0, recipe="lecun", calibrate=True)
    assert "calibrated: x" in plan["keep.weight"].reason
    first = model.read(x[:, 0]).detach()
    made = model.keep(torch.tanh(first)).detach()
    assert float(made.square().mean()) == pytest.approx(1.0, rel=1e-3)
