"""The six classic laws, measured in the weights of real layers, and in the signal they carry."""

from __future__ import annotations

import math
from dataclasses import dataclass

import pytest
import torch
from scipy import stats
from torch import nn

import isometry.arrays as arrays
import isometry.torch.schemes as in_place
from isometry.torch.layers import fans
from isometry.types import Axes, Fans


@dataclass
class Layer:
    """A real layer's weight, the fans it has (counted by hand), and how the scheme is told."""

    weight: nn.Parameter
    fans: Fans
    told: dict[str, object]


def _layer(module: nn.Module, fan_in: float, fan_out: float) -> Layer:
    return Layer(module.weight, Fans(fan_in, fan_out), {"fans": fans(module)})


def _plain(module: nn.Module, fan_in: float, fan_out: float) -> Layer:
    return Layer(module.weight, Fans(fan_in, fan_out), {})


LAYERS = {
    "Linear": lambda: _plain(nn.Linear(300, 120), 300, 120),
    "Conv2d": lambda: _plain(nn.Conv2d(32, 96, 3), 288, 864),
    "Conv2d stride 2": lambda: _layer(nn.Conv2d(32, 96, 3, stride=2), 288, 216),
    "Conv2d grouped": lambda: _layer(nn.Conv2d(64, 128, 3, groups=4), 144, 288),
    "Conv2d depthwise": lambda: _layer(nn.Conv2d(4096, 4096, 3, groups=4096), 9, 9),
    "ConvTranspose2d stride 2": lambda: _layer(nn.ConvTranspose2d(64, 32, 4, stride=2), 256, 512),
    "Embedding": lambda: _layer(nn.Embedding(500, 64), 1, 64),
    "Bilinear": lambda: _layer(nn.Bilinear(30, 40, 25), 1200, 25),
    "experts": lambda: Layer(
        nn.Parameter(torch.empty(8, 64, 96)),
        Fans(96, 64),
        {"axes": Axes(in_axis=(2,), out_axis=(1,), batch_axis=(0,))},
    ),
}
RULES = {
    "lecun": lambda f: 1 / f.fan_in,
    "glorot": lambda f: 2 / (f.fan_in + f.fan_out),
    "he": lambda f: 2 / f.fan_in,
}
FORMS = {  # the law of w / std, its fourth moment, and how the scheme is called
    "normal": (stats.norm(), 3.0, "normal", {}),
    "uniform": (stats.uniform(-math.sqrt(3), 2 * math.sqrt(3)), 9 / 5, "uniform", {}),
    "truncated": (
        stats.truncnorm(-2, 2, scale=1 / 0.87962566103423978), None, "normal", {"truncated": True},
    ),
}  # fmt: skip
CASES = len(LAYERS) * len(RULES) * len(FORMS)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("layer", LAYERS)
def test_a_classic_law_in_a_real_layer(layer: str, rule: str, form: str) -> None:
    """Variance and mean within four standard errors; the whole distribution by Kolmogorov-Smirnov,
    at a level that lets one run in a hundred of the whole table fail by chance."""
    built = LAYERS[layer]()
    law, kurtosis, suffix, more = FORMS[form]
    scheme = getattr(in_place, f"{rule}_{suffix}_")
    scheme(built.weight, seed=0, name=f"{layer}.weight", **more, **built.told)
    w = built.weight.detach().double().flatten().numpy()
    variance = RULES[rule](built.fans)
    fourth = kurtosis or float(law.moment(4))
    # Var of a mean of squares: (E[w⁴] - E[w²]²) / n
    error = variance * math.sqrt((fourth - 1) / w.size)
    assert float((w**2).mean()) == pytest.approx(variance, abs=4 * error)
    assert float(w.mean()) == pytest.approx(0.0, abs=4 * math.sqrt(variance / w.size))
    assert stats.kstest(w / math.sqrt(variance), law.cdf).pvalue > 0.01 / CASES


def test_the_check_above_can_fail() -> None:
    """He's rule taken for LeCun's, and PyTorch's own fans of a depthwise layer, are both seen."""
    w = in_place.he_normal_(torch.empty(120, 300), seed=0, name="w").double()
    error = 1 / 300 * math.sqrt(2 / w.numel())
    assert abs(float((w**2).mean()) - 1 / 300) > 4 * error
    depthwise = nn.Conv2d(4096, 4096, 3, groups=4096)
    in_place.glorot_normal_(depthwise.weight, seed=0, name="w")  # not told of the groups
    assert float(depthwise.weight.detach().var()) < 2 / 18 / 4


