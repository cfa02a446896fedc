"""Gains against closed forms, against SciPy's quadrature, and as what they are for."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from scipy import integrate, special

from isometry.errors import ArgumentError
from isometry.gains import ACTIVATIONS, FUNCTIONS, GATES, KINKS, canonical, gain, moments


def second_moment(name: str, power: int = 2) -> float:
    """E[phi^power] by SciPy, split at the kinks and at every integer."""

    def integrand(z: float) -> float:
        value = float(FUNCTIONS[name](np.array([z]))[0])
        return value**power * math.exp(-0.5 * z * z) / math.sqrt(2 * math.pi)

    edges = sorted({*map(float, range(-13, 14)), *KINKS[name]})
    return math.fsum(
        integrate.quad(integrand, a, b, epsabs=1e-14, epsrel=1e-12)[0]
        for a, b in itertools.pairwise(edges)
    )


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_a_literal_is_its_integral(name: str) -> None:
    assert ACTIVATIONS[name].gain == pytest.approx(second_moment(name) ** -0.5, rel=1e-9)
    assert gain(name) == ACTIVATIONS[name].gain


def phi(x: float) -> float:
    return 0.5 * math.erfc(-x / math.sqrt(2))


CLOSED = {  # E[phi(z)²]
    "linear": 1.0,
    "relu": 0.5,
    "leaky_relu": (1 + 0.01**2) / 2,
    "prelu": (1 + 0.25**2) / 2,
    "relu_squared": 1.5,
    "abs": 1.0,
    "square": 3.0,
    "exp": math.e**2,
    "sin": (1 - math.exp(-2)) / 2,
    "cos": (1 + math.exp(-2)) / 2,
    "erf": 2 / math.pi * math.asin(2 / 3),
    "gelu": 1 / 4 + (1 / math.pi) * (1 / (2 * math.sqrt(3)) + math.atan(1 / math.sqrt(3)) / 2),
    "elu": 0.5 + math.e**2 * phi(-2) - 2 * math.exp(0.5) * phi(-1) + 0.5,
    "hardtanh": 1 - 2 * math.exp(-0.5) / math.sqrt(2 * math.pi),
    "selu": 1.0,
}


@pytest.mark.parametrize("name", CLOSED)
def test_a_literal_is_its_closed_form(name: str) -> None:
    assert gain(name) == pytest.approx(CLOSED[name] ** -0.5, rel=1e-12)


TABLE = """
relu         .39894 .50000 1.41421 1.0000 1.000 5.00
leaky_relu   .39495 .50005 1.41414 1.0000 1.000 5.00
relu_squared .50000 1.50000 .81650 1.3333 2.000 22.3
tanh         0      .39429 1.59254 1.1778 .461  .627
sigmoid      .50000 .29338 1.84623 .1528  .106  .529
erf          0      .46456 1.46717 1.2257 .409  .560
softsign     0      .18301 2.33753 1.2440 .477  .588
hardtanh     0      .51606 1.39204 1.3229 .385  .613
gelu         .28209 .42522 1.53353 1.0720 1.144 6.22
gelu_tanh    .28204 .42519 1.53358 1.0720 1.144 6.22
silu         .20662 .35578 1.67653 1.0666 1.173 6.26
mish         .24040 .45234 1.48685 1.0591 1.076 5.35
hardswish    .16622 .33157 1.73666 1.0813 1.224 6.67
elu          .16052 .64495 1.24520 1.0359 .891  2.78
selu         0      1.00000 1.00000 1.0716 .783 1.50
softplus     .80606 .92125 1.04187 .3185  .492  1.75
sin          0      .43233 1.52087 1.3130 .313  .645
"""


@pytest.mark.parametrize("row", TABLE.strip().splitlines(), ids=lambda r: r.split()[0])
def test_moments_are_those_of_the_theory(row: str) -> None:
    name, *printed = row.split()
    m = moments(name)
    found = (m.mean, m.second, m.gain, m.chi1, m.S, m.kappa)
    for value, text in zip(found, printed, strict=True):
        digits = len(text.partition(".")[2])
        assert value == pytest.approx(float(text), abs=0.51 * 10**-digits), (name, text)


def test_moments_have_their_closed_forms() -> None:
    relu, exp, sin = moments("relu"), moments("exp"), moments("sin")
    assert relu.mean == pytest.approx(1 / math.sqrt(2 * math.pi), rel=1e-12)
    assert relu.fourth == pytest.approx(1.5, rel=1e-12)
    assert relu.slope_second == pytest.approx(0.5, rel=1e-12)
    assert exp.mean == pytest.approx(math.exp(0.5), rel=1e-11)
    assert exp.fourth == pytest.approx(math.exp(8), rel=1e-11)
    assert exp.slope_second == pytest.approx(math.exp(2), rel=1e-10)
    assert sin.slope_second == pytest.approx((1 + math.exp(-2)) / 2, rel=1e-10)
    # erf' = 2/sqrt(pi) exp(-z²), so E[erf'²] = 4/pi / sqrt(5)
    assert moments("erf").slope_second == pytest.approx(4 / math.pi / math.sqrt(5), rel=1e-10)
    assert math.isclose(moments("relu_squared").S, 2.0, rel_tol=1e-12)


@pytest.mark.parametrize("name", ["gelu", "silu", "tanh", "hardswish"])
def test_S_is_the_slope_of_the_second_moment(name: str) -> None:
    def log_q(log_variance: float) -> float:
        std = math.exp(0.5 * log_variance)
        edges = sorted({*map(float, range(-13, 14)), *(k / std for k in KINKS[name])})
        fn = FUNCTIONS[name]
        total = 0.0
        for a, b in itertools.pairwise(edges):
            z, w = special.roots_legendre(40)
            z, w = 0.5 * ((b - a) * z + a + b), 0.5 * (b - a) * w
            total += float(w @ (fn(std * z) ** 2 * np.exp(-0.5 * z * z)))
        return math.log(total)

    slope = (log_q(1e-4) - log_q(-1e-4)) / 2e-4
    assert math.isclose(moments(name).S, slope, rel_tol=1e-6)


@pytest.mark.parametrize("gate", GATES)
def test_a_gate_has_the_moments_of_the_product(gate: str) -> None:
    """x * phi(g), drawn: within five standard errors of each mean."""
    x, g = np.random.default_rng(0).standard_normal((2, 400_000))
    fn = FUNCTIONS[GATES[gate]]
    step = 1e-5
    slope = (fn(g + step) - fn(g - step)) / (2 * step)
    samples = {"second": (x * fn(g)) ** 2, "fourth": (x * fn(g)) ** 4,
               "slope_second": fn(g) ** 2 + (x * slope) ** 2}  # fmt: skip
    for name, sample in samples.items():
        error = sample.std() / math.sqrt(sample.size)
        assert getattr(moments(gate), name) == pytest.approx(sample.mean(), abs=5 * error), name
    assert moments(gate).S == 1 + moments(GATES[gate]).S
    assert gain(gate) == gain(GATES[gate])


@pytest.mark.parametrize("name", ["gelu", "relu", "tanh", "hardshrink", "softshrink"])
def test_a_function_gets_the_gain_of_its_name_to_six_digits(name: str) -> None:
    fn = FUNCTIONS[name]
    assert gain(lambda z: fn(z)) == float(f"{gain(name):.6g}")
    unnamed, named = moments(lambda z: fn(z)), moments(name)
    assert unnamed.chi1 == pytest.approx(named.chi1, rel=1e-6)
    assert math.isclose(unnamed.S, named.S, rel_tol=1e-6)


def test_a_gain_keeps_the_second_moment_of_a_real_layer() -> None:
    """4096 outputs of a 2048-wide layer that reads GELU: their mean square is 1 within five
    standard errors, sqrt(kappa/n) for the input's square and sqrt(2/4096) for the outputs'."""
    rng = np.random.default_rng(1)
    read = FUNCTIONS["gelu"](rng.standard_normal(2048))
    weight = rng.standard_normal((4096, 2048)) * gain("gelu") / math.sqrt(2048)
    error = math.sqrt(moments("gelu").kappa / 2048 + 2 / 4096)
    assert float(np.mean((weight @ read) ** 2)) == pytest.approx(1.0, abs=5 * error)


def test_parameters() -> None:
    assert gain("leaky_relu", negative_slope=0.2) == pytest.approx(1.38675, abs=5e-6)
    assert gain("leaky_relu", negative_slope=0.01) == gain("leaky_relu")
    assert gain("prelu", negative_slope=0.0) == gain("relu")
    assert gain("elu", alpha=1) == gain("celu") == gain("elu")
    assert gain("elu", alpha=2) == float(f"{moments('elu', alpha=2).second ** -0.5:.6g}")
    assert moments("leaky_relu", negative_slope=0.2).kappa == pytest.approx(4.56, abs=0.005)
    assert gain("sin", omega=30) == pytest.approx(math.sqrt(2), abs=1e-5)
    assert gain("hardshrink", lambd=0) == 1.0


@pytest.mark.parametrize(
    ("spelling", "name"),
    [
        ("LeakyReLU", "leaky_relu"), ("Leaky-ReLU", "leaky_relu"), ("identity", "linear"),
        ("relu^2", "relu_squared"), ("relu2", "relu_squared"), ("gelu_new", "gelu_tanh"),
        ("swish", "silu"), ("SiLU", "silu"), ("log_sigmoid", "logsigmoid"), ("ReLU6", "relu6"),
        ("Hard_Swish", "hardswish"), ("SwiGLU", "swiglu"),
    ],
)  # fmt: skip
def test_spellings(spelling: str, name: str) -> None:
    assert canonical(spelling) == name
    assert gain(spelling) == gain(name)


def test_no_spelling_means_two_things() -> None:
    from isometry.gains.activations import _CANONICAL, _TABLE

    spellings = sum(1 + len(e.aliases) for e in _TABLE.values()) + len(GATES)
    assert len(_CANONICAL) == spellings


def test_functions_agree_with_torch() -> None:
    """What a name computes is what PyTorch's module of that name computes."""
    from torch import from_numpy, nn
    from torch.nn import functional

    theirs = {
        "relu": nn.ReLU(), "leaky_relu": nn.LeakyReLU(), "relu6": nn.ReLU6(), "elu": nn.ELU(),
        "selu": nn.SELU(), "celu": nn.CELU(), "gelu": nn.GELU(), "silu": nn.SiLU(),
        "gelu_tanh": nn.GELU(approximate="tanh"), "mish": nn.Mish(), "hardswish": nn.Hardswish(),
        "hardsigmoid": nn.Hardsigmoid(), "hardtanh": nn.Hardtanh(), "sigmoid": nn.Sigmoid(),
        "logsigmoid": nn.LogSigmoid(), "tanh": nn.Tanh(), "softplus": nn.Softplus(),
        "softsign": nn.Softsign(), "tanhshrink": nn.Tanhshrink(), "softshrink": nn.Softshrink(),
        "hardshrink": nn.Hardshrink(), "rrelu": nn.RReLU().eval(), "prelu": nn.PReLU(),
    }  # fmt: skip
    z = np.concatenate([np.linspace(-20, 20, 4001), np.random.default_rng(0).normal(size=1000)])
    assert callable(functional.gelu)
    for name, module in theirs.items():
        expected = module.double()(from_numpy(z)).detach().numpy()
        # PyTorch's softplus is linear beyond 20; its own rounding is a few ulp.
        np.testing.assert_allclose(
            FUNCTIONS[name](z), expected, rtol=1e-9, atol=1e-12, err_msg=name
        )


