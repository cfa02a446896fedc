"""The singular values from end to end: against known matrices, against autograd's own, and at depth."""

from __future__ import annotations

import json
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import torch
from torch import Tensor, nn

import isometry as iso
from isometry.report import html, json_, notebook, terminal
from isometry.types import Report, Spectrum

from .networks import GPT, mlp
from .test_no_trace import Broken, Noisy, bits, randomness, state

EXACT = 1e-5  # float32
SCHEMA = json.loads((Path(__file__).parents[2] / "docs/schema/report-1.json").read_text())


def noise(*shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(0))


def spectrum(model: nn.Module, inputs: Any) -> Spectrum:
    found = iso.check(model, inputs, jacobian=True).jacobian
    assert found is not None
    return found


def chain(*sizes: int, activation: Callable[[], nn.Module] = nn.Identity) -> nn.Sequential:
    """Linear layers without biases, with an activation between."""
    layers: list[nn.Module] = []
    for a, b in pairwise(sizes):
        layers += [nn.Linear(a, b, bias=False), activation()]
    return nn.Sequential(*layers[:-1])


@pytest.mark.parametrize("sizes", [(300, 40, 12), (24, 40, 300), (40, 12, 40)])
def test_of_a_product_of_matrices_they_are_those_of_the_product(sizes: tuple[int, ...]) -> None:
    """By rows, by columns, and of a rank below both."""
    torch.manual_seed(0)
    model = chain(*sizes)
    product = (model[2].weight @ model[0].weight).detach().double()
    expected = torch.linalg.svdvals(product).tolist()
    found = spectrum(model, noise(8, sizes[0]))
    assert (found.inputs, found.outputs, found.exact) == (sizes[0], sizes[-1], True)
    assert found.values == pytest.approx(expected, abs=EXACT * expected[0])
    assert len(found.nonzero) == 12 if 12 in sizes else 24


@pytest.mark.parametrize("activation", [nn.ReLU, nn.GELU, nn.SiLU, nn.Softplus])
def test_fifty_isometric_layers_keep_every_direction(activation: Callable[[], nn.Module]) -> None:
    model = chain(*[100] * 51, activation=activation)
    x = noise(32, 100)
    iso.initialize(model, x, recipe="isometric")
    found = spectrum(model, x)
    assert found.exact
    assert len(found.nonzero) == 50  # of 100 units each pair is one direction
    assert found.spread < 0.01


def test_the_same_layers_drawn_independently_do_not() -> None:
    model = chain(*[100] * 51, activation=nn.ReLU)
    x = noise(32, 100)
    iso.initialize(model, x)
    assert spectrum(model, x).spread > 100.0


def test_orthogonal_tanh_is_an_isometry_where_the_signal_is_small() -> None:
    model = chain(*[64] * 21, activation=nn.Tanh)
    for p in model.parameters():
        nn.init.orthogonal_(p)
    small, large = (spectrum(model, scale * noise(32, 64)) for scale in (0.01, 1.0))
    assert small.values == pytest.approx([1.0] * 64, abs=0.02)
    assert large.spread > 0.5


@pytest.mark.parametrize("sizes", [(320, 300), (300, 320)])
def test_of_many_rows_and_columns_random_directions_are_looked_at(sizes: tuple[int, int]) -> None:
    """An isometry looks the same from all of them, whichever side is the smaller."""
    model = chain(*sizes)
    nn.init.orthogonal_(model[0].weight, gain=2.0)
    found = spectrum(model, noise(4, sizes[0]))
    assert not found.exact
    assert found.values == pytest.approx([2.0] * 64, abs=EXACT)


class Normalised(nn.Module):
    """What a sample gives depends on the batch."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm = nn.Conv2d(2, 4, 3), nn.BatchNorm2d(4)
        self.head = nn.Linear(4 * 4, 5)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(torch.tanh(self.norm(self.conv(x))).flatten(1))


class AnythingElse(nn.Module):
    """Positional and keyword inputs, a dict that is returned, and inputs that are written into."""

    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(6, 3)

    def forward(self, ids: Tensor, *, x: Tensor) -> dict[str, Tensor]:
        ids.add_(1)
        x.mul_(2.0)
        return {"ids": ids, "y": torch.tanh(self.fc(x)), "z": x}


def test_of_a_batch_norm_they_are_those_of_one_sample_in_its_batch() -> None:
    torch.manual_seed(0)
    model, x = Normalised().train(), noise(6, 2, 4, 4)

    def of_first(first: Tensor) -> Tensor:
        return model(torch.cat([first[None], x[1:]]))[0]

    jacobian = torch.autograd.functional.jacobian(of_first, x[0]).reshape(5, -1)
    expected = torch.linalg.svdvals(jacobian.double()).tolist()
    assert spectrum(model, x).values == pytest.approx(expected, rel=1e-3)


def test_inputs_and_outputs_may_be_of_any_form() -> None:
    torch.manual_seed(0)
    model, x = AnythingElse(), noise(8, 6)
    given = {"ids": torch.arange(8), "x": x.clone()}
    jacobian = torch.autograd.functional.jacobian(lambda t: torch.tanh(model.fc(2 * t)), x[0])
    expected = torch.linalg.svdvals(jacobian.double()).tolist()
    assert spectrum(model, given).values == pytest.approx(expected, rel=1e-4)
    assert torch.equal(given["x"], x)
    assert torch.equal(given["ids"], torch.arange(8))


class OneByOne(torch.autograd.Function):
    """Has a derivative, but none for many gradients at once."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return 3.0 * x

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        assert float(grad.sum()) == float(grad.sum())
        return 3.0 * grad


