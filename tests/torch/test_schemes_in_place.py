"""The schemes on a tensor: layout, names, documentation and what is refused."""

from __future__ import annotations

import doctest
import inspect

import pytest
import torch
from torch import nn

import isometry.torch.schemes as in_place
from isometry.errors import ArgumentError
from isometry.schemes import ALIASES, SCHEMES
from isometry.torch.fill import fill_
from isometry.torch.layers import fans
from isometry.types import Axes, Fans, Normal


@pytest.mark.parametrize("name", SCHEMES)
def test_each_is_its_law(name: str) -> None:
    function, scheme = getattr(in_place, f"{name}_"), SCHEMES[name]
    shape = (12, 6, 3, 3) if name in ("dirac", "delta_orthogonal") else (12, 6)
    value = (0.5,) if name == "constant" else ()
    field = 9 if len(shape) == 4 else 1
    made = scheme.make(*((Fans(6.0 * field, 12.0 * field),) if scheme.takes_fans else ()), *value)
    expected = fill_(torch.empty(shape), made, seed=3, name="w")
    draws = {"seed": 3, "name": "w"} if "seed" in inspect.signature(function).parameters else {}
    weight = nn.Parameter(torch.full(shape, float("nan")))
    assert function(weight, *value, **draws) is weight
    assert torch.equal(weight.detach(), expected)
    assert set(draws) or name in ("zeros", "ones", "constant", "identity", "dirac")


def test_fans_and_axes_are_followed() -> None:
    conv = nn.Conv2d(8, 12, 3, groups=4, stride=2)
    found = in_place.glorot_normal_(conv.weight, seed=0, name="w", fans=fans(conv))
    std = (2 / (18 + 12 / 4 * 9 / 4)) ** 0.5
    assert torch.equal(
        found.detach(), fill_(torch.empty(12, 2, 3, 3), Normal(std), seed=0, name="w")
    )
    swapped = in_place.he_normal_(torch.empty(6, 4), seed=0, name="w", axes=Axes((0,), (1,)))
    assert torch.equal(swapped, fill_(torch.empty(6, 4), Normal((2 / 6) ** 0.5), seed=0, name="w"))


def test_a_part_has_the_fans_of_the_whole() -> None:
    whole = in_place.he_normal_(torch.empty(8, 20), seed=0, name="w")
    part = torch.empty(8, 5)
    in_place.he_normal_(part, seed=0, name="w", index=(slice(None), slice(5, 10)), shape=(8, 20))
    assert torch.equal(part, whole[:, 5:10])


def test_aliases() -> None:
    for alias, name in ALIASES.items():
        assert getattr(in_place, f"{alias}_") is getattr(in_place, f"{name}_")


@pytest.mark.parametrize("name", SCHEMES)
def test_each_has_a_signature_and_a_docstring_of_its_own(name: str) -> None:
    function, scheme = getattr(in_place, f"{name}_"), SCHEMES[name]
    assert function.__name__ == function.__qualname__ == f"{name}_"
    text = inspect.getdoc(function) or ""
    described = text.partition("Args:\n")[2].partition("Returns:")[0]
    for key in inspect.signature(function).parameters:
        assert f"    {key}: " in described, key
    assert text.startswith(scheme.summary)
    assert scheme.formula in text
    assert scheme.source in text
    assert max(map(len, text.splitlines())) <= 100


def test_examples_run() -> None:
    runner, finder = doctest.DocTestRunner(verbose=False), doctest.DocTestFinder()
    for name in SCHEMES:
        function = getattr(in_place, f"{name}_")
        for test in finder.find(function, name, globs=vars(in_place).copy()):
            runner.run(test)
    results = runner.summarize(verbose=False)
    assert (results.failed, results.attempted) == (0, 2 * len(SCHEMES))


@pytest.mark.parametrize(
    ("error", "call", "message"),
    [
        (TypeError, lambda w: in_place.he_normal_(w), r"he_normal_\(\) got .*'name'; its form is"),
        (TypeError, lambda w: in_place.zeros_(w, seed=0), "unexpected keyword argument 'seed'"),
        (ArgumentError, lambda w: in_place.he_normal_(w[0], name="b"), "has no fans.*zeros_"),
        (ArgumentError, lambda w: in_place.he_normal_(w, name="b", fans=fans(nn.GRU(3, 4))),
         "expected Fans.*fans.layer."),
        (ArgumentError, lambda w: in_place.he_normal_(w, name="b", fans=Fans(0.0, 1.0)), "fan_in=0"),
        (ArgumentError, lambda w: in_place.lecun_uniform_(w, name="b", gain=0), "gain=0"),
        (ArgumentError, lambda w: in_place.dirac_(w), "is a law of convolutions"),
        (ArgumentError, lambda w: in_place.normal_(w.long(), name="b"), "the tensor is int64"),
    ],
)  # fmt: skip
def test_errors_leave_the_tensor_as_it_was(
    error: type[Exception], call: object, message: str
) -> None:
    weight = torch.full((4, 3), 9.0)
    with pytest.raises(error, match=message):
        call(weight)
    assert (weight == 9.0).all()
