"""A verdict does not hang on what is none of its business: the loss's scale and reduction, how many
samples there are, and the dtype, as long as the effect is a factor of 2 away from its threshold."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional as F

import isometry as iso

from .networks import GPT, ResNet, he, initialised, mlp

THRESHOLDS = {"ISO2": (10, 1000), "ISO5": (10, 1000), "ISO3": (1e3, 1e5)}
NEAR = 2.0  # within this factor of a threshold a verdict may go either way


def default(model: nn.Module) -> nn.Module:
    return model


def glorot(model: nn.Module) -> nn.Module:
    return initialised(model, nn.init.xavier_normal_)


def wide(model: nn.Module) -> nn.Module:
    return initialised(model, lambda w: nn.init.normal_(w, std=0.3))


networks = st.builds(
    lambda fill, activation, depth, width, seed: (fill, activation, depth, width, seed),
    st.sampled_from([default, glorot, he, wide]),
    st.sampled_from([nn.ReLU, nn.Tanh, nn.GELU, nn.Sigmoid]),
    st.integers(2, 24),
    st.sampled_from([48, 128]),
    st.integers(0, 2**32 - 1),
)


def build(
    network: tuple[Callable[[nn.Module], nn.Module], type[nn.Module], int, int, int],
) -> nn.Module:
    fill, activation, depth, width, seed = network
    torch.manual_seed(seed)
    return fill(mlp([32, *[width] * depth, 10], activation))


def noise(samples: int, *shape: int) -> Tensor:
    return torch.randn(samples, *shape, generator=torch.Generator().manual_seed(1))


def targets(samples: int) -> Tensor:
    return torch.randint(10, (samples,), generator=torch.Generator().manual_seed(2))


def assert_same(first: iso.Report, second: iso.Report) -> None:
    """The same findings, but for those whose effect is near a threshold in either report."""
    for one, other in ((first, second), (second, first)):
        severities = {f.code: f.severity for f in other.findings}
        for f in one.findings:
            if severities.get(f.code) != f.severity:
                assert near(f), f"{f.severity} {f}\nagainst\n{other}"


def near(finding: iso.Finding) -> bool:
    """Is the effect within a factor of 2 of where the severity changes?"""
    thresholds = THRESHOLDS.get(finding.code[:4], ())
    effect = float(finding.data.get("effect", 0.0))
    size = abs(math.log(effect)) if effect > 0 else math.inf
    return any(abs(size - math.log(t)) <= math.log(NEAR) for t in thresholds)


FEW = settings(
    max_examples=25, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow]
)


@given(networks, st.sampled_from([1e-6, 1e-3, 1e4]), st.booleans())
@FEW
def test_the_scale_and_the_reduction_of_the_loss(network, scale: float, total: bool) -> None:  # type: ignore[no-untyped-def]
    model, x, y = build(network), noise(64, 32), targets(64)

    def other(output: Tensor, target: Tensor) -> Tensor:
        return scale * F.cross_entropy(output, target, reduction="sum" if total else "mean")

    def loss(output: Tensor, target: Tensor) -> Tensor:
        return F.cross_entropy(output, target)

    first, second = (iso.check(model, x, loss=f, target=y) for f in (loss, other))
    assert [(f.code, f.severity, f.where) for f in first] == [
        (f.code, f.severity, f.where) for f in second
    ]


@given(networks, st.sampled_from([32, 48, 96, 256]))
@FEW
def test_the_size_of_the_batch(network, samples: int) -> None:  # type: ignore[no-untyped-def]
    model = build(network)
    assert_same(iso.check(model, noise(64, 32)), iso.check(model, noise(samples, 32)))


@given(networks)
@FEW
def test_the_dtype(network) -> None:  # type: ignore[no-untyped-def]
    model, x = build(network), noise(64, 32)
    first = iso.check(model, x)
    assert_same(first, iso.check(model.bfloat16(), x.bfloat16()))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("samples", [32, 128])
def test_models_that_are_well_stay_well(samples: int, dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    net = ResNet(zero=True).to(dtype)
    assert iso.check(net, noise(samples, 3, 8, 8).to(dtype)).ok
    ids = torch.randint(100, (samples, 16), generator=torch.Generator().manual_seed(0))
    assert iso.check(GPT().to(dtype), ids, loss="cross_entropy").ok


def test_checking_twice_gives_the_same_report_to_the_byte(tmp_path) -> None:  # type: ignore[no-untyped-def]
    torch.manual_seed(0)
    model, x = mlp([32, *[64] * 20, 10]), noise(64, 32)
    texts = []
    for i in range(2):
        report = iso.check(model, x, loss="cross_entropy", build=lambda: mlp([32, 64, 10]), seeds=2)
        report.save(tmp_path / f"{i}.json")
        texts.append((tmp_path / f"{i}.json").read_bytes())
    assert texts[0] == texts[1]
    assert len(texts[0]) > 1000
