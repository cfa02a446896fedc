"""`chrono`: forget biases ln U(1, T - 1), input biases their negative, to the bit."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy import stats
from torch import Tensor, nn

import isometry as iso
from isometry.errors import ArgumentError, PlanError
from isometry.recipe import Chrono
from isometry.stream import sample, words
from isometry.stream.logarithm import ln
from isometry.types import Block, Constant, LogUniform

HIDDEN, T = 2000, 100


def test_the_logarithm_is_the_logarithm() -> None:
    rng = np.random.default_rng(0)
    x = np.concatenate(
        [rng.uniform(1, 1e4, 10**5), 1 + np.geomspace(1e-15, 1, 999), [1.0, 2.0, 0.5]]
    )
    # An ulp of the largest term, e ln 2, and no more.
    np.testing.assert_allclose(ln(x), np.log(x), rtol=4e-16, atol=2e-16)
    assert (ln(x).astype(np.float32) == np.log(x).astype(np.float32)).all()


def test_the_law() -> None:
    law = LogUniform(1.0, 99.0)
    drawn = sample(law, (10**5,), seed=3, name="bias").astype(np.float64)
    uniform = stats.uniform(1, 98)
    assert stats.kstest(np.exp(drawn), uniform.cdf).pvalue > 1e-3
    error = law.variance**0.5 / 10**2.5
    assert drawn.mean() == pytest.approx(law.mean, abs=4 * error)
    assert drawn.var() == pytest.approx(law.variance, rel=0.05)
    word = words(3, "bias", 7, 8)[0]
    exact = math.log(1 + 98 * (int(word) | 1) / 2**32)
    assert drawn[7] == np.float32(exact)


def test_parts_and_offsets() -> None:
    law = LogUniform(1.0, 99.0)
    whole = sample(law, (1000,), seed=0, name="b")
    np.testing.assert_array_equal(sample(law, (1000,), seed=0, name="b", index=slice(17, 600, 7)), whole[17:600:7])  # fmt: skip
    negative = LogUniform(1.0, 99.0, sign=-1, offset=500)
    both = sample(Constant(0.0), (1000,), seed=0, name="b",
                  blocks=(Block("i", 0, 0, 500, negative), Block("f", 0, 500, 1000, law)))  # fmt: skip
    np.testing.assert_array_equal(both[:500], -both[500:])
    np.testing.assert_array_equal(both[500:], whole[500:])
    half = sample(law, (1000,), seed=0, name="b", dtype="float16")
    np.testing.assert_array_equal(half, whole.astype(np.float16))


def gates(layer: nn.Module, count: int) -> list[np.ndarray]:
    total = (layer.bias_ih_l0 + layer.bias_hh_l0).detach().double().numpy()
    return list(total.reshape(count, -1))


def test_lstm() -> None:
    model = nn.LSTM(3, HIDDEN)
    iso.initialize(model, torch.randn(T, 1, 3), recipe="chrono", include="bias*")
    i, f, g, o = gates(model, 4)
    assert stats.kstest(np.exp(f), stats.uniform(1, T - 2).cdf).pvalue > 1e-3
    np.testing.assert_array_equal(i, -f)
    assert not g.any()
    assert not o.any()


def test_gru_keeps_with_z() -> None:
    model = nn.GRU(3, HIDDEN)
    iso.initialize(model, torch.randn(5, 1, 3), recipe=Chrono(T=T), include="bias*")
    r, z, n = gates(model, 3)
    assert stats.kstest(np.exp(z), stats.uniform(1, T - 2).cdf).pvalue > 1e-3
    assert not r.any()
    assert not n.any()


def test_memories_last_as_long_as_their_gate_says() -> None:
    """The state of an LSTM that reads zeros falls by sigmoid(b_f) = U/(1 + U) a step."""
    model = nn.LSTM(3, 64)
    iso.initialize(model, torch.randn(T, 1, 3), recipe="chrono", include="bias*")
    with torch.no_grad():
        model.weight_hh_l0.zero_()
        state = torch.ones(1, 1, 64)
        _, (_, after) = model(torch.zeros(10, 1, 3), (torch.zeros_like(state), state))
    forget = torch.sigmoid(model.bias_ih_l0.detach()[64:128])
    torch.testing.assert_close(after.flatten(), forget**10)
    held = 1 / (1 - forget)  # 1 + U steps
    assert float(held.min()) > 2
    assert float(held.max()) <= T


class Cell(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.cell = nn.LSTMCell(3, 5)

    def forward(self, x: Tensor) -> Tensor:
        state = None
        for step in x:
            state = self.cell(step, state)
        return state[0]


def test_a_cell_in_a_loop() -> None:
    plan = iso.plan(Cell(), torch.randn(9, 2, 3), recipe="chrono")
    laws = {b.name: b.law for b in plan["cell.bias_ih"].blocks}
    assert laws["f"] == LogUniform(1.0, 8.0)
    assert laws["i"] == LogUniform(1.0, 8.0, sign=-1, offset=5)
    assert plan["cell.bias_hh"].law == Constant(0.0)
    assert iso.Plan.from_json(plan.to_json()) == plan


def test_refusals() -> None:
    with pytest.raises(PlanError, match=r"gates; RNN has no LSTM or GRU with biases\. Use"):
        iso.plan(nn.RNN(3, 5), torch.randn(9, 2, 3), recipe="chrono")
    with pytest.raises(PlanError, match=r"bias_ih_l0 was traced with a sequence of 2\. Use recipe=Chrono\(T"):  # fmt: skip
        iso.plan(nn.LSTM(3, 5), torch.randn(2, 2, 3), recipe="chrono")
    with pytest.raises(ArgumentError, match=r"Chrono\(T=2\): expected the longest dependency"):
        Chrono(T=2)
    with pytest.raises(ArgumentError, match="expected low < high"):
        LogUniform(2.0, 2.0)
    with pytest.raises(ArgumentError, match="expected sign 1 or -1"):
        LogUniform(1.0, 2.0, sign=2)
    with pytest.raises(ArgumentError, match="a law of biases, one axis"):
        sample(LogUniform(1.0, 2.0), (2, 2), seed=0, name="w")
