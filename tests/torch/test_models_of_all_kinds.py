"""Models written in ways that no zoo has: what their plans must say, and what their signals do."""

from __future__ import annotations

import math
from functools import partial

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils import parametrizations

import isometry as iso


def second_moment(values: Tensor) -> float:
    return float(values.detach().double().square().mean())


class MergedLora(nn.Module):
    """x (W + 2 B A)', W frozen."""

    def __init__(self, wide: int, rank: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(wide, wide), requires_grad=False)
        self.a = nn.Parameter(torch.randn(rank, wide))
        self.b = nn.Parameter(torch.zeros(wide, rank))

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(x, self.weight + 2 * (self.b @ self.a))


class RootMeanSquare(nn.Module):
    """x / rms(x) (1 + g), as Gemma writes it."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.gain = nn.Parameter(torch.zeros(width))

    def forward(self, x: Tensor) -> Tensor:
        return x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + 1e-6) * (1 + self.gain)


class TiedLanguageModel(nn.Module):
    """A stream between gains of 1 + 0, read by the table it started from, its logits capped."""

    def __init__(self, words: int = 200, width: int = 64) -> None:
        super().__init__()
        self.table = nn.Embedding(words, width)
        self.norm, self.last = RootMeanSquare(width), RootMeanSquare(width)
        self.up, self.down = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def forward(self, ids: Tensor) -> Tensor:
        x = self.table(ids)
        x = x + self.down(F.gelu(self.up(self.norm(x))))
        return 30 * torch.tanh(self.last(x) @ self.table.weight.t() / 30)


class Latents(nn.Module):
    """Learned vectors, normalised, read an input by attention."""

    def __init__(self, norm: nn.Module, width: int = 32) -> None:
        super().__init__()
        self.latents = nn.Parameter(torch.randn(1, 8, width))
        self.norm = norm
        self.q, self.k = nn.Linear(width, width), nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        q = self.q(self.norm(self.latents)).expand(len(x), -1, -1)
        return F.scaled_dot_product_attention(q, self.k(x), x)


class HandWrittenNorm(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.full((width,), 2.0))

    def forward(self, x: Tensor) -> Tensor:
        return self.weight * (x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + 1e-6))


class TokenShift(nn.Module):
    """RWKV's: m x + (1 - m) of the token before, and a decay -exp(d)."""

    def __init__(self, width: int = 16) -> None:
        super().__init__()
        self.norm, self.key = nn.LayerNorm(width), nn.Linear(width, width)
        self.mix = nn.Parameter(torch.linspace(0, 1, width))
        self.decay = nn.Parameter(torch.linspace(-5, 3, width))

    def forward(self, x: Tensor) -> Tensor:
        x = self.norm(x)
        before = F.pad(x, (0, 0, 1, -1))
        mixed = self.key(x * self.mix + before * (1 - self.mix))
        return torch.exp(torch.tanh(mixed) - torch.exp(self.decay))


class Equalised(nn.Linear):
    """A learning rate equalised at run time: x (c W)'."""

    def __init__(self, wide: int, high: int) -> None:
        super().__init__(wide, high)
        self.scale = wide**-0.5

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(x, self.weight * self.scale, self.bias)


def test_what_only_adds_to_a_weight_is_kept_as_it_is() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(MergedLora(16, 4), nn.ReLU(), MergedLora(16, 4))
    before = {n: p.clone() for n, p in model.named_parameters()}
    plan = iso.initialize(model, torch.randn(8, 16))
    assert [d.role for d in plan if d.name.endswith((".a", ".b"))] == ["special"] * 4
    assert all(torch.equal(p, before[n]) for n, p in model.named_parameters())


def test_a_matrix_function_of_a_parameter_is_not_its_direction() -> None:
    model = nn.Sequential(
        parametrizations.orthogonal(nn.Linear(16, 16)),
        parametrizations.orthogonal(nn.Linear(16, 8)),
    )
    plan = iso.plan(model, torch.randn(8, 16))
    roles = {d.role for d in plan if d.name.endswith("original")}
    assert roles == {"special"}


@pytest.mark.parametrize("norm", [parametrizations.spectral_norm, nn.utils.spectral_norm])
def test_a_spectral_norm_is_a_number_worked_out_of_its_weight(norm: object) -> None:
    torch.manual_seed(0)
    model = nn.Sequential(norm(nn.Linear(16, 32)), nn.ReLU(), norm(nn.Linear(32, 8)))  # type: ignore[operator]
    before = {n: b.clone() for n, b in model.named_buffers()}
    plan = iso.plan(model, torch.randn(8, 16))
    # Reading a parametrised weight in training moves the vectors of its power iteration.
    assert all(torch.equal(b, before[n]) for n, b in model.named_buffers())
    weights = [d for d in plan if d.kind == "parameter" and len(d.shape) == 2]
    assert [d.role for d in weights] == ["direction", "direction"]
    assert weights[1].reason == "reads relu, second moment 0.5"


