"""A part of a planned model gets the weights that the whole would have there."""

import pytest
import torch
from torch import nn

import isometry as iso
import isometry.torch as it


class Block(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.up, self.down = nn.Linear(6, 10), nn.Linear(10, 6)
        self.gamma = nn.Parameter(torch.full((6,), 1e-4))

    def forward(self, x):
        return x + self.gamma * self.down(torch.relu(self.up(x)))


class Net(nn.Module):
    def __init__(self, layers=4) -> None:
        super().__init__()
        self.embed = nn.Embedding(11, 6)
        self.layers = nn.ModuleList(Block() for _ in range(layers))
        self.norm = nn.BatchNorm1d(6)
        self.head = nn.Linear(6, 11, bias=False)
        self.head.weight = self.embed.weight

    def forward(self, ids):
        x = self.embed(ids)
        for layer in self.layers:
            x = layer(x)
        return self.head(self.norm(x.flatten(0, 1)))


IDS = torch.arange(8).reshape(2, 4)


@pytest.fixture(scope="module")
def whole():
    with it.meta():
        model = Net()
    plan = iso.initialize(model, IDS, seed=5)
    return plan, model.state_dict()


class Stage(nn.Module):
    """Layers 2 and 3, the norm and the head, under names of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(Block() for _ in range(2))
        self.norm = nn.BatchNorm1d(6)
        self.head = nn.Linear(6, 11, bias=False)


NAMES = {"blocks.0": "layers.2", "blocks.1": "layers.3"}


@pytest.mark.parametrize("on_meta", [False, True])
def test_a_stage_has_the_weights_of_its_layers(whole, on_meta):
    plan, expected = whole
    if on_meta:
        with it.meta():
            stage = Stage()
    else:
        stage = Stage()
    assert plan.apply(stage, seed=5, part=NAMES) is stage
    for name, tensor in stage.state_dict().items():
        theirs = name.replace("blocks.0", "layers.2").replace("blocks.1", "layers.3")
        assert torch.equal(tensor, expected[theirs]), name


def test_a_part_that_calls_its_tensors_as_the_plan_does(whole):
    plan, expected = whole
    part = nn.ModuleDict({"layers": nn.ModuleDict({"1": Block(), "3": Block()})})
    plan.apply(part, seed=5, part=True)
    state = part.state_dict()
    assert len(state) == 10
    assert all(torch.equal(tensor, expected[name]) for name, tensor in state.items())


def test_a_prefix_for_all(whole):
    plan, expected = whole
    block = Block()
    plan.apply(block, seed=5, part={"": "layers.1"})
    assert torch.equal(block.up.weight, expected["layers.1.up.weight"])


def test_the_longest_path_counts(whole):
    plan, expected = whole
    pair = nn.ModuleList([Block(), Block()])
    plan.apply(pair, seed=5, part={"": "layers", "1": "layers.3"})
    assert torch.equal(pair[0].up.weight, expected["layers.0.up.weight"])
    assert torch.equal(pair[1].up.weight, expected["layers.3.up.weight"])


def test_patterns_are_those_of_the_whole(whole):
    plan, expected = whole
    block = Block()
    before = block.up.weight.detach().clone()
    plan.apply(block, seed=5, part={"": "layers.1"}, exclude="*.up.weight")
    assert torch.equal(block.up.weight, before)
    assert torch.equal(block.down.weight, expected["layers.1.down.weight"])


@pytest.mark.parametrize(
    ("part", "error", "says"),
    [
        (False, iso.PlanError, "make a plan of this model with iso.plan"),
        ({"": "layers.9"}, iso.PlanError, "has 'gamma', as 'layers.9.gamma', which the plan"),
        ({"": "layers.1", "nowhere": "x"}, iso.PlanError, "part has 'nowhere', which is no parameter"),
        ({"": "layers.1", "down.weight": "layers.1.up.weight"}, iso.PlanError, "the same values"),
        ({"": "head", "up": "layers.1.up"}, iso.PlanError, "which the plan of Net has not"),
        ("layers.1", iso.ArgumentError, "expected True, or a dict"),
        ({"": 3}, iso.ArgumentError, "expected True, or a dict"),
    ],
)  # fmt: skip
def test_a_part_that_does_not_fit_is_left_as_it_was(whole, part, error, says):
    plan, _ = whole
    block = Block()
    before = {name: tensor.clone() for name, tensor in block.state_dict().items()}
    with pytest.raises(error, match=says):
        plan.apply(block, seed=5, part=part)
    assert all(torch.equal(tensor, before[name]) for name, tensor in block.state_dict().items())


def test_a_tied_head_alone_is_found_by_its_other_name(whole):
    plan, expected = whole
    head = nn.ModuleDict({"head": nn.Linear(6, 11, bias=False)})
    plan.apply(head, seed=5, part=True)
    assert torch.equal(head["head"].weight, expected["embed.weight"])
