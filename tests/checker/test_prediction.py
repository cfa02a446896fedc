"""What a check expects, beside what it measured."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import isometry as iso
from isometry.torch.statistics import pair_moments
from isometry.types import Report


def plain(depth: int = 6, width: int = 256, activation: type[nn.Module] = nn.GELU) -> nn.Module:
    layers: list[nn.Module] = [nn.Linear(64, width)]
    for _ in range(depth - 1):
        layers += [activation(), nn.Linear(width, width)]
    return nn.Sequential(*layers)


def of(report: Report, name: str) -> str:
    return next(p.reads for p in report.parameters if p.name == name)


def noise(*shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(0))


def test_mirrored_and_centred_matrices_are_seen_by_their_values() -> None:
    mirrored, centred = plain(4), plain(4, activation=nn.Sigmoid)
    x = noise(32, 64)
    iso.initialize(mirrored, x, recipe="isometric")
    assert [of(iso.check(mirrored, x), f"{i}.weight") for i in (0, 2, 6)] == [
        "each",
        "pairs",
        "pairs",
    ]
    with torch.no_grad():
        for layer in centred:
            if isinstance(layer, nn.Linear):
                layer.weight -= layer.weight.mean(1, keepdim=True)
    report = iso.check(centred, x)
    assert of(report, "2.weight") == "centred"
    for m in report.layers:
        if m.op == "linear":
            assert m.q == pytest.approx(m.predicted, rel=0.25)


def test_a_kernel_that_is_zero_but_for_its_centre_loses_nothing_to_padding() -> None:
    model = nn.Sequential(
        nn.Conv2d(16, 64, 3, padding=1, bias=False), nn.Conv2d(64, 64, 3, padding=1, bias=False)
    )
    nn.init.dirac_(model[1].weight)  # type: ignore[arg-type]
    first, second = iso.check(model, noise(16, 16, 6, 6)).layers
    assert second.q == pytest.approx(first.q, rel=1e-3)
    assert second.predicted == pytest.approx(first.predicted, rel=0.01)


def test_gradients_are_expected_from_that_at_the_output() -> None:
    model, x = plain(6), noise(64, 64)
    iso.initialize(model, x)
    target = torch.randint(0, 256, (64,), generator=torch.Generator().manual_seed(1))
    for scale in (1.0, 100.0):

        def loss(y: Tensor, t: Tensor, scale: float = scale) -> Tensor:
            return scale * F.cross_entropy(y, t)

        report = iso.check(model, x, loss=loss, target=target)
        last = report.layers[-1]
        assert last.predicted_grad == pytest.approx(last.grad, rel=1e-6)
        for m in report.layers:
            assert m.grad == pytest.approx(m.predicted_grad, rel=0.3)


def test_a_structure_that_moments_do_not_see_is_told() -> None:
    """Rows that add up what they read, with one sign or the other: ReLU's means add up coherently."""
    model, x = plain(6, activation=nn.ReLU), noise(64, 64)
    iso.initialize(model, x)
    assert not [n for n in iso.check(model, x).not_checked if n.what.startswith("the theory")]
    signs, apart = noise(256, 1).sign(), 1 + 0.01 * noise(256, 256)
    with torch.no_grad():
        for layer in model.modules():
            if isinstance(layer, nn.Linear) and layer.in_features == 256:
                layer.weight.copy_((2 / 256) ** 0.5 * signs * apart)
    told = [n for n in iso.check(model, x).not_checked if n.what.startswith("the theory")]
    assert told
    assert "where independent weights would give" in told[0].why


def test_what_pairs_of_an_input_have_in_common() -> None:
    shared = noise(1, 1, 512)
    place = torch.randn(1, 20, 512, generator=torch.Generator().manual_seed(1))
    sample = torch.randn(40, 1, 512, generator=torch.Generator().manual_seed(2))
    own = torch.randn(40, 20, 512, generator=torch.Generator().manual_seed(3))
    found = pair_moments((shared + place + sample + own) / 2.0)
    # Of four parts the same place shares two, another position two, both only the first.
    assert found == pytest.approx((0.5, 0.5, 0.25), abs=0.06)
    assert pair_moments(torch.ones(4, 3)) == pytest.approx((1.0, 0.0, 0.0))
    assert pair_moments(torch.zeros(4, 3)) == (0.0, 0.0, 0.0)
