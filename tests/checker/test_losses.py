"""What is differentiated: named losses, callables, and random gradients where there is neither."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import isometry as iso
from isometry.torch.measure import measure

from .networks import mlp


def noise(*shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize(
    "shape", [(32, 7), (8, 5, 7), (4, 7, 6, 6)], ids=["vector", "tokens", "pixels"]
)
@pytest.mark.parametrize("loss", ["cross_entropy", F.cross_entropy, nn.CrossEntropyLoss()])
def test_the_classes_lie_where_the_loss_expects_them(shape: tuple[int, ...], loss: Any) -> None:
    model = nn.Conv2d(7, 7, 1) if len(shape) == 4 else nn.Linear(7, 7)
    for p in model.parameters():
        nn.init.zeros_(p)
    found, _ = measure(model, noise(*shape), loss=loss)
    assert found.classes == 7
    assert found.loss == pytest.approx(math.log(7), rel=1e-6)


def test_a_target_tells_tokens_from_torch_axes() -> None:
    model, x = nn.Linear(6, 6), noise(4, 6, 6)
    tokens = torch.arange(24).view(4, 6) % 6
    expected = F.cross_entropy(model(x), tokens)  # (batch, classes, ...) wherever that fits
    found, _ = measure(model, x, loss="cross_entropy", target=tokens)
    assert found.loss == pytest.approx(float(expected.detach()), rel=1e-6)
    wide = nn.Linear(6, 9)
    expected = F.cross_entropy(wide(x).flatten(0, 1), tokens.flatten())
    found, _ = measure(wide, x, loss="cross_entropy", target=tokens)
    assert (found.loss, found.classes) == (pytest.approx(float(expected.detach()), rel=1e-6), 9)


def test_class_probabilities_are_a_target() -> None:
    model, x = nn.Linear(6, 4), noise(32, 6)
    target = noise(32, 4).softmax(-1)
    found, _ = measure(model, x, loss="cross_entropy", target=target)
    assert found.loss == pytest.approx(float(F.cross_entropy(model(x), target).detach()), rel=1e-6)


@pytest.mark.parametrize(
    ("name", "function"),
    [("mse", F.mse_loss), ("bce_with_logits", F.binary_cross_entropy_with_logits)],
)
def test_named_losses_are_torch_s(name: str, function: Any) -> None:
    model, x = mlp([8, 16, 3]), noise(32, 8)
    target = noise(32, 3).sigmoid()
    found, _ = measure(model, x, loss=name, target=target)
    assert found.loss == pytest.approx(float(function(model(x), target).detach()), rel=1e-6)
    assert found.classes is None
    drawn, _ = measure(model, x, loss=name)
    assert drawn.loss is not None
    assert drawn.parameters[0].grad


def test_a_callable_gets_the_model_s_own_output_and_target() -> None:
    class Two(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.fc = nn.Linear(4, 2)

        def forward(self, x: Tensor) -> dict[str, Tensor]:
            return {"here": self.fc(x), "there": x.sum(1)}

    got: list[Any] = []

    def loss(output: Any, target: Any) -> Tensor:
        got.append((sorted(output), target))
        return (output["here"] ** 2).sum()

    found, _ = measure(Two(), noise(32, 4), loss=loss, target="mine")
    assert got == [(["here", "there"], "mine")]
    assert found.parameters[0].grad


def test_without_a_loss_every_output_gets_a_gradient_of_length_one() -> None:
    class Two(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b = nn.Linear(4, 3, bias=False), nn.Linear(4, 500, bias=False)

        def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
            return self.a(x), self.b(x)

    found, _ = measure(Two(), noise(64, 4))
    for m in found.layers:
        assert m.grad is not None
        squared_length = m.grad * math.prod(m.shape)
        assert squared_length == pytest.approx(1.0, abs=5 * (2 / math.prod(m.shape)) ** 0.5)


def test_a_transformers_classifier_declares_its_loss() -> None:
    hf = pytest.importorskip("transformers")
    config = hf.GPT2Config(n_layer=1, n_embd=32, n_head=2, vocab_size=80)
    found, _ = measure(hf.GPT2LMHeadModel(config))
    assert found.classes == 80
    assert found.loss == pytest.approx(math.log(80), rel=0.02)
    backbone, _ = measure(hf.GPT2Model(config))
    assert backbone.loss is None
    assert any(n.what == "initial loss" for n in iso.check(hf.GPT2Model(config)).not_checked)


@pytest.mark.parametrize(
    ("loss", "says"),
    [("crossentropy", "cross_entropy"), (3, "callable"), (lambda o, t: 3.0, "one number")],
)
def test_a_loss_that_is_none_is_refused_with_what_is_one(loss: Any, says: str) -> None:
    with pytest.raises(iso.ArgumentError, match=says):
        measure(nn.Linear(4, 2), noise(32, 4), loss=loss)