@pytest.mark.parametrize(
    ("ask", "message"),
    [
        (lambda: gain("geluu"), r"'geluu' is not .* \(did you mean 'gelu'\?\)"),
        (lambda: gain("relu", alpha=1.0), "relu has no parameter 'alpha'; it takes none"),
        (lambda: gain("elu", slope=1.0), "elu has no parameter 'slope'; it takes alpha"),
        (lambda: gain("elu", alpha=math.nan), "alpha must be a finite number"),
        (lambda: gain("elu", alpha=True), "alpha must be a finite number"),
        (lambda: gain(3), "activation is 3; expected a name"),
        (lambda: moments(None), "activation is None; expected a name"),
        (lambda: gain(np.tanh, beta=2.0), "a function takes no parameters here, received beta"),
        (lambda: gain(np.zeros_like), "zeros_like: E.* is 0 .* not zero everywhere"),
        (lambda: gain(np.sqrt), "sqrt is nan at x = -"),
        (lambda: gain(lambda z: np.exp(z**4)), "is inf at x ="),
        (lambda: gain(lambda z: np.exp(z * z / 4)), r"E\[phi\(z\)\^2\] is infinite"),
        (lambda: gain(lambda z: 1 / z), "does not settle near z ="),
        (lambda: gain(np.sum), r"returned shape \(\)"),
        (lambda: gain(lambda z: z.missing), "failed on a float64 NumPy array: .*missing"),
        (lambda: gain("softplus", beta=0.0), "is inf at"),
    ],
)
def test_errors(ask: object, message: str) -> None:
    with pytest.raises(ArgumentError, match=message):
        ask()