def test_a_gain_of_one_plus_zero_lets_the_signal_through() -> None:
    torch.manual_seed(0)
    ids = torch.randint(0, 200, (16, 32))
    model = TiedLanguageModel()
    plan = iso.initialize(model, ids, loss="cross_entropy")
    assert plan["up.weight"].gain == 1.0
    # variance .1, and one word in 200 is the one that half of the stream came from: its logit
    # is the length of its row, 64 times as large squared
    q = second_moment(model(ids))
    assert q == pytest.approx(0.1 * (1 + 64 / 2 / 200), rel=4 * math.sqrt(2 / (200 * 64)))


@pytest.mark.parametrize("norm", [nn.LayerNorm, HandWrittenNorm])
def test_the_gain_of_normalised_latents_is_a_gain(norm: type[nn.Module]) -> None:
    plan = iso.plan(Latents(norm(32)), torch.randn(4, 10, 32))  # type: ignore[call-arg]
    assert plan["latents"].role == "query"
    assert (plan["norm.weight"].role, plan["norm.weight"].law) == ("norm_gain", iso.Constant(1.0))
    if "norm.bias" in [d.name for d in plan]:
        assert plan["norm.bias"].law == iso.Constant(0.0)


def test_a_mix_of_tokens_and_a_decay_are_kept() -> None:
    plan = iso.plan(TokenShift(), torch.randn(4, 10, 16))
    assert plan["mix"].role == "scale"
    assert plan["mix"].keeps
    assert plan["decay"].keeps
    assert "exp" in plan["decay"].reason
    assert plan["norm.weight"].law == iso.Constant(1.0)


def test_a_bias_of_one_number_is_drawn_or_set() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 1))
    assert iso.plan(model, torch.randn(4, 64))["2.bias"].law == iso.Constant(0.0)
    nn.init.constant_(model[2].bias, -4.6)  # a prior of 1 %, as detectors start with
    assert iso.plan(model, torch.randn(4, 64))["2.bias"].keeps


@pytest.mark.parametrize("mode", ["sum", "mean"])
def test_a_bag_of_rows_is_their_sum_or_mean(mode: str) -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.EmbeddingBag(4000, 64, mode=mode), nn.Linear(64, 64))
    ids = torch.randint(0, 4000, (256, 5))
    plan = iso.initialize(model, ids)
    assert plan["1.weight"].gain == pytest.approx(5**-0.5 if mode == "sum" else 5**0.5, rel=1e-5)
    # 64 independent sums of 64 squares: their mean is within 4 standard errors of 1
    assert second_moment(model(ids)) == pytest.approx(1.0, abs=4 * math.sqrt(2 / 64 + 2 / 64))


def test_a_weight_multiplied_where_it_is_used_has_its_law_divided() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(Equalised(64, 256), nn.ReLU(), Equalised(256, 256))
    x = torch.randn(512, 64)
    plan = iso.initialize(model, x)
    assert plan["0.weight"].law.variance == pytest.approx(1.0, rel=1e-4)
    assert plan["2.weight"].law.variance == pytest.approx(2.0, rel=1e-4)
    assert second_moment(model(x)) == pytest.approx(1.0, abs=4 * math.sqrt(2 * 3 / 256))


def test_the_bias_of_a_product_is_a_bias_also_before_a_softmax() -> None:
    model = nn.Sequential(nn.Linear(8, 32), nn.ReLU(), nn.Linear(32, 4), nn.LogSoftmax(-1))
    plan = iso.plan(model, torch.randn(4, 8), loss=nn.NLLLoss())
    assert plan["2.bias"].law == iso.Constant(0.0)
    assert "makes the logits" in plan["2.weight"].reason


def test_a_loss_with_its_arguments_bound_is_that_loss() -> None:
    model = nn.Sequential(nn.Linear(8, 32), nn.ReLU(), nn.Linear(32, 4))
    smoothed = partial(F.cross_entropy, label_smoothing=0.1)
    assert (
        "makes the logits" in iso.plan(model, torch.randn(4, 8), loss=smoothed)["2.weight"].reason
    )
