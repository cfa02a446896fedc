"""One name for one parameter: as frameworks write it, as a plan has it, as a mapping gives it."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import isometry as iso
from isometry.correspondence import corresponding, paired, renamed
from isometry.errors import ArgumentError, PlanError
from isometry.types.names import canonical


@pytest.mark.parametrize(
    "path",
    ["fc1.weight", "fc1/kernel", "['fc1']['kernel']", "params/fc1/kernel", "['params']['fc1']['kernel']",
     "fc1.kernel", "fc1/kernel:0", ".fc1.kernel", '["fc1"]["kernel"]'],
)  # fmt: skip
def test_every_way_of_writing_it_is_one_name(path: str) -> None:
    assert canonical(path) == "fc1.weight"


def test_what_is_not_the_same_stays_apart() -> None:
    assert canonical("layers[0].weight") == canonical("layers/0/kernel") == "layers.0.weight"
    assert canonical("table/embeddings") == canonical("table.embedding") == "table.weight"
    assert canonical("bn/gamma", norm=True) == canonical("bn/scale", norm=True) == "bn.weight"
    assert canonical("batch_stats/bn/mean", norm=True) == "bn.running_mean"
    assert canonical("block.gamma") == "block.gamma"  # a LayerScale, no normalisation
    assert canonical("kernel.scale") == "kernel.scale"  # only the last part is a slot
    assert canonical("params") == "params"


def model() -> nn.Module:
    return nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 2))


def test_a_plan_is_looked_up_by_any_of_them() -> None:
    plan = iso.plan(model(), torch.zeros(2, 6))
    assert plan["0/kernel"] is plan["['0']['kernel']"] is plan["0.weight"]
    with pytest.raises(PlanError, match="has no 'fc1/kernel'"):
        plan["fc1/kernel"]


def test_names_give_the_values_of_another_model() -> None:
    class Named(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.fc1, self.fc2 = nn.Linear(6, 8), nn.Linear(8, 2)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.fc2(torch.relu(self.fc1(x)))

    named, plain, x = Named(), model(), torch.zeros(2, 6)
    iso.initialize(named, x, seed=3)
    plan = iso.initialize(plain, x, seed=3, names={"0": "fc1", "2/kernel": "fc2.weight", "2.bias": "fc2.bias"})  # fmt: skip
    assert torch.equal(named.fc1.weight, plain[0].weight)
    assert torch.equal(named.fc2.weight, plain[2].weight)
    assert [d.name for d in plan] == ["fc1.weight", "fc1.bias", "fc2.weight", "fc2.bias"]
    assert plan["fc1.weight"].aliases == ("0.weight",)
    assert plan.digest == iso.plan(named, x).digest
    # Names that change places still find their own tensor.
    swapped = iso.initialize(plain, x, seed=3, names={"0": "2", "2": "0"})
    assert plain[0].weight.shape == swapped["2.weight"].shape == (8, 6)
    expected = iso.sample(swapped["2.weight"].law, (8, 6), seed=3, name="2.weight")
    assert (plain[0].weight.detach().numpy() == expected).all()


def test_a_mapping_that_does_not_fit_is_an_error() -> None:
    net, x = model(), torch.zeros(2, 6)
    before = [p.clone() for p in net.parameters()]
    for names, message in [
        ({"0": "fc1"}, "covers 2 of 4 tensors .* missing: 2.weight, 2.bias"),
        ({"0": "fc1", "2": "fc2", "3": "fc3"}, "has '3', which is no parameter or module"),
        ({"0": "fc1", "2": "fc1"}, "gives '0.weight' and '2.weight' one name, 'fc1.weight'"),
    ]:
        with pytest.raises(PlanError, match=message):
            iso.initialize(net, x, names=names)
    with pytest.raises(ArgumentError, match="expected a dict"):
        iso.initialize(net, x, names=["fc1"])  # type: ignore[arg-type]
    assert all(torch.equal(a, b) for a, b in zip(before, net.parameters(), strict=True))
    # The longest path that fits counts, whatever the order.
    nested = renamed(iso.plan(net, x), {"": "model", "2": "head", "2.bias": "shift"})
    assert [d.name for d in nested] == ["model.0.weight", "model.0.bias", "head.weight", "shift"]
    assert renamed(iso.plan(net, x), {"": "model"})["model.2.weight"].shape == (2, 8)


def test_a_plan_and_a_model_are_paired_or_refused() -> None:
    plan = iso.plan(model(), torch.zeros(2, 6))
    owned = {n: [n] for n in ("0/kernel", "0/bias", "2/kernel", "2/bias")}
    assert paired(plan, owned, "Keras")["2.weight"] == "2/kernel"
    with pytest.raises(PlanError, match=r"the plan has '2\.bias', the model has not"):
        paired(plan, {n: [n] for n in list(owned)[:3]}, "Net")
    with pytest.raises(PlanError, match="'3/bias' is not in the plan"):
        paired(plan, {**owned, "3/bias": ["3/bias"]}, "Net")


def test_transfer_says_what_corresponds() -> None:
    found = iso.transfer(model(), model())
    assert found.complete
    assert found.pairs[0] == ("0.weight", "0.weight")
    assert "every parameter corresponds" in str(found)
    wide = nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 3), nn.Linear(3, 3, bias=False))
    found = iso.transfer(model(), wide)
    assert not found.complete
    assert found.different == (("2.weight", (2, 8), (3, 8)), ("2.bias", (2,), (3,)))
    assert found.only_in_target == ("3.weight",)
    assert found.only_in_source == ()
    assert "3.weight: only in Sequential" in str(found)
    mapped = iso.transfer(model(), nn.ModuleDict({"a": nn.Linear(6, 8), "b": nn.Linear(8, 2)}), names={"0": "a", "2": "b"})  # fmt: skip
    assert mapped.complete
    assert mapped.pairs[2] == ("2.weight", "b.weight")


def test_axes_may_be_split_but_not_reordered() -> None:
    plan = iso.plan(nn.Linear(6, 8, bias=False), torch.zeros(2, 6))

    def with_shape(*shape: int) -> iso.Plan:
        from dataclasses import replace

        return replace(plan, decisions=tuple(replace(d, shape=shape) for d in plan))

    for shape, same in [((2, 4, 6), True), ((8, 1, 6), True), ((8, 3, 2), True), ((6, 8), False), ((4, 12), False), ((48,), True)]:  # fmt: skip
        assert corresponding(plan, with_shape(*shape)).complete is same, shape


def test_a_digest_is_of_the_laws_and_not_of_their_order() -> None:
    from dataclasses import replace

    plan = iso.plan(model(), torch.zeros(2, 6))
    turned = replace(plan, decisions=tuple(reversed(plan.decisions)))
    assert turned.digest == plan.digest
    assert plan.override({"0.weight": iso.Normal(0.5)}).digest != plan.digest
