"""A plan: looked up, printed, saved, loaded, compared, edited; and what a digest stands for."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

import isometry as iso

LAWS: list[iso.Law] = [
    iso.Keep(), iso.Constant(1 / 3), iso.Normal(0.1, mean=-0.7), iso.Uniform(1e-3, mean=0.1),
    iso.TruncatedNormal(0.02, cutoff=2.5), iso.Orthogonal(1.1, size=64), iso.Identity(0.3),
    iso.Sparse(0.7, std=0.03),
]  # fmt: skip


class Net(nn.Module):
    """Blocks, a tie, a buffer, a fused matrix, gates."""

    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Embedding(30, 16, padding_idx=0)
        self.attention = nn.MultiheadAttention(16, 2, batch_first=True)
        self.memory = nn.LSTM(16, 16, batch_first=True)
        self.norm = nn.BatchNorm1d(16)
        self.head = nn.Linear(16, 30, bias=False)
        self.head.weight = self.table.weight

    def forward(self, ids: Tensor) -> Tensor:
        x = self.table(ids)
        x = x + self.attention(x, x, x, need_weights=False)[0]
        x = self.memory(x)[0]
        return self.head(self.norm(x.transpose(1, 2)).transpose(1, 2))


IDS = torch.zeros(2, 6, dtype=torch.long)


@pytest.fixture(scope="module")
def plan() -> iso.Plan:
    torch.manual_seed(0)
    return iso.plan(Net(), IDS, loss="cross_entropy")


def test_lookup_by_name_and_by_alias(plan: iso.Plan) -> None:
    assert plan["table.weight"] is plan["head.weight"]
    assert plan["table.weight"].aliases == ("head.weight",)
    assert "head.weight" in plan
    assert "memory.weight_hh_l0" in plan
    assert "memory" not in plan
    assert [d.name for d in plan] == [d.name for d in plan.decisions]
    assert len(plan) == len(plan.decisions) == 14
    with pytest.raises(
        iso.PlanError, match=r"Net has no 'tabel.weight'; it has table.weight, .*14 in all"
    ):
        plan["tabel.weight"]


@pytest.mark.parametrize(
    ("pattern", "names"),
    [
        ("norm", {"norm.weight", "norm.bias", "norm.running_mean", "norm.running_var", "norm.num_batches_tracked"}),
        ("norm.weight", {"norm.weight"}),
        ("head.*", {"table.weight"}),  # by its alias
        ("*.bias_?h_l0", {"memory.bias_ih_l0", "memory.bias_hh_l0"}),
        ("attention.out_proj.[wb]*", {"attention.out_proj.weight", "attention.out_proj.bias"}),
    ],
)  # fmt: skip
def test_patterns(plan: iso.Plan, pattern: str, names: set[str]) -> None:
    assert {d.name for d in plan.select((pattern,))} == names


def test_a_plan_saved_and_loaded_is_equal(plan: iso.Plan, tmp_path: Path) -> None:
    path = tmp_path / "plan.json"
    plan.save(path)
    loaded = iso.Plan.load(path)
    assert loaded == plan
    assert loaded.digest == plan.digest
    assert loaded.diff(plan) == ()
    assert str(loaded) == str(plan)
    assert [p.name for p in tmp_path.iterdir()] == ["plan.json"]  # no temporary is left
    model, other = Net(), Net()
    plan.apply(model, seed=3)
    loaded.apply(other, seed=3)
    for (name, a), b in zip(model.named_parameters(), other.parameters(), strict=True):
        assert torch.equal(a, b), name


@pytest.mark.parametrize("law", LAWS, ids=str)
def test_every_law_survives_json_to_the_bit(plan: iso.Plan, law: iso.Law) -> None:
    edited = plan.override({"attention.out_proj.weight": law})
    text = edited.to_json()
    assert iso.Plan.from_json(text)["attention.out_proj.weight"].law == law
    # Floats are hex, so that no reader rounds them.
    (stored,) = [
        d["law"] for d in json.loads(text)["decisions"] if d["name"] == "attention.out_proj.weight"
    ]
    assert not any(isinstance(v, float) for v in stored.values())


@settings(max_examples=60, deadline=None, derandomize=True)
@given(
    std=st.floats(2.0**-80, 2.0**80),
    mean=st.floats(allow_nan=False, allow_infinity=False),
    gain=st.none() | st.floats(allow_nan=False, allow_infinity=False),
    note=st.text(max_size=20),
)
def test_any_number_survives_json(std: float, mean: float, gain: float | None, note: str) -> None:
    made = iso.plan(nn.Linear(4, 4), torch.zeros(2, 4))
    decision = replace(made["weight"], law=iso.Normal(std, mean), gain=gain, reason=note)
    edited = replace(made, decisions=(decision, made["bias"]), notes=(note,))
    assert iso.Plan.from_json(edited.to_json()) == edited


@pytest.mark.parametrize(
    "spoil",
    [
        lambda d: d.update(format=99), lambda d: d.pop("decisions"), lambda d: d["decisions"][0].pop("law"),
        lambda d: d["decisions"][0]["law"].update(law="Gauss"),
        lambda d: d["decisions"][0]["law"].update(colour="red"), lambda d: d.update(decisions=3),
        lambda d: d["decisions"][1].update(surprise=1),
    ],
)  # fmt: skip
def test_what_is_no_plan_is_refused(plan: iso.Plan, spoil: Callable[[Any], Any]) -> None:
    data = json.loads(plan.to_json())
    spoil(data)
    with pytest.raises(iso.PlanError):
        iso.Plan.from_json(json.dumps(data))
    with pytest.raises(iso.PlanError):
        iso.Plan.from_json("not JSON at all")


def test_a_save_that_fails_leaves_what_was_there(plan: iso.Plan, tmp_path: Path) -> None:
    path = tmp_path / "plan.json"
    plan.save(path)
    broken = replace(plan, notes=(object(),))  # type: ignore[arg-type]
    with pytest.raises(TypeError):
        broken.save(path)
    assert iso.Plan.load(path) == plan
    assert [p.name for p in tmp_path.iterdir()] == ["plan.json"]


def test_an_override_changes_what_it_names_and_no_more(plan: iso.Plan) -> None:
    edited = plan.override({"attention.*": iso.Normal(0.02), "attention.*bias": iso.Constant(0.5)})
    changed = [line.split(":")[0] for line in plan.diff(edited)]
    assert changed == ["attention.in_proj_weight", "attention.in_proj_bias", "attention.out_proj.weight", "attention.out_proj.bias"]  # fmt: skip
    assert edited["attention.in_proj_weight"].law == iso.Normal(0.02)
    assert edited["attention.in_proj_weight"].blocks == ()
    assert edited["attention.in_proj_bias"].law == iso.Constant(0.5)  # the last that matches
    assert edited["attention.in_proj_bias"].reason == "set by hand"
    assert edited["table.weight"] is plan["table.weight"]
    assert plan["attention.in_proj_weight"].blocks != ()  # a plan never changes
    model = Net()
    edited.apply(model, seed=0)
    assert bool((model.attention.in_proj_bias == 0.5).all())
    same = iso.plan(
        Net(), IDS, loss="cross_entropy",
        overrides={"attention.*": iso.Normal(0.02), "attention.*bias": iso.Constant(0.5)},
    )  # fmt: skip
    assert same.decisions == edited.decisions


def test_keeping_by_override_writes_nothing(plan: iso.Plan) -> None:
    model = Net()
    before = model.attention.in_proj_weight.detach().clone()
    plan.override({"attention.in_proj_weight": iso.Keep()}).apply(model, seed=0)
    assert torch.equal(model.attention.in_proj_weight.detach(), before)


def test_include_and_exclude(plan: iso.Plan) -> None:
    model = Net()
    before = {n: p.detach().clone() for n, p in model.named_parameters()}
    plan.apply(model, seed=0, include=("memory", "norm.*"), exclude="memory.bias*")
    changed = {n for n, p in model.named_parameters() if not torch.equal(p.detach(), before[n])}
    assert changed == {"memory.weight_ih_l0", "memory.weight_hh_l0"}


def test_a_diff_says_what_differs(plan: iso.Plan) -> None:
    torch.manual_seed(0)
    he = iso.plan(Net(), IDS, recipe="he")
    lines = plan.diff(he)
    assert any(
        line.startswith("attention.in_proj_weight: ") and "(blocks)" in line for line in lines
    )
    assert not any(line.startswith("norm.weight") for line in lines)
    other = iso.plan(nn.Linear(4, 4), torch.zeros(2, 4))
    assert "weight: only in the second plan" in plan.diff(other)
    assert "weight: only in the first plan" in other.diff(plan)
    assert plan.diff(plan) == ()


def test_the_digest_is_that_of_the_laws(plan: iso.Plan) -> None:
    """Equal on every rank that decided alike, whatever words it found for it."""
    assert len(plan.digest) == 16
    assert int(plan.digest, 16) >= 0
    reworded = replace(plan, decisions=tuple(replace(d, reason="") for d in plan), notes=("x",))
    assert reworded.digest == plan.digest
    assert plan.override({"norm.weight": iso.Constant(1.0)}).digest == plan.digest  # as it was
    nudged = 1.0 + 2.0**-52
    assert plan.override({"norm.weight": iso.Constant(nudged)}).digest != plan.digest
    assert plan.override({"table.weight": plan["table.weight"].law}).digest != plan.digest  # blocks
    assert iso.plan(Net(), IDS, recipe="he").digest != plan.digest
    torch.manual_seed(1)
    assert iso.plan(Net(), IDS, loss="cross_entropy").digest == plan.digest


def test_printing_a_plan_says_everything_decided(plan: iso.Plan) -> None:
    text = str(plan)
    lines = text.splitlines()
    assert lines[0] == "Net: recipe 'auto', 14 tensors"
    for decision in plan:
        (line,) = [row for row in lines if row.split()[0] == decision.name]
        assert decision.scheme in line
        assert str(decision.law) in line
        assert line.endswith(decision.reason)
    assert "16x16" in text
    repelled = iso.plan(
        nn.Sequential(*(m for _ in range(12) for m in (nn.Linear(8, 8), nn.GELU()))),
        torch.zeros(2, 8),
    )
    assert str(repelled).splitlines()[-1] == f"note: {repelled.notes[0]}"


def test_plans_are_values(plan: iso.Plan) -> None:
    torch.manual_seed(0)
    again = iso.plan(Net(), IDS, loss="cross_entropy")
    assert again == plan
    assert hash(again["norm.weight"]) == hash(plan["norm.weight"])
    with pytest.raises(AttributeError):
        plan.recipe = "he"  # type: ignore[misc]


def test_a_recipe_of_ones_own() -> None:
    """An object with a decide(site) method is a recipe; it is told what the graph shows."""
    from isometry.recipe import Choice, Site

    seen: dict[str, Site] = {}

    class Tiny:
        name, purpose, source = "tiny", "tests", "nowhere"

        def decide(self, site: Site) -> Choice:
            seen[site.usage.leaf.name] = site
            return Choice(iso.Normal(0.01), "tiny", "always small")

    model = nn.Sequential(nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 8))
    made = iso.plan(model, torch.zeros(2, 8), recipe=Tiny())
    assert made.recipe == "tiny"
    assert {d.law for d in made} == {iso.Normal(0.01)}
    assert seen["2.weight"].usage.fans == iso.Fans(8, 8)
    assert seen["2.weight"].activation == "relu"
    # The theory went on with the laws it gave: E[relu²] of what the first layer makes.
    assert seen["2.weight"].reads is not None
    assert seen["2.weight"].reads.q == pytest.approx((8 * 1e-4 + 1e-4) / 2, rel=1e-6)