class Own(nn.Module):
    def __init__(self, function: Any) -> None:
        super().__init__()
        self.fc, self.function = nn.Linear(8, 4), function

    def forward(self, x: Tensor) -> Tensor:
        return self.function(self.fc(x))


def test_an_operation_that_takes_one_gradient_at_a_time_gets_one_at_a_time() -> None:
    torch.manual_seed(0)
    model = Own(OneByOne.apply)
    expected = (3 * torch.linalg.svdvals(model.fc.weight.detach().double())).tolist()
    assert spectrum(model, noise(4, 8)).values == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize(
    ("model", "inputs", "why"),
    [
        (GPT(), torch.arange(64).view(4, 16), "the inputs are integers"),
        (Own(Broken.apply), noise(4, 8), "LookupError: no derivative here"),
        (Own(lambda y: y.detach()), noise(4, 8), "does not depend on the input"),
        (Own(lambda y: y.argmax(-1)), noise(4, 8), "no floating-point tensor"),
        (Own(lambda y: y / 0.0), noise(4, 8), "infinities or NaN"),
    ],
    ids=["integers", "no derivative", "detached", "no output", "not finite"],
)
def test_where_there_is_no_answer_the_report_says_why(
    model: nn.Module, inputs: Tensor, why: str
) -> None:
    report = iso.check(model, inputs, jacobian=True)
    assert report.jacobian is None
    told = [n.why for n in report.not_checked if n.what.startswith("the singular values")]
    assert len(told) == 1
    assert why in told[0]


def test_it_is_measured_only_where_it_is_asked_for() -> None:
    model, x = mlp([8, 16, 4]), noise(32, 8)
    report = iso.check(model, x)
    assert report.jacobian is None
    assert not any("singular" in n.what for n in report.not_checked)


@pytest.mark.parametrize("build", [Noisy, Normalised, lambda: mlp([8, 16, 4])])
def test_everything_is_as_before(build: Callable[[], nn.Module]) -> None:
    model = build()
    x = noise(6, 2, 4, 4) if build is Normalised else noise(32, 8)
    given, before, rng = bits(x), state(model), randomness()
    first = iso.check(model, x, jacobian=True)
    assert (bits(x), state(model), randomness()) == (given, before, rng)
    assert iso.check(model, x, jacobian=True) == first


SAID = {
    (1.002, 1.0, 0.998): "3 nonzero singular values, 0.998 to 1.002: an isometry on them",
    (
        2.0,
        2.0,
        0.0,
    ): "2 nonzero singular values of 3, 2 to 2: an isometry on them, but for a factor",
    (8.0, 1.0, 0.0): "2 nonzero singular values of 3, 1 to 8: apart by a factor of 8",
    (0.0, 0.0): "no singular value but 0 of 2: the output ignores the input",
}


@pytest.mark.parametrize("values", SAID)
def test_every_form_of_the_report_says_it(values: tuple[float, ...]) -> None:
    report = Report("Net", (), (), (), (), jacobian=Spectrum(values, 8, 4, exact=True))
    said = SAID[values]
    assert said in " ".join(terminal.render(report).split())
    assert f"{said}." in notebook.render(report)
    page = html.render(report)
    assert f"{said}." in page
    assert 'id="chart-jacobian"' in page
    data = json.loads(json_.render(report))
    jsonschema.validate(data, SCHEMA)
    assert data["jacobian"] == {"values": list(values), "inputs": 8, "outputs": 4, "exact": True}


def test_a_sample_of_directions_is_said_to_be_one() -> None:
    report = Report("Net", (), (), (), (), jacobian=Spectrum((1.0,) * 64, 900, 900, exact=False))
    assert "seen from 64 random directions" in " ".join(terminal.render(report).split())


def test_without_a_spectrum_nothing_is_said() -> None:
    report = Report("Net", (), (), (), ())
    assert "singular" not in terminal.render(report) + notebook.render(report)
    assert "chart-jacobian" not in html.render(report)
    assert json.loads(json_.render(report))["jacobian"] is None
