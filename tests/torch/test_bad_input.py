"""What cannot be used is a clear IsometryError, and the model is then as it was, to the bit.

Each message says what was received, what was expected and what to type instead.
"""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import isometry as iso

X = torch.zeros(2, 8)


def net() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(8, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Linear(16, 4))


class Held(nn.Module):
    """A layer, and a parameter of another kind beside it."""

    def __init__(self, tensor: Tensor) -> None:
        super().__init__()
        self.layer = nn.Linear(8, 8)
        self.odd = nn.Parameter(tensor, requires_grad=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(x)


def state(model: nn.Module) -> dict[str, Any]:
    """Everything a call could leave behind: values, versions, flags, gradients, hooks."""
    found: dict[str, Any] = {}
    for name, tensor in (*model.named_parameters(), *model.named_buffers()):
        found[name] = (id(tensor), tensor.requires_grad, tensor.grad, tensor.dtype, tensor.device)
        if not isinstance(tensor, nn.parameter.UninitializedTensorMixin):
            found[name] += (tuple(tensor.shape), tensor.stride(), fingerprint(tensor))
    for name, module in model.named_modules():
        found[f"module {name}"] = (
            module.training,
            len(module._forward_hooks),
            sorted(module.__dict__),
        )
    return found


def fingerprint(tensor: Tensor) -> Any:
    """The values; and how often they have been written, which a forward may do to a buffer."""
    if tensor.layout is not torch.strided:
        return tensor.to_dense().tolist()
    writes = 0 if tensor.is_inference() or not isinstance(tensor, nn.Parameter) else tensor._version
    return writes, str((tensor.dequantize() if tensor.is_quantized else tensor).tolist())


def refused(
    model: Any, *words: str, error: type[iso.IsometryError], call: Callable[[], Any] | None = None,
    inputs: Any = X, **more: Any,
) -> None:  # fmt: skip
    """The call raises that error, whose message has all of the words; nothing has changed."""
    before = state(model) if isinstance(model, nn.Module) else None
    random = torch.get_rng_state()
    with pytest.raises(error) as raised:
        call() if call is not None else iso.initialize(model, inputs, **more)
    for word in words:
        assert word in str(raised.value), str(raised.value)
    if before is not None:
        assert state(model) == before
    assert torch.equal(torch.get_rng_state(), random)


# -- models ------------------------------------------------------------------------------------


def test_no_parameters() -> None:
    refused(nn.ReLU(), "ReLU has no parameters", "is it built?", error=iso.ModelError)


def quantised() -> Tensor:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch.ao moves elsewhere
        return torch.quantize_per_tensor(torch.zeros(3, 3), 0.1, 0, torch.qint8)


@pytest.mark.parametrize(
    ("make", "word"),
    [
        (lambda: torch.zeros(3, dtype=torch.int64), "torch.int64"),
        (lambda: torch.zeros(3, dtype=torch.uint8), "torch.uint8"),
        (lambda: torch.zeros(3, dtype=torch.bool), "torch.bool"),
        (lambda: torch.zeros(3, dtype=torch.cfloat), "complex"),
        (quantised, "torch.qint8"),
        (lambda: torch.eye(3).to_sparse(), "sparse"),
    ],
    ids=["int64", "uint8", "bool", "complex", "quantised", "sparse"],
)
def test_parameters_that_are_no_real_numbers(make: Callable[[], Tensor], word: str) -> None:
    refused(Held(make()), "odd is", word, "floating-point", "buffer", error=iso.ModelError)


def test_an_axis_of_size_zero() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch's own, of an initialiser with nothing to do
        model = nn.Sequential(nn.Linear(8, 0), nn.Linear(0, 4))
    refused(model, "0.weight", "(0, 8)", "size 0", "give it a size", error=iso.ModelError)


@pytest.mark.parametrize("inputs", [X, None], ids=["inputs", "no inputs"])
def test_a_lazy_module(inputs: Tensor | None) -> None:
    model = nn.Sequential(nn.Linear(8, 8), nn.LazyLinear(4))
    refused(
        model, "1.weight", "LazyLinear", "no shape yet", "run the model once on a batch",
        error=iso.ModelError, inputs=inputs,
    )  # fmt: skip


def test_an_inference_mode_parameter() -> None:
    with torch.inference_mode():
        model = net()
    refused(
        model,
        "0.weight",
        "torch.inference_mode",
        "build the model outside it",
        error=iso.ModelError,
    )


def test_an_expanded_parameter() -> None:
    model = net()
    model[3].weight = nn.Parameter(torch.randn(1, 16).expand(4, 16))
    assert model[3].weight.stride() == (0, 1)
    refused(model, "3.weight", "expanded", "a contiguous copy", error=iso.ModelError)


@pytest.mark.parametrize("call", [iso.plan, iso.initialize, iso.check])
@pytest.mark.parametrize(
    ("thing", "words"),
    [
        (nn.Linear, ("the class Linear", "write Linear(...)")),
        (net, ("function", "an instance of torch.nn.Module")),
        ("resnet18", ("str", "an instance of torch.nn.Module")),
        (None, ("NoneType", "an instance of torch.nn.Module")),
        (X, ("Tensor", "an instance of torch.nn.Module")),
    ],
    ids=["class", "function", "text", "None", "tensor"],
)
def test_what_is_no_model(call: Callable[..., Any], thing: Any, words: tuple[str, ...]) -> None:
    refused(
        thing, "received", "expected", *words, error=iso.ArgumentError, call=lambda: call(thing, X)
    )


# -- inputs ------------------------------------------------------------------------------------


@pytest.mark.parametrize("call", [iso.plan, iso.initialize, iso.check])
@pytest.mark.parametrize(
    ("inputs", "words"),
    [
        (torch.zeros(2, 9), ("(2, 9) torch.float32", "mat1 and mat2", "2x9 and 8x16")),
        ((X, X), ("(2, 8) torch.float32, (2, 8) torch.float32", "takes 2 positional arguments")),
        ({"image": X}, ("unexpected keyword argument 'image'",)),
    ],
    ids=["shape", "too many", "keyword"],
)
def test_inputs_that_the_model_refuses(
    call: Callable[..., Any], inputs: Any, words: tuple[str, ...]
) -> None:
    """The model's own error, with the call that failed."""
    model = net()
    refused(
        model, "Sequential could not be run on the inputs given", *words,
        "a tensor, a tuple of positional or a dict of keyword arguments",
        error=iso.TraceError, call=lambda: call(model, inputs),
    )  # fmt: skip


@pytest.mark.parametrize("inputs", [3, "x", np.zeros((2, 8))], ids=["int", "text", "array"])
def test_inputs_of_no_kind_that_is_passed_on(inputs: Any) -> None:
    refused(
        net(), f"inputs is {type(inputs).__name__}", "expected a tensor, a tuple", "a dict",
        error=iso.ArgumentError, inputs=inputs,
    )  # fmt: skip


def test_a_forward_that_raises_midway() -> None:
    class Midway(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.second = net(), nn.Linear(4, 4)

        def forward(self, x: Tensor) -> Tensor:
            self.seen = self.first(x)
            self.register_buffer("cache", self.seen.detach())
            raise KeyError("no such key")

    refused(Midway(), "Midway", "KeyError: 'no such key'", error=iso.TraceError)


# -- names and laws ----------------------------------------------------------------------------


@pytest.mark.parametrize("argument", ["include", "exclude", "overrides"])
def test_a_pattern_that_matches_nothing(argument: str) -> None:
    """Also beside one that matches."""
    for patterns in (["head.*"], ["0.weight", "head.*"]):
        value = dict.fromkeys(patterns, iso.Normal(0.1)) if argument == "overrides" else patterns
        refused(
            net(), "the pattern 'head.*' matches no parameter of Sequential", "print(plan)",
            "0.weight", error=iso.PlanError, **{argument: value},
        )  # fmt: skip


def test_a_pattern_that_is_no_text() -> None:
    for argument in ("include", "exclude"):
        for value in (3, [3], ["0.weight", None]):
            refused(
                net(),
                "the pattern",
                "expected text",
                "'blocks.*'",
                error=iso.ArgumentError,
                **{argument: value},
            )


@pytest.mark.parametrize("law", ["he_normal", 0.02, None, iso.Normal], ids=repr)
def test_an_override_that_is_no_law(law: Any) -> None:
    refused(
        net(), "the override of '0.*'", repr(law), "iso.Normal(std=0.02)", error=iso.ArgumentError,
        overrides={"0.*": law},
    )  # fmt: skip


def test_overrides_that_are_no_mapping() -> None:
    refused(
        net(), "overrides is list", "a dict of pattern -> law", error=iso.ArgumentError,
        overrides=[iso.Normal(0.1)],
    )  # fmt: skip


@pytest.mark.parametrize(
    ("pattern", "law", "words"),
    [
        ("*.bias", iso.Orthogonal(), ("(16,)", "two or more")),
        ("0.weight", iso.Dirac(), ("(16, 8)", "Identity(gain)")),
    ],
    ids=["orthogonal bias", "dirac matrix"],
)
def test_a_law_that_does_not_fit_its_tensor(
    pattern: str, law: iso.Law, words: tuple[str, ...]
) -> None:
    """Refused before the parameters that come first are written."""
    refused(net(), *words, error=iso.ArgumentError, overrides={pattern: law})


def test_a_law_that_its_dtype_cannot_hold() -> None:
    refused(
        net().half(), "float16", "6.55e+04", error=iso.ArgumentError, inputs=X.half(),
        overrides={"3.weight": iso.Constant(1e9)},
    )  # fmt: skip


class OwnRecipe:
    """A recipe whose law for one weight is worked out from a gain."""

    name, purpose, source = "mine", "", ""

    def __init__(self, gain: float) -> None:
        self.gain = gain

    def decide(self, site: Any) -> Any:
        from isometry.recipe import Choice

        gain = self.gain if site.usage.leaf.name == "3.weight" else 1.0
        return Choice(iso.Normal(gain / 4), "mine", "for a test")


@pytest.mark.parametrize("gain", [float("nan"), float("inf"), 1e300, 0.0, -1.0])
def test_a_gain_that_gives_no_law(gain: float) -> None:
    refused(net(), "std", repr(gain / 4), error=iso.ArgumentError, recipe=OwnRecipe(gain))


def test_an_activation_without_a_gain() -> None:
    for function in (lambda z: z * float("nan"), lambda z: np.exp(z * z)):
        refused(None, "is not finite", error=iso.ArgumentError, call=lambda f=function: iso.gain(f))


def test_a_recipe_that_answers_with_no_choice() -> None:
    class Silent:
        name, purpose, source = "silent", "", ""

        def decide(self, site: Any) -> None:
            return None

    refused(
        net(), "recipe 'silent' answered None for 0.weight", "Choice(law, scheme, reason)",
        error=iso.ArgumentError, recipe=Silent(),
    )  # fmt: skip


@pytest.mark.parametrize(
    ("recipe", "words"),
    [
        ("atuo", ("'atuo' is not one of", "did you mean 'auto'?")),
        ("lecunn", ("did you mean 'lecun'?",)),
        ("zzz", ("'zzz' is not one of", *iso.recipes())),
        (3, ("recipe is int", "decide(site)")),
        (None, ("recipe is NoneType", "decide(site)")),
    ],
)
def test_an_unknown_recipe(recipe: Any, words: tuple[str, ...]) -> None:
    refused(net(), *words, error=iso.ArgumentError, recipe=recipe)


@pytest.mark.parametrize("call", [iso.plan, iso.initialize, iso.check])
@pytest.mark.parametrize("loss", ["cross_entrpy", 3])
def test_an_unknown_loss(call: Callable[..., Any], loss: Any) -> None:
    model = net()
    refused(
        model, f"loss={loss!r}", "'cross_entropy'", "loss(output, target)", error=iso.ArgumentError,
        call=lambda: call(model, X, loss=loss),
    )  # fmt: skip


# -- seeds and plans ---------------------------------------------------------------------------


@pytest.mark.parametrize("seed", ["0", True, None, -1, 2**64, 1.0, np.True_, [0]], ids=repr)
def test_a_seed_that_is_none(seed: Any) -> None:
    words = (f"seed={seed!r}", "an integer in [0, 2**64)", "seed=0")
    model = net()
    refused(model, *words, error=iso.ArgumentError, seed=seed)
    plan = iso.plan(model, X)
    refused(model, *words, error=iso.ArgumentError, call=lambda: plan.apply(model, seed=seed))


@pytest.mark.parametrize("seed", [0, 2**64 - 1, np.int64(3), np.uint64(2**63)], ids=repr)
def test_seeds_that_are_integers(seed: Any) -> None:
    model = net()
    iso.initialize(model, X, seed=seed)
    again = net()
    iso.initialize(again, X, seed=int(seed))
    assert torch.equal(model[0].weight, again[0].weight)


def test_a_plan_of_another_model() -> None:
    plan = iso.plan(net(), X)
    wider = nn.Sequential(nn.Linear(8, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Linear(16, 5))
    refused(
        wider, "3.weight has shape (5, 16)", "the plan says (4, 16)", "iso.plan",
        error=iso.PlanError, call=lambda: plan.apply(wider),
    )  # fmt: skip
    longer = nn.Sequential(*net(), nn.Linear(4, 4))
    refused(
        longer, "'4.weight' is not in the plan", "2 names differ", error=iso.PlanError,
        call=lambda: plan.apply(longer),
    )  # fmt: skip
    shorter = net()[:3]
    refused(
        shorter, "the plan has '3.weight', the model has not", error=iso.PlanError,
        call=lambda: plan.apply(shorter),
    )  # fmt: skip
    refused(
        nn.Linear, "the class Linear", error=iso.ArgumentError, call=lambda: plan.apply(nn.Linear)
    )


def test_a_dry_run_writes_nothing() -> None:
    model = net()
    before = state(model)
    plan = iso.initialize(model, X, dry_run=True)
    assert state(model) == before
    assert len(plan) == 9


def test_the_comparison_sees_one_write() -> None:
    """What every test above relies on."""
    model = net()
    before = state(model)
    with torch.no_grad():
        model[3].bias.add_(0.0)
    assert state(model) != before
    assert state(copy.deepcopy(model)) != before