SIGNALS = {
    "Linear": (lambda: nn.Linear(64, 32, bias=False), (8, 64)),
    "Conv2d": (lambda: nn.Conv2d(8, 16, 3, bias=False), (2, 8, 12, 12)),
    "Conv2d stride 2": (lambda: nn.Conv2d(8, 16, 4, stride=2, bias=False), (2, 8, 40, 40)),
    "Conv2d grouped": (lambda: nn.Conv2d(16, 32, 3, groups=4, bias=False), (2, 16, 12, 12)),
    "Conv2d depthwise": (lambda: nn.Conv2d(16, 16, 3, groups=16, bias=False), (2, 16, 12, 12)),
    "ConvTranspose2d stride 2": (
        lambda: nn.ConvTranspose2d(16, 8, 4, stride=2, bias=False), (2, 16, 20, 20),
    ),
    "Bilinear": (lambda: nn.Bilinear(12, 10, 16, bias=False), (8, 12)),
}  # fmt: skip


@pytest.mark.parametrize("kind", SIGNALS)
def test_the_fans_carry_the_signal_and_the_gradient(kind: str) -> None:
    """LeCun's rule on fan_in keeps the output's mean square at 1, on fan_out the gradient's:
    over 60 names, within five standard errors of their mean."""
    make, shape = SIGNALS[kind]
    layer = make()
    torch.manual_seed(0)
    forward, backward = [], []
    for i in range(60):
        # each input twice where there are two, so that each has second moment 1
        x = torch.randn(shape, requires_grad=True)
        more = (torch.randn(shape[0], 10),) if kind == "Bilinear" else ()
        told = {"seed": 0, "name": f"{kind}.{i}", "fans": fans(layer)}
        in_place.variance_scaling_(layer.weight, mode="fan_in", **told)
        forward.append(float(_inside(layer(x, *more)).detach().square().mean()))
        if kind != "Bilinear":  # its gradient depends on the other input's size
            in_place.variance_scaling_(layer.weight, mode="fan_out", **told)
            y = layer(x)
            (grad,) = torch.autograd.grad(y, x, torch.randn_like(y))
            backward.append(float(_inside(grad).square().mean()))
    for found in filter(None, (forward, backward)):
        values = torch.tensor(found)
        error = float(values.std()) / math.sqrt(len(found))
        assert float(values.mean()) == pytest.approx(1.0, abs=5 * error)


def _inside(y: torch.Tensor) -> torch.Tensor:
    """Away from the border, where terms are missing, and whole periods of a stride."""
    return y[..., 4:-4, 4:-4] if y.dim() == 4 else y


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("form", ["normal", "uniform"])
def test_the_array_is_the_layer_transposed(rule: str, form: str) -> None:
    on_array, on_tensor = getattr(arrays, f"{rule}_{form}"), getattr(in_place, f"{rule}_{form}_")
    stream = {"seed": 5, "name": "w"}
    linear = on_tensor(torch.empty(20, 30), **stream)
    assert torch.equal(torch.from_numpy(on_array((30, 20), **stream)).T, linear)
    conv = on_tensor(nn.Conv2d(8, 12, 3).weight, **stream).detach()
    hwio = torch.from_numpy(on_array((3, 3, 8, 12), **stream))
    assert torch.equal(hwio.permute(3, 2, 0, 1), conv)
    grouped = nn.Conv2d(8, 12, 3, groups=4, stride=2)
    on_tensor(grouped.weight, fans=fans(grouped), **stream)
    hwio = torch.from_numpy(on_array((3, 3, 2, 12), groups=4, stride=2, **stream))
    assert torch.equal(hwio.permute(3, 2, 0, 1), grouped.weight.detach())
    experts = on_tensor(torch.empty(4, 20, 30), axes=Axes((2,), (1,), (0,)), **stream)
    jax = torch.from_numpy(on_array((4, 30, 20), batch_axis=0, **stream))
    assert torch.equal(jax.transpose(1, 2), experts)


def test_the_truncated_normal_users_ask_for() -> None:
    """std .02 cut at 2 sigma: none of 4 M values beyond .045474, and a std of .02."""
    w = in_place.truncated_normal_(torch.empty(4_000_000), 0.02, seed=0, name="w")
    assert float(w.abs().max()) <= 0.045474
    fourth = float(FORMS["truncated"][0].moment(4))
    assert float(w.double().std()) == pytest.approx(0.02, rel=4 * math.sqrt((fourth - 1) / 4 / 4e6))
