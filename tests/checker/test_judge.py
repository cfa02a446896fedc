"""From findings to a report: what is selected, what explains what, what each rule's page says."""

from __future__ import annotations

import math
import re
from pathlib import Path

import pytest
import torch
from torch import nn

import isometry as iso
from isometry.checker import RULES, judge
from isometry.checker import rules as rules_package
from isometry.checker.wording import factor, law_of, number, stretch
from isometry.torch.measure import measure
from isometry.types import SEVERITIES, Fans, Finding, ParameterMeasurement

from .networks import GPT, conv_chain, initialised, mlp


def deep_default() -> nn.Module:
    torch.manual_seed(0)
    return mlp([64, *[256] * 20, 10])


def codes(report: iso.Report) -> list[str]:
    return [f.code for f in report.findings]


@pytest.mark.parametrize("code", RULES)
def test_every_rule_is_a_file_with_its_page(code: str) -> None:
    rule = RULES[code]
    directory = Path(next(iter(rules_package.__path__)))
    assert re.fullmatch(r"ISO\d{3}", rule.CODE)
    assert (directory / f"{code.lower()}_{rule.NAME.replace('-', '_')}.py").is_file()
    page = rule.__doc__ or ""
    assert re.match(rf"{rule.NAME}: [^\n]{{10,70}}[^.\n]\n", page), (
        "a line that `isometry rule` lists"
    )
    for heading in ("What it does", "Example", "Use instead", "References"):
        assert re.search(rf"^{heading}$", page, re.MULTILINE), f"{code} has no {heading!r}"
    assert re.search(r"^Why it is (bad|worth knowing)$", page, re.MULTILINE)
    for explained in rule.EXPLAINS:
        assert any(c.startswith(explained) for c in RULES), explained


def test_every_file_of_the_directory_is_in_the_table() -> None:
    directory = Path(next(iter(rules_package.__path__)))
    assert {p.name[:6].upper() for p in directory.glob("iso*.py")} == set(RULES)


def test_codes_are_selected_and_ignored_by_their_beginning() -> None:
    found = measure(deep_default(), torch.randn(64, 64))
    assert codes(judge(*found)) == ["ISO201"]
    assert codes(judge(*found, ignore=["ISO2"])) == []
    assert codes(judge(*found, ignore="ISO201")) == []
    assert codes(judge(*found, select=["ISO201", "ISO7"])) == ["ISO201"]
    assert codes(judge(*found, select=["ISO901"])) == []


def test_what_is_explained_appears_when_its_cause_is_not_looked_for() -> None:
    net = mlp([8, *[32] * 4, 4])
    with torch.no_grad():
        net[2].weight[0, 0] = float("nan")
    found = measure(net, torch.randn(64, 8))
    assert codes(judge(*found)) == ["ISO801"]
    assert codes(judge(*found, select=["ISO2"])) == ["ISO202"]
    assert codes(judge(*found, ignore=["ISO801"])) == []  # still known, and so still the cause


@pytest.mark.parametrize("bad", ["ISO66", "iso201", "", "201"])
def test_a_code_that_begins_no_rule_s_is_refused(bad: str) -> None:
    net, x = nn.Linear(4, 4), torch.randn(32, 4)
    for given in ({"select": [bad]}, {"ignore": [bad]}):
        with pytest.raises(iso.ArgumentError, match="ISO201"):
            iso.check(net, x, **given)


def test_errors_come_first_and_then_the_order_of_execution() -> None:
    torch.manual_seed(0)
    net = nn.Sequential(
        nn.TransformerEncoder(nn.TransformerEncoderLayer(16, 2, 32, batch_first=True), 2),
        initialised(mlp([16, *[64] * 12, 4]), lambda w: nn.init.uniform_(w, -0.05, 0.05)),
    )
    report = iso.check(net, torch.randn(32, 6, 16))
    assert codes(report) == ["ISO201", "ISO102"]
    ranks = [SEVERITIES.index(f.severity) for f in report.findings]
    assert ranks == sorted(ranks)


def test_one_cause_is_one_finding() -> None:
    """Twenty layers vanish; their gradient vanishes, their units die together: one cause."""
    report = iso.check(deep_default(), torch.randn(64, 64))
    assert codes(report) == ["ISO201"]
    assert report.layers[-2].dead is not None
    assert report.layers[-2].dead > 0.3


