"""A check leaves the model, the random states and the inputs as they were, to the bit."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import isometry as iso
from isometry.torch.measure import measure

from .networks import CNN, GPT, LSTM, LoRA, ResNet, conv_chain, mlp


def noise(*shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(0))


def bits(tensor: Tensor) -> bytes:
    return tensor.detach().reshape(-1).view(torch.uint8).numpy().tobytes()


def state(model: nn.Module) -> dict[str, object]:
    """Everything about a model that could differ: values, identities, gradients, hooks, flags."""
    found: dict[str, object] = {}
    for kind, tensors in (
        ("parameter", model.named_parameters()),
        ("buffer", model.named_buffers()),
    ):
        for name, t in tensors:
            grad = None if t.grad is None else (id(t.grad), bits(t.grad))
            found[f"{kind} {name}"] = (
                id(t),
                t.data_ptr(),
                t.requires_grad,
                bits(t) if t.numel() else b"",
                grad,
            )
    for name, m in model.named_modules():
        found[f"module {name}"] = (
            m.training,
            list(m.__dict__),
            {k: len(v) for k, v in m.__dict__.items() if k.endswith("_hooks")},
        )
    return found


def randomness() -> tuple[object, ...]:
    name, keys, *rest = np.random.get_state()
    return (bits(torch.get_rng_state()), random.getstate(), name, keys.tobytes(), *rest)  # type: ignore[attr-defined]


class Noisy(nn.Module):
    """Draws from every source, keeps a cache and a count, and writes into its input."""

    def __init__(self) -> None:
        super().__init__()
        self.fc, self.drop, self.norm = nn.Linear(8, 8), nn.Dropout(0.5), nn.BatchNorm1d(8)
        self.register_buffer("seen", torch.zeros(()))
        self.count = 0

    def forward(self, x: Tensor) -> Tensor:
        x.mul_(2.0)
        self.count += 1
        self.cache = x
        self.seen += 1
        jitter = torch.rand(8) + random.random() + float(np.random.rand())
        return self.drop(self.norm(self.fc(x))) * jitter


CASES: dict[str, tuple[Callable[[], nn.Module], Callable[[], Any]]] = {
    "MLP": (lambda: mlp([8, 64, 10]), lambda: noise(32, 8)),
    "batch norm, in place": (lambda: CNN(inplace=True), lambda: noise(16, 3, 8, 8)),
    "probed": (lambda: ResNet(zero=True), lambda: noise(16, 3, 8, 8)),
    "probed, two zeros": (lambda: LoRA(zero_a=True), lambda: noise(32, 32)),
    "tied": (GPT, lambda: torch.arange(64).view(4, 16)),
    "LSTM": (LSTM, lambda: torch.arange(48).view(4, 12)),
    "random and stateful": (Noisy, lambda: noise(32, 8)),
    "spectral norm": (
        lambda: nn.utils.parametrizations.spectral_norm(nn.Linear(8, 8)), lambda: noise(32, 8)
    ),
}  # fmt: skip


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("case", CASES)
def test_everything_is_as_before(case: str, training: bool) -> None:
    build, draw = CASES[case]
    model, x = build(), draw()
    model.train(training)
    for p in list(model.parameters())[:1]:
        p.grad = torch.ones_like(p)
    given, before, rng = bits(x), state(model), randomness()
    iso.check(model, x, build=build)
    assert randomness() == rng
    assert state(model) == before
    assert bits(x) == given
    assert not nn.modules.module._global_forward_hooks
    assert not nn.modules.module._global_forward_pre_hooks


class Fails(nn.Module):
    def __init__(self, where: str) -> None:
        super().__init__()
        self.norm, self.fc, self.where = nn.BatchNorm1d(8), nn.Linear(8, 8), where

    def forward(self, x: Tensor) -> Tensor:
        x = self.norm(x)
        torch.rand(3)
        if self.where == "forward":
            raise LookupError("no such expert")
        return Broken.apply(self.fc(x)) if self.where == "backward" else self.fc(x)


class Broken(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return x.clone()

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        raise LookupError("no derivative here")


def test_a_forward_that_raises_is_a_trace_error_with_its_message_and_leaves_no_trace() -> None:
    model, x = Fails("forward"), noise(32, 8)
    before, rng = state(model), randomness()
    with pytest.raises(iso.TraceError, match=r"Fails .*\(32, 8\) torch\.float32.*no such expert"):
        iso.check(model, x)
    assert state(model) == before
    assert randomness() == rng
    assert not nn.modules.module._global_forward_hooks


def test_a_backward_that_raises_leaves_the_gradients_unchecked() -> None:
    model, x = Fails("backward"), noise(32, 8)
    before = state(model)
    report = iso.check(model, x)
    assert any(n.what == "gradients" and "no derivative here" in n.why for n in report.not_checked)
    assert state(model) == before


def test_a_loss_that_raises_is_an_argument_error_and_leaves_no_trace() -> None:
    model, x = mlp([8, 16, 4]), noise(32, 8)
    before, rng = state(model), randomness()

    def loss(output: Tensor, target: Any) -> Tensor:
        raise KeyError("weights")

    with pytest.raises(iso.ArgumentError, match=r"\(32, 4\).*weights.*target="):
        iso.check(model, x, loss=loss)
    assert state(model) == before
    assert randomness() == rng


@pytest.mark.parametrize(
    ("model", "inputs"),
    [
        (mlp([64, *[64] * 12, 10]), noise(64, 64)),
        (conv_chain(16, 6, norm=True), noise(32, 3, 8, 8)),
        (ResNet(zero=True), noise(16, 3, 8, 8)),
        (GPT(), torch.arange(64).view(4, 16)),
        (Noisy(), noise(32, 8)),
    ],
    ids=["MLP", "CNN", "ResNet", "GPT", "random"],
)
def test_checking_twice_gives_the_same_report(model: nn.Module, inputs: Tensor) -> None:
    torch.manual_seed(1)
    first = iso.check(model, inputs)
    torch.rand(7)
    random.random()
    assert iso.check(model, inputs) == first


def test_a_model_without_values_or_inputs_is_refused() -> None:
    with torch.device("meta"):
        on_meta = nn.Linear(4, 4)
    with pytest.raises(iso.ModelError, match="on meta"):
        measure(on_meta, noise(2, 4))
    with pytest.raises(iso.TraceError, match="pass inputs"):
        measure(nn.LayerNorm(4))
    with pytest.raises(iso.ModelError, match="no parameters"):
        measure(nn.ReLU(), noise(2, 4))
    with pytest.raises(iso.ArgumentError, match="build="):
        measure(lambda: nn.Linear(4, 4), noise(2, 4))  # type: ignore[arg-type]
    with pytest.raises(iso.TraceError, match="shapes cannot be multiplied"):
        measure(nn.Linear(4, 4), noise(2, 5))


class Writing(nn.Module):
    """Keeps a moving average in a frozen parameter, clips its weights, collects a loss, freezes."""

    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(16, 4)
        self.average = nn.Parameter(torch.randn(4), requires_grad=False)
        self.register_buffer("cache", torch.zeros(3))
        self.register_buffer("empty", torch.full((2,), float("nan")))
        self.losses: list[int] = []
        self.seen: set[int] = set()

    def forward(self, x: Tensor) -> Tensor:
        h = self.fc(x)
        with torch.no_grad():
            self.average.mul_(0.9).add_(h.mean(0) * 0.1)
        self.fc.weight.data.clamp_(-0.1, 0.1)
        self.fc.bias.requires_grad_(False)
        self.cache.resize_(7).fill_(3)
        self.losses.append(1)
        self.seen.add(len(self.losses))
        torch.set_default_dtype(torch.float64)
        return h + self.average


@pytest.mark.parametrize("breaks", [False, True])
def test_what_a_forward_writes_is_undone(breaks: bool) -> None:
    torch.manual_seed(0)
    model = Writing()
    before = {n: t.clone() for n, t in model.state_dict().items()}
    held, seen, cache = model.losses, model.seen, model.cache
    if breaks:
        model.fc.register_forward_hook(lambda *_: model.absent)
        with pytest.raises(iso.TraceError):
            iso.check(model, torch.randn(32, 16))
    else:
        iso.check(model, torch.randn(32, 16))
    for name, tensor in model.state_dict().items():
        assert tensor.shape == before[name].shape
        assert torch.equal(tensor.nan_to_num(7.0), before[name].nan_to_num(7.0)), name
    assert (held, seen) == ([], set())
    assert model.losses is held
    assert model.seen is seen
    assert model.cache is cache
    assert model.fc.bias.requires_grad
    assert torch.get_default_dtype() is torch.float32


def test_infinities_of_the_inputs_are_said_and_not_blamed_on_a_layer() -> None:
    model, x = nn.Sequential(nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 4)), torch.randn(32, 8)
    x[3, 2] = float("nan")
    report = iso.check(model, x)
    assert report.findings == ()
    assert [n.why for n in report.not_checked if n.what == "signal"] == [
        "the inputs hold infinities or NaN; pass finite ones"
    ]


def test_a_mask_of_infinities_is_an_input_like_any_other() -> None:
    class Masked(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.attention, self.head = (
                nn.MultiheadAttention(16, 2, batch_first=True),
                nn.Linear(16, 4),
            )

        def forward(self, x: Tensor, mask: Tensor) -> Tensor:
            return self.head(x + self.attention(x, x, x, attn_mask=mask)[0])

    torch.manual_seed(0)
    mask = torch.full((8, 8), float("-inf")).triu(1)
    report = iso.check(Masked(), (torch.randn(32, 8, 16), mask))
    assert report.findings == ()
    assert not any(n.what == "signal" for n in report.not_checked)


def test_a_model_s_own_generators_are_where_they_were() -> None:
    class Noisy(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.fc = nn.Linear(8, 8)
            self.torch, self.numpy = torch.Generator(), np.random.default_rng(0)
            self.python = random.Random(0)

        def forward(self, x: Tensor) -> Tensor:
            shift = self.numpy.normal() + self.python.random()
            return self.fc(x) + torch.randn(8, generator=self.torch) + shift

    model = Noisy()
    iso.check(model, torch.randn(32, 8))
    assert torch.equal(model.torch.get_state(), torch.Generator().get_state())
    assert model.numpy.normal() == np.random.default_rng(0).normal()
    assert model.python.random() == random.Random(0).random()
