"""With a factory, chance is told from fault: in how many of so many builds."""

from __future__ import annotations

import random

import numpy as np
import pytest
import torch
from torch import nn

import isometry as iso
from isometry.checker import SEEDS

from .networks import he, initialised, mlp

X = torch.randn(64, 2, generator=torch.Generator().manual_seed(0))


def narrow() -> nn.Module:
    """Width 5, depth 16: born dead for about a quarter of all seeds (Lu et al. 2019)."""
    return he(mlp([2, *[5] * 16, 1]))


def test_a_network_that_is_born_dead_by_chance_says_for_how_many_seeds() -> None:
    dead = 0
    for seed in range(1, SEEDS + 1):  # by hand: is the output one number?
        torch.manual_seed(seed)
        dead += bool(narrow()(X).std() == 0)
    assert 1 <= dead < SEEDS
    for seed in range(4):  # alive or dead, the same count
        torch.manual_seed(seed)
        report = iso.check(narrow(), X, build=narrow, select=["ISO401"])
        (finding,) = [f for f in report if f.code == "ISO401"][:1]
        assert (report.seeds, finding.data["seeds"]) == (SEEDS, SEEDS)
        if not narrow_at(seed)(X).std() > 0:
            assert finding.severity == "error"
            assert f"(in {dead} of 20 other seeds)" in finding.evidence
        elif "here not" in finding.evidence:
            assert finding.severity == "warning"
            assert f"in {dead} of 20 seeds: 100% of the units of relu are zero" in finding.evidence


def narrow_at(seed: int) -> nn.Module:
    torch.manual_seed(seed)
    return narrow()


def test_a_fault_of_the_law_is_there_for_every_seed() -> None:
    def build() -> nn.Module:
        return mlp([2, *[64] * 20, 1])

    report = iso.check(build(), X, build=build, seeds=5)
    (finding,) = [f for f in report if f.severity == "error"]
    assert (finding.code, finding.data["seeds_with_it"], finding.data["seeds"]) == ("ISO201", 5, 5)


def test_nothing_is_found_in_any_seed_of_what_is_well() -> None:
    def build() -> nn.Module:
        return he(mlp([2, 64, 64, 1]))

    report = iso.check(build(), X, build=build)
    assert (report.findings, report.seeds) == ((), SEEDS)


def test_random_states_are_as_before() -> None:
    torch.manual_seed(7)
    random.seed(7)
    np.random.seed(7)
    before = torch.get_rng_state(), random.getstate(), np.random.get_state()[1].tolist()  # type: ignore[union-attr,index]
    iso.check(narrow(), X, build=narrow, seeds=2)
    torch.manual_seed(7)  # narrow() itself drew
    iso.check(mlp([2, 4, 1]), X, build=lambda: initialised(narrow(), nn.init.normal_), seeds=2)
    torch.manual_seed(7)
    assert torch.equal(before[0], torch.get_rng_state())
    assert before[1] == random.getstate()
    assert before[2] == np.random.get_state()[1].tolist()  # type: ignore[union-attr,index]


def test_a_large_model_is_judged_by_fewer_builds_the_same_every_time() -> None:
    from isometry.checker import affordable
    from isometry.torch.read import read_graph

    def cost(width: int) -> int:
        with torch.device("meta"):
            model = mlp([width] * 5)
        return affordable(read_graph(model, torch.randn(32, width, device="meta"), None))

    assert cost(64) == SEEDS
    assert 0 <= cost(16384) < SEEDS


@pytest.mark.parametrize("seeds", [True, -1, 2.5, "20"])
def test_a_number_of_seeds_that_is_none_is_refused(seeds: object) -> None:
    with pytest.raises(iso.ArgumentError, match="expected a number of builds"):
        iso.check(narrow(), X, build=narrow, seeds=seeds)  # type: ignore[arg-type]


def test_seeds_without_a_factory_are_refused() -> None:
    with pytest.raises(iso.ArgumentError, match="pass build="):
        iso.check(narrow(), X, seeds=20)


def test_what_a_factory_leaves_unset_is_not_judged_over_seeds() -> None:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.fc, self.scale = nn.Linear(2, 8), nn.Parameter(torch.empty(8))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.fc(x) * torch.nan_to_num(self.scale)

    model = Net()
    nn.init.ones_(model.scale)
    report = iso.check(model, X, build=Net)
    assert ([f.code for f in report], report.seeds) == (["ISO801"], 0)
    assert [n.why for n in report.not_checked if n.what == "further seeds"] == [
        "build() leaves values unset"
    ]
