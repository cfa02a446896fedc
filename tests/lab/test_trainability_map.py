"""The map: which cells it has, how one is trained, what is claimed of many, and how it is drawn."""

import json
from importlib import resources
from pathlib import Path

import pytest
import torch

import isometry as iso
from isometry.lab.experiment import EXPERIMENTS, Lab
from isometry.lab.networks import ACTIVATIONS, cnn, mlp
from isometry.lab.orthogonal import PlainOrthogonal
from isometry.lab.store import Store
from isometry.lab.trainability_cells import CNN_DEPTHS_FULL, RECIPES, Cell, cells, train_cell
from isometry.lab.trainability_figures import figures
from isometry.lab.trainability_map import KEPT
from isometry.lab.training import CHANCE, best_of_rates


def test_every_size_has_every_activation_under_every_recipe() -> None:
    one = list(cells())
    assert len(one) == len(set(one)) == 5 * len(ACTIVATIONS) * len(RECIPES)
    assert [c.depth for c in one] == sorted(c.depth for c in one)
    full = list(cells(2, CNN_DEPTHS_FULL))
    assert len(full) == 6 * len(ACTIVATIONS) * len(RECIPES)
    assert {c.seed for c in full} == {2}
    assert all(Cell.of(c.key) == c for c in full)


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_networks_are_plain_and_named_as_gains_are(name: str) -> None:
    assert iso.gain(name) > 0
    dense, conv = mlp([64, 100, 100], name), cnn(3, name)
    kinds = {type(m).__name__ for net in (dense, conv) for m in net}
    assert kinds == {"Linear", "Conv2d", "Flatten", ACTIVATIONS[name]}
    assert dense(torch.ones(2, 64)).shape == conv(torch.ones(2, 1, 8, 8)).shape == (2, 10)


def test_a_cell_that_can_learn_does_and_gives_the_same_twice() -> None:
    cell = Cell("mlp", 10, "gelu", "he")
    torch.manual_seed(1)
    first = train_cell(cell)
    torch.manual_seed(2)
    assert train_cell(cell) == first
    assert first["accuracy"] > 0.95


def test_a_cell_whose_signal_is_gone_stays_at_chance() -> None:
    assert train_cell(Cell("mlp", 10, "gelu", "torch"))["accuracy"] < 0.2


def test_a_recipe_that_declines_leaves_its_cell_empty() -> None:
    assert train_cell(Cell("mlp", 10, "elu", "critical")) == {}


def test_a_rate_that_diverges_counts_as_chance_and_the_next_starts_afresh() -> None:
    x = torch.randn(64, 8, generator=torch.Generator().manual_seed(0))
    y = (x[:, 0] > 0).long()
    net = torch.nn.Sequential(torch.nn.Linear(8, 32), torch.nn.ReLU(), torch.nn.Linear(32, 2))
    iso.initialize(net, x, seed=0)
    start = {k: v.clone() for k, v in net.state_dict().items()}
    wild = best_of_rates(net, x, y, steps=50, seed=0, rates=(1e30,))
    assert wild.accuracy == CHANCE
    net.load_state_dict(start)
    alone = best_of_rates(net, x, y, steps=50, seed=0, rates=(0.1,))
    net.load_state_dict(start)
    assert best_of_rates(net, x, y, steps=50, seed=0, rates=(1e30, 0.1)) == alone
    assert alone.accuracy > 0.9


def test_once_a_rate_is_good_enough_no_other_is_tried() -> None:
    x = torch.eye(2).repeat(32, 1)
    y = torch.arange(2).repeat(32)
    net = torch.nn.Linear(2, 2)
    found = best_of_rates(net, x, y, steps=100, seed=0, rates=(1.0, 1e30))
    assert (found.rate, found.accuracy) == (1.0, 1.0)
    assert net.weight.isfinite().all()


@pytest.mark.parametrize("net", [mlp([64, *[100] * 4], "gelu"), cnn(4, "gelu")])
def test_orthogonal_matrices_have_the_gain_of_what_they_read(net: torch.nn.Sequential) -> None:
    x = torch.randn(4, *((1, 8, 8) if isinstance(net[0], torch.nn.Conv2d) else (64,)))
    plan = iso.initialize(net, x, seed=0, recipe=PlainOrthogonal())
    for name in ("0.weight", "2.weight", "6.weight"):
        weight = dict(net.named_parameters())[name].detach().flatten(1)
        values = torch.linalg.svdvals(weight)
        gain = torch.full_like(values, plan[name].gain)
        torch.testing.assert_close(values, gain, rtol=1e-4, atol=0)
        assert weight.square().mean().item() == pytest.approx(plan[name].law.variance, rel=1e-4)
    assert plan["0.weight"].gain == 1.0
    if isinstance(net[0], torch.nn.Linear):  # past the first, which widens, a signal is back at 1
        assert plan["6.weight"].gain == pytest.approx(iso.gain("gelu"), rel=1e-3)


def faked(tmp_path: Path, accuracies) -> Lab:
    """A lab whose whole map has been trained before, each cell to what a function says."""
    path = tmp_path / "cells.json"
    every = [c for seed in range(3) for c in cells(seed, CNN_DEPTHS_FULL)]
    path.write_text(json.dumps({c.key: accuracies(c) for c in every}))
    return Lab(full=True, cells=Store(path))


def run_full(tmp_path: Path, accuracies) -> dict[str, bool]:
    """The claims about such a map, and whether they hold."""
    folder = tmp_path / "store"
    folder.mkdir()
    faked(tmp_path, accuracies).cells.path.rename(folder / "trainability_map-full.json")
    result = EXPERIMENTS["trainability_map"].run(full=True, store=folder)
    assert len(result.figures) == 1 + 6
    return {c.what: c.holds for c in result.claims}


def test_what_is_claimed_of_a_map(tmp_path: Path) -> None:
    ours = {"accuracy": 0.95, "rate": 0.03}
    bad = {"accuracy": 0.5, "rate": 0.03}
    claims = run_full(tmp_path, lambda c: ours if c.recipe == "isometric" else bad)
    assert list(claims.values()) == [True, True, True]


def test_a_map_that_falls_short_says_so(tmp_path: Path) -> None:
    good, bad = {"accuracy": 0.95, "rate": 0.03}, {"accuracy": 0.9, "rate": 0.03}

    def accuracies(cell: Cell) -> dict[str, float]:
        if cell.recipe == "critical":
            return {} if cell.activation == "elu" else good
        return bad if cell.recipe == "isometric" and cell.depth == 100 else good

    assert list(run_full(tmp_path, accuracies).values()) == [False, False, True]


def test_a_map_of_some_cells_is_drawn_with_the_place_of_the_others() -> None:
    some = {Cell("mlp", 10, "relu", "he"): 0.95, Cell("mlp", 10, "gelu", "critical"): None}
    summary, heat = figures(some)
    assert [row["said"] for row in summary.spec["data"]["values"]] == ["100%", "0%"]
    assert [row["percent"] for row in heat.spec["data"]["values"]] == ["95", "–"]
    (rect, _) = heat.spec["layer"]
    assert len(rect["encoding"]["y"]["scale"]["domain"]) == len(ACTIVATIONS)


def test_the_map_that_is_kept_has_whole_sizes() -> None:
    text = resources.files("isometry.lab").joinpath(KEPT).read_text(encoding="utf-8")
    kept = {Cell.of(key) for key in json.loads(text)}
    sizes = {(c.network, c.depth) for c in kept}
    assert {("mlp", 10), ("cnn", 10)} <= sizes
    assert kept == {c for c in cells() if (c.network, c.depth) in sizes}
