"""Weights that have learned are recognised, said to be, and not judged; fresh ones never are."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from sklearn.datasets import load_digits
from torch import Tensor, nn
from torch.nn import functional as F

import isometry as iso
from isometry.measuring.spectrum import outlying

from .networks import GPT, ResNet, he, initialised, mlp


def digits() -> tuple[Tensor, Tensor]:
    found = load_digits()
    x = torch.tensor(found.data, dtype=torch.float32)
    return (x - x.mean()) / x.std(), torch.tensor(found.target)


def small_mlp() -> nn.Module:
    return mlp([64, 128, 128, 10])


def small_cnn() -> nn.Module:
    return nn.Sequential(
        nn.Unflatten(1, (1, 8, 8)),
        nn.Conv2d(1, 32, 3, padding=1), nn.BatchNorm2d(32), nn.ReLU(),
        nn.Conv2d(32, 64, 3, padding=1), nn.BatchNorm2d(64), nn.ReLU(),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, 10),
    )  # fmt: skip


def train(model: nn.Module, steps: int) -> nn.Module:
    x, y = digits()
    optimiser = torch.optim.Adam(model.parameters(), 1e-3)
    for _ in range(steps):
        batch = torch.randint(len(x), (64,))
        loss = F.cross_entropy(model(x[batch]), y[batch])
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    return model


@pytest.mark.parametrize("build", [small_mlp, small_cnn])
def test_what_was_trained_on_digits_is_not_judged(build: Callable[[], nn.Module]) -> None:
    torch.manual_seed(0)
    model, x = build(), digits()[0][:64]
    assert iso.check(model, x).judged
    report = iso.check(train(model, 200), x, loss="cross_entropy")
    assert not report.judged
    assert report.findings == ()
    assert report.ok
    (said,) = report.not_checked
    assert (said.what, said.why[:21]) == ("everything", "the weights look trai")


def test_trained_layers_with_a_fresh_head_are_not_judged() -> None:
    torch.manual_seed(0)
    model = train(small_mlp(), 300)
    nn.init.zeros_(model[-1].weight)  # type: ignore[index,arg-type]
    assert not iso.check(model, digits()[0][:64]).judged


FILLS: dict[str, Callable[[Tensor], object]] = {
    "normal": lambda w: nn.init.normal_(w),
    "uniform from 0": lambda w: nn.init.uniform_(w),
    "negative": lambda w: nn.init.normal_(w).abs_().neg_(),
    "constant": lambda w: nn.init.constant_(w, 0.01),
    "orthogonal": nn.init.orthogonal_,
    "sparse": lambda w: nn.init.sparse_(w, 0.9) if w.dim() == 2 else w,
    "a mean": lambda w: nn.init.normal_(w, 1.0, 0.1),
    "heavy tails": lambda w: w.copy_(torch.distributions.StudentT(3.0).sample(w.shape)),
    "rows of different scale": lambda w: w.normal_().mul_(torch.rand(len(w), *[1] * (w.dim() - 1))),
}


@pytest.mark.parametrize("fill", FILLS)
def test_no_way_to_initialise_looks_trained(fill: str) -> None:
    for seed in range(5):
        torch.manual_seed(seed)
        with torch.no_grad():
            for model in (small_mlp(), small_cnn()):
                initialised(model, FILLS[fill], nn.init.normal_)
                assert iso.check(model, torch.randn(64, 64)).judged


def test_fresh_models_of_many_kinds_do_not_look_trained() -> None:
    for seed in range(5):
        torch.manual_seed(seed)
        assert iso.check(he(mlp([16, *[16] * 12, 4])), torch.randn(64, 16)).judged
        assert iso.check(ResNet(zero=False), torch.randn(32, 3, 8, 8)).judged
        assert iso.check(GPT(), torch.randint(100, (32, 16))).judged


@pytest.mark.parametrize(("m", "n"), [(8, 64), (16, 16), (64, 64), (256, 128)])
def test_the_largest_singular_value_is_that_of_linear_algebra(m: int, n: int) -> None:
    generator = torch.Generator().manual_seed(m)
    for _ in range(20):
        w = torch.randn(m, n, generator=generator, dtype=torch.float64)
        w = w - w.mean()
        w = w / w.norm(dim=1, keepdim=True) * n**0.5
        limit = (m**0.5 + n**0.5) * (1 + 1.5 * min(m, n) ** (-2 / 3))
        found = outlying(w)
        # Power iteration comes from below, and the mean of the scaled rows is not exactly zero.
        assert found == pytest.approx(float(torch.linalg.matrix_norm(w, 2)) / limit, rel=0.05)
        assert found is not None
        assert found < 1
        u, v = (torch.randn(k, generator=generator, dtype=torch.float64) for k in (m, n))
        if m >= 64:  # a learned direction; in a small matrix it may hide
            assert (outlying(w + torch.outer(u, v)) or 0) > 1


@pytest.mark.parametrize("rank", [1, 4])
def test_matrices_of_low_rank_are_made_and_not_learned(rank: int) -> None:
    torch.manual_seed(0)
    model = small_mlp()
    with torch.no_grad():
        for layer in model:  # type: ignore[attr-defined]
            if isinstance(layer, nn.Linear):
                n, m = layer.weight.shape
                layer.weight.copy_(torch.randn(n, rank) @ torch.randn(rank, m) / (m * rank) ** 0.5)
    assert iso.check(model, torch.randn(64, 64)).judged
