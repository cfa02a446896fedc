"""Schemes as formulae: the law that each gives, its aliases, and what it says of itself."""

from __future__ import annotations

import doctest
import math

import pytest

from isometry import schemes
from isometry.errors import ArgumentError
from isometry.gains import gain
from isometry.schemes import ALIASES, SCHEMES, matrix, plain, scaled
from isometry.types import Fans, Law, Normal, TruncatedNormal, Uniform

FANS = Fans(300.0, 120.0)
SIX = {
    "lecun": 1 / 300,
    "glorot": 2 / 420,
    "he": 2 / 300,
}


@pytest.mark.parametrize("rule", SIX)
def test_the_six_classic_laws(rule: str) -> None:
    variance = SIX[rule]
    normal = SCHEMES[f"{rule}_normal"].make
    assert normal(FANS) == Normal(math.sqrt(variance))
    cut = normal(FANS, truncated=True)
    assert cut == TruncatedNormal(math.sqrt(variance))
    assert cut.variance == pytest.approx(variance)
    uniform = SCHEMES[f"{rule}_uniform"].make(FANS)
    assert isinstance(uniform, Uniform)
    assert uniform.bound == pytest.approx(math.sqrt(3 * variance))
    assert uniform.variance == pytest.approx(variance)


@pytest.mark.parametrize(
    ("mode", "fan"),
    [("fan_in", 300), ("fan_out", 120), ("fan_avg", 210), ("fan_geo_avg", math.sqrt(36000))],
)
@pytest.mark.parametrize("distribution", ["normal", "uniform", "truncated_normal"])
def test_variance_scaling(mode: str, fan: float, distribution: str) -> None:
    law = schemes.variance_scaling(FANS, scale=1.5, mode=mode, distribution=distribution, gain=2.0)
    assert law.variance == pytest.approx(4 * 1.5 / fan)
    assert type(law).__name__.lower() == distribution.replace("_", "")


def test_he_follows_what_is_read() -> None:
    assert schemes.he_normal(FANS, negative_slope=0.5).variance == pytest.approx(2 / 1.25 / 300)
    assert schemes.he_normal(FANS, nonlinearity="leaky_relu") == schemes.he_normal(
        FANS, negative_slope=0.01
    )
    assert schemes.he_uniform(FANS, nonlinearity="gelu", mode="fan_out").variance == pytest.approx(
        gain("gelu") ** 2 / 120
    )
    assert schemes.he_normal(FANS, nonlinearity=lambda z: z).variance == pytest.approx(1 / 300)


def test_aliases_are_the_same_functions() -> None:
    for alias, name in ALIASES.items():
        assert getattr(schemes, alias) is getattr(schemes, name)


def test_the_truncated_normal_that_users_ask_for() -> None:
    """std .02 after a cut at 2 sigma: no value beyond .045474."""
    law = schemes.truncated_normal(0.02)
    assert isinstance(law, TruncatedNormal)
    assert law.bound == pytest.approx(0.02 * 2 / 0.87962566, rel=1e-7)


def test_the_table_is_complete() -> None:
    promised = """zeros ones constant identity dirac uniform normal truncated_normal
        variance_scaling lecun_normal lecun_uniform glorot_normal glorot_uniform he_normal
        he_uniform orthogonal delta_orthogonal sparse"""
    assert list(SCHEMES) == promised.split()


@pytest.mark.parametrize("name", SCHEMES)
def test_each_states_its_equation_and_source(name: str) -> None:
    scheme = SCHEMES[name]
    assert scheme.summary.endswith(".")
    assert "\n" not in scheme.summary
    assert "W" in scheme.formula
    assert scheme.source, "no source"
    arguments = scheme.section("Args")
    for parameter in scheme.parameters:
        assert f"{parameter}:" in arguments
    needed = {"value": 0.5} if name == "constant" else {}
    law = scheme.make(FANS, **needed) if scheme.takes_fans else scheme.make(**needed)
    assert isinstance(law, Law)
    example = scheme.section("Example")
    assert f">>> {name}(" in example or f"({name}(" in example


@pytest.mark.parametrize("module", [plain, scaled, matrix], ids=lambda m: m.__name__)
def test_examples_run(module: object) -> None:
    failed, tried = doctest.testmod(module, verbose=False)
    assert (failed, tried > 4) == (0, True)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: schemes.lecun_normal(FANS, gain=math.inf), "gain=inf: expected a positive, finite"),
        (lambda: schemes.lecun_normal(FANS, gain=math.nan), "gain=nan"),
        (lambda: schemes.glorot_uniform(FANS, gain=0.0), r"gain=0.0: .*for zeros use zeros\(\)"),
        (lambda: schemes.glorot_normal(FANS, gain="2"), "gain='2'"),
        (lambda: schemes.variance_scaling(FANS, scale=-1.0), "scale=-1.0: expected a positive"),
        (lambda: schemes.variance_scaling(FANS, mode="fan"), "mode='fan': expected 'fan_in'"),
        (lambda: schemes.variance_scaling(FANS, distribution="cauchy"), "distribution='cauchy'"),
        (lambda: schemes.he_normal(Fans(0.0, 4.0)), "fan_in=0.0: expected a positive number"),
        (lambda: schemes.he_uniform(Fans(4.0, -1.0)), "fan_out=-1.0"),
        (lambda: schemes.lecun_uniform(Fans(math.inf, 1.0)), "fan_in=inf"),
        (lambda: schemes.he_normal(FANS, nonlinearity="gelu", negative_slope=0.1),
         "gelu has no parameter 'negative_slope'"),
        (lambda: schemes.he_normal(FANS, nonlinearity="wave"), "'wave' is not an activation"),
        (lambda: schemes.normal(0.0), r"for zeros write Constant\(0.0\)"),
        (lambda: schemes.sparse(1.0), r"sparsity must lie in \[0, 1\)"),
    ],
)  # fmt: skip
def test_errors(call: object, message: str) -> None:
    with pytest.raises(ArgumentError, match=message):
        call()
