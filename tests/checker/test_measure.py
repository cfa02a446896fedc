"""What is measured, against the same quantities worked out the plain way."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import isometry as iso
from isometry.torch.measure import measure
from isometry.types import Measurement, Measurements

from .networks import CNN, GPT, LSTM, Function, mlp

TOKENS = torch.randint(1, 50, (32, 12), generator=torch.Generator().manual_seed(1))


def noise(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def layer(found: Measurements, name: str, op: str | None = None) -> Measurement:
    (only,) = [m for m in found.layers if m.layer == name and op in (None, m.op)]
    return only


def plainly(
    model: nn.Module, x: Tensor, target: Tensor
) -> tuple[dict[str, tuple[Tensor, Tensor]], dict[str, Tensor]]:
    """(module -> its output and the output's gradient), (parameter -> its gradient)."""
    model = copy.deepcopy(model).eval()
    for m in model.modules():
        m.train(isinstance(m, nn.BatchNorm2d))
    kept: dict[str, Tensor] = {}

    def keep(name: str) -> Any:
        def hook(module: nn.Module, args: Any, output: Any) -> None:
            if isinstance(output, Tensor):
                output.retain_grad()
                kept[name] = output

        return hook

    for name, m in model.named_modules():
        m.register_forward_hook(keep(name))
    logits = model(x)
    F.cross_entropy(logits.flatten(0, -2), target.flatten()).backward()
    outputs = {n: (t.detach(), t.grad) for n, t in kept.items() if t.grad is not None}
    return outputs, {n: p.grad for n, p in model.named_parameters() if p.grad is not None}


CASES: dict[str, tuple[Any, Any, Tensor, Tensor]] = {
    # the model, the same without in-place operations, inputs, target
    "MLP": (mlp([8, 64, 64, 10]), None, noise(64, 8), torch.arange(64) % 10),
    "CNN": (CNN(inplace=False), None, noise(32, 3, 8, 8), torch.arange(32) % 10),
    "CNN in place": (CNN(inplace=True), CNN(inplace=False), noise(32, 3, 8, 8), torch.arange(32) % 10),
    "GPT": (GPT(), None, TOKENS, TOKENS.roll(-1, 1)),
    "LSTM": (LSTM(), None, TOKENS, torch.arange(32) % 5),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_signals_and_gradients_are_those_of_a_plain_run(case: str) -> None:
    model, reference, x, target = CASES[case]
    if reference is None:
        reference = model
    else:
        reference.load_state_dict(model.state_dict())
    outputs, gradients = plainly(reference, x, target)
    found, _ = measure(model, x, loss="cross_entropy", target=target)
    compared = 0
    for m in found.layers:
        ours = [o for o in found.layers if o.layer == m.layer]
        if (
            m.layer not in outputs
            or m is not ours[-1]
            or m.shape[-1:] != outputs[m.layer][0].shape[-1:]
        ):
            continue
        signal, gradient = outputs[m.layer]
        if case == "CNN in place" and m.layer == "act":
            continue  # one module, used twice: the hook keeps the last
        if gradient.numel() <= 8192:  # larger tensors are measured on a sample
            assert m.q == pytest.approx(float(signal.double().square().mean()), rel=1e-5)
        assert m.grad == pytest.approx(float(gradient.double().square().mean()), rel=1e-4)
        compared += 1
    assert compared >= 2
    parameters = {p.name: p for p in found.parameters}
    assert set(gradients) <= set(parameters)
    for name, gradient in gradients.items():
        expected = float(gradient.double().square().mean())
        assert parameters[name].grad == pytest.approx(expected, rel=1e-3, abs=1e-20), name


def test_a_signal_written_over_in_place_is_measured_before_it_is() -> None:
    net = nn.Sequential(nn.Linear(8, 32), nn.ReLU(inplace=True), nn.Linear(32, 4))
    plain = nn.Sequential(net[0], nn.ReLU(), net[2])
    one, two = (measure(m, noise(32, 8))[0] for m in (net, plain))
    assert [m.op for m in one.layers] == ["linear", "pointwise:relu", "linear"]
    for a, b in zip(one.layers, two.layers, strict=True):
        assert (a.q, a.std, a.c, a.zeros) == (b.q, b.std, b.c, b.zeros)
        assert a.grad == pytest.approx(b.grad, rel=1e-6)


def test_mean_std_cosine_zeros_are_their_definitions() -> None:
    net, x = mlp([8, 40, 3]), noise(48, 8)
    m = layer(measure(net, x)[0], "1")
    h = F.relu(net[0](x)).detach().double()
    unit = h / h.norm(dim=1, keepdim=True)
    pairs = (unit @ unit.T)[~torch.eye(48, dtype=torch.bool)]
    assert m.samples == 48
    assert m.mean == pytest.approx(float(h.mean()), rel=1e-6)
    assert m.std == pytest.approx(float(h.var(0).mean().sqrt()), rel=1e-6)
    assert m.c == pytest.approx(float(pairs.mean()), rel=1e-6)
    assert m.zeros == pytest.approx(float((h == 0).double().mean()))


def test_a_large_tensor_is_measured_on_a_sample_within_its_error() -> None:
    net, x = nn.Linear(512, 4096), noise(64, 512)
    m = layer(measure(net, x)[0], "")
    full = net(x).detach().double()
    # 8192 of the 262144 elements, of kurtosis about 3: 4 standard errors of a mean square.
    assert m.q == pytest.approx(float(full.square().mean()), rel=4 * (2 / 8192) ** 0.5)
    assert m.std == pytest.approx(float(full.var(0).mean().sqrt()), rel=4 * (2 / 8192) ** 0.5)


def test_channels_are_units_whatever_the_memory_format() -> None:
    conv = nn.Conv2d(3, 10, 3)
    nn.init.constant_(conv.bias, -100.0)
    with torch.no_grad():
        conv.bias[:4] = 0.0
    net, x = nn.Sequential(conv, nn.ReLU()), noise(32, 3, 9, 9)
    for model, batch in (
        (net, x),
        (net.to(memory_format=torch.channels_last), x.to(memory_format=torch.channels_last)),
    ):
        assert layer(measure(model, batch)[0], "1").dead == pytest.approx(0.6)


def test_no_unit_is_called_dead_on_fewer_than_32_samples() -> None:
    net = nn.Sequential(nn.Linear(4, 10), nn.ReLU())
    nn.init.constant_(net[0].bias, -100.0)
    assert layer(measure(net, noise(31, 4))[0], "1").dead is None
    assert layer(measure(net, noise(32, 4))[0], "1").dead == 1.0
    report = iso.check(net, noise(31, 4))
    assert any(n.what == "dead units" and "31" in n.why for n in report.not_checked)


def test_a_unit_that_lives_for_one_position_in_a_thousand_is_not_dead() -> None:
    net = nn.Sequential(nn.Conv2d(1, 4, 1), nn.ReLU())
    nn.init.ones_(net[0].weight)
    nn.init.zeros_(net[0].bias)
    x = -torch.ones(32, 1, 40, 40)
    x[17, 0, 39, 3] = 1.0
    assert layer(measure(net, x)[0], "1").dead == 0.0


@pytest.mark.parametrize(("fn", "edge"), [(torch.tanh, 2.0923), (torch.sigmoid, 5.0)])
def test_saturation_starts_where_the_slope_ends(fn: Any, edge: float) -> None:
    x = torch.tensor([[-edge - 0.01], [-edge + 0.01], [edge - 0.01], [edge + 0.01]])
    net = nn.Sequential(nn.Linear(1, 1, bias=False), Function(fn))
    nn.init.ones_(net[0].weight)
    assert layer(measure(net, x)[0], "1").saturated == pytest.approx(0.5)


def test_tokens_are_the_samples_of_a_batch_of_one() -> None:
    found, _ = measure(GPT(), TOKENS[:1])
    assert found.batch == 12
    ids = layer(measure(GPT(), TOKENS[:1])[0], "wte", "lookup")
    assert ids.samples == 12
    assert ids.c is not None


def test_a_statistic_that_has_no_samples_is_none() -> None:
    m = layer(measure(nn.Linear(4, 4), noise(1, 4))[0], "")
    assert (m.samples, m.std, m.c) == (1, None, None)


def test_what_overflows_is_counted_and_not_raised() -> None:
    net = nn.Sequential(
        nn.Linear(4, 64), Function(torch.exp), Function(torch.exp), nn.Linear(64, 4)
    )
    nn.init.constant_(net[0].bias, 6.0)
    found, _ = measure(net, noise(32, 4))
    assert layer(found, "2").nonfinite > 0.1
    assert found.layers[-1].nonfinite == 1.0
    assert iso.check(net, noise(32, 4)).findings[0].code == "ISO202"


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_inputs_that_are_not_finite_are_said_to_be(bad: float) -> None:
    x = noise(32, 8)
    x[3, 3] = bad
    report = iso.check(mlp([8, 16, 2]), x)
    assert any("the inputs hold" in n.why for n in report.not_checked)


def test_very_small_and_very_large_signals_are_still_numbers() -> None:
    for scale in (1e-18, 1e18):
        net = nn.Linear(8, 8, bias=False)
        nn.init.normal_(net.weight, std=scale)
        x = noise(32, 8)
        m = layer(measure(net, x)[0], "")
        assert m.q == pytest.approx(float(net(x).detach().double().square().mean()), rel=1e-5)
        report = iso.check(net, x)
        assert report.parameters[0].q == pytest.approx(scale**2, rel=0.7)


def test_outputs_of_every_kind_are_followed() -> None:
    class Many(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b, self.c = (nn.Linear(4, 4) for _ in range(3))

        def forward(self, x: Tensor) -> Any:
            return {"a": self.a(x), "rest": (self.b(x), [self.c(x)], x.argmax(1), None)}

    found, graph = measure(Many(), noise(32, 4))
    assert list(graph.outputs) == ["a", "rest.0", "rest.1.0"]
    assert all(p.grad is not None and p.grad > 0 for p in found.parameters)


class Partly(nn.Module):
    """Its first layer is frozen, its last is never called."""

    def __init__(self) -> None:
        super().__init__()
        self.frozen, self.used, self.spare = nn.Linear(8, 8), nn.Linear(8, 4), nn.Linear(4, 4)
        self.frozen.requires_grad_(False)

    def forward(self, x: Tensor) -> Tensor:
        return self.used(self.frozen(x))


def test_frozen_and_unused_parameters_have_no_gradient() -> None:
    found = {p.name: p for p in measure(Partly(), noise(32, 8))[0].parameters}
    assert found["frozen.weight"].grad is None
    assert found["used.weight"].grad is not None
    assert found["spare.weight"].grad is None


def test_a_model_all_of_whose_parameters_are_frozen_says_that_there_is_no_gradient() -> None:
    net = mlp([8, 16, 4]).requires_grad_(False)
    report = iso.check(net, noise(32, 8))
    assert any(n.what == "gradients" for n in report.not_checked)
    assert all(m.grad is None for m in report.layers)


def test_under_no_grad_gradients_are_measured_all_the_same() -> None:
    with torch.no_grad():
        found, _ = measure(mlp([8, 16, 4]), noise(32, 8))
    assert all(m.grad is not None for m in found.layers)


def test_values_seen_are_the_effective_weights_of_a_parametrised_layer() -> None:
    layer_ = nn.utils.parametrizations.weight_norm(nn.Linear(8, 16))
    found, _ = measure(nn.Sequential(layer_, nn.ReLU(), nn.Linear(16, 2)), noise(32, 8))
    assert [m.op for m in found.layers] == ["linear", "pointwise:relu", "linear"]


def test_a_feature_axis_as_long_as_the_batch_is_no_sample_axis() -> None:
    """Ten positions projected to 64 features, beside a batch of 64; five edges of a graph."""

    class Table(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.table, self.fc = nn.Parameter(torch.randn(10, 32)), nn.Linear(32, 64)
            self.embed, self.head = nn.Embedding(100, 64), nn.Linear(64, 2)

        def forward(self, ids: Tensor) -> Tensor:
            x = self.embed(ids) + torch.relu(self.fc(self.table))
            edges = x[:5, 0] * 2.0
            return self.head(x.mean(1)) + self.head(edges).mean()

    found, _ = measure(Table(), torch.randint(0, 100, (64, 10)))
    for m in found.layers:
        if m.shape[:1] == (5,):
            assert (m.samples, m.std, m.tokens) == (1, None, None)
    assert any(m.shape == (5, 64) for m in found.layers)


def test_sparse_inputs_are_run_and_not_measured() -> None:
    class Convolution(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.fc = nn.Linear(8, 4)

        def forward(self, x: Tensor, adjacency: Tensor) -> Tensor:
            return torch.sparse.mm(adjacency, self.fc(x))

    found, _ = measure(Convolution(), (torch.randn(32, 8), torch.eye(32).to_sparse()))
    assert [i.shape for i in found.inputs] == [(32, 8)]


def test_of_one_hot_inputs_the_ones_count() -> None:
    hot = torch.nn.functional.one_hot(torch.arange(64) * 100, 20_000).float()
    found, _ = measure(nn.Linear(20_000, 8), hot)
    assert found.inputs[0].zeros == pytest.approx(1 - 1 / 20_000)
    assert iso.check(nn.Linear(20_000, 8), hot, select=["ISO704"]).findings == ()


def test_samples_may_come_after_time() -> None:
    class TimeFirst(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.fc = nn.Linear(8, 4)

        def forward(self, x: Tensor) -> Tensor:
            return torch.tanh(self.fc(x).transpose(0, 1).contiguous())

    found, _ = measure(TimeFirst(), torch.randn(32, 5, 8))
    last = found.layers[-1]
    assert (last.shape, last.samples) == ((5, 32, 4), 32)
    assert last.std is not None