def test_the_gradient_is_judged_where_the_signal_is_well() -> None:
    """Batch normalisation under ReLU, no skips: × 1.21 a layer (Yang et al. 2019)."""
    torch.manual_seed(0)
    net = conv_chain(16, 50, norm=True)
    (finding,) = iso.check(net, torch.randn(32, 3, 8, 8)).findings
    assert (finding.code, finding.severity) == ("ISO302", "warning")
    assert finding.data["factor"] == pytest.approx(math.sqrt(math.pi / (math.pi - 1)), rel=0.05)


def test_what_was_not_judged_is_listed_and_why() -> None:
    listed = {n.what: n.why for n in iso.check(mlp([8, 16, 2]), torch.randn(16, 8)).not_checked}
    assert set(listed) == {"initial loss", "dead units", "values that are never set"}
    assert 'loss="cross_entropy"' in listed["initial loss"]
    assert "build=" in listed["values that are never set"]
    full = iso.check(
        mlp([8, 16, 2]), torch.randn(32, 8), loss="cross_entropy", build=lambda: mlp([8, 16, 2])
    )
    assert full.not_checked == ()


def test_a_batch_of_one_vector_has_no_samples_to_compare() -> None:
    report = iso.check(mlp([8, 16, 2]), torch.randn(1, 8))
    assert any(n.what == "signal across samples" for n in report.not_checked)


def test_the_report_carries_measurements_in_execution_order() -> None:
    report = iso.check(GPT(), torch.randint(100, (32, 12)), loss="cross_entropy")
    assert [m.node for m in report.layers] == sorted({m.node for m in report.layers})
    assert {p.name for p in report.parameters} == {n for n, _ in GPT().named_parameters()}
    assert report.loss == pytest.approx(math.log(100), rel=0.02)


def test_a_finding_reads_as_a_sentence() -> None:
    (finding,) = iso.check(deep_default(), torch.randn(64, 64)).findings
    text = str(finding)
    assert text.startswith("ISO201 vanishing-signal  0 … 40: signal × 0.4 a layer over 20 layers")
    assert text.endswith("Fix: iso.initialize(model, inputs, seed=0)")
    assert isinstance(finding, Finding)


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.41, "0.41"), (27.4, "27"), (123.4, "123"), (3.21e4, "3.2e4"), (1e-8, "1e-8"), (0.0, "0"), (math.inf, "inf")],
)  # fmt: skip
def test_numbers_are_short(value: float, text: str) -> None:
    assert number(value) == text


def test_factors_and_stretches_are_worded() -> None:
    assert factor(0.41**7, 7) == "× 0.41 a layer over 7 layers (to 2e-3)".replace(
        "2e-3", number(0.41**7)
    )
    assert factor(0.05, 1) == "× 0.05 over 1 layer"
    assert stretch(["blocks.3.fc1", "x", "blocks.9.fc1"]) == "blocks.3.fc1 … blocks.9.fc1"
    assert stretch(["", ""]) == "(model)"


LAWS = {
    "U(±1/√fan_in), PyTorch's default": lambda w: nn.init.uniform_(w, -1 / 16, 1 / 16),
    "He's law, normal": lambda w: nn.init.kaiming_normal_(w, nonlinearity="relu"),
    "He's law, uniform": lambda w: nn.init.kaiming_uniform_(w, nonlinearity="relu"),
    "LeCun's law, normal": lambda w: nn.init.kaiming_normal_(w, nonlinearity="linear"),
    "Glorot's law, uniform": nn.init.xavier_uniform_,
    "std 0.5": lambda w: nn.init.normal_(w, std=0.5),
    "U(±0.5)": lambda w: nn.init.uniform_(w, -0.5, 0.5),
    "the constant 0.25": lambda w: nn.init.constant_(w, 0.25),
    "values of mean 1 and std 0.1": lambda w: nn.init.normal_(w, 1.0, 0.1),
}


@pytest.mark.parametrize("name", LAWS)
def test_a_law_is_recognised_from_its_values(name: str) -> None:
    torch.manual_seed(0)
    layer = nn.Linear(256, 1024)
    LAWS[name](layer.weight)
    found, _ = measure(layer, torch.randn(32, 256))
    weight: ParameterMeasurement = found.parameters[0]
    assert law_of(weight, Fans(256.0, 1024.0)) == name
