"""One seed, one model, whatever the world: sharded and filled equals filled on one process, to the bit."""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest

import isometry as iso

from .ranks import Ranks
from .scenarios import fill

WORLDS = (1, 2, 4)
FAMILIES = ("gpt2", "llama", "mixtral", "resnet", "decoder")


@pytest.fixture(scope="session")
def whole(ranks: Ranks) -> Any:
    """`whole(network="gpt2")`: what a single process makes of a network that was never on meta."""

    return partial(ranks.alone, fill.whole)


def assert_equal(answers: list[dict[str, Any]], expected: dict[str, Any]) -> None:
    for rank, answer in enumerate(answers):
        got, want = answer["state"]["tensors"], expected["state"]["tensors"]
        assert got.keys() == want.keys()
        assert {n: got[n] for n in got if got[n] != want[n]} == {}, f"rank {rank}"
        assert answer["state"]["ties"] == expected["state"]["ties"], f"rank {rank}"
        assert answer.get("moved", {}) == {}, f"rank {rank}"
        assert answer.get("digest", expected["digest"]) == expected["digest"]


def assert_quiet(answers: list[dict[str, Any]], size: int, most: int = 1) -> None:
    """One collective compares the plans, none on a rank that is alone; no other runs."""
    for answer in answers:
        assert answer["seen"] == answer["sent"] == (most if size > 1 else 0)


@pytest.mark.parametrize("size", WORLDS)
@pytest.mark.parametrize("network", [*FAMILIES, "tied llama"])
def test_fsdp(ranks: Ranks, whole: Any, network: str, size: int) -> None:
    answers = ranks(size, fill.initialised, network=network, how="FSDP")
    assert_equal(answers, whole(network=network))
    assert_quiet(answers, size)


@pytest.mark.parametrize("network", FAMILIES)
@pytest.mark.parametrize(
    ("how", "size"), [("TP", 2), ("FSDP x TP", 4), ("mixed", 4), ("interleaved", 4)]
)
def test_tensor_parallel(ranks: Ranks, whole: Any, network: str, how: str, size: int) -> None:
    answers = ranks(size, fill.initialised, network=network, how=how)
    assert_equal(answers, whole(network=network))
    assert_quiet(answers, size)


@pytest.mark.parametrize(("build", "most"), [("it.meta", 1), ("values", 2)])
def test_transformers_own_tensor_parallelism(
    ranks: Ranks, whole: Any, build: str, most: int
) -> None:
    given = {"network": "llama", "how": "transformers' TP", "build": build}
    answers = ranks(2, fill.initialised, **given)
    assert_equal(answers, whole(network="llama"))
    assert_quiet(answers, 2, most)


@pytest.mark.parametrize("network", ["tied llama", "resnet"])
def test_hybrid(ranks: Ranks, whole: Any, network: str) -> None:
    answers = ranks(4, fill.initialised, network=network, how="HSDP")
    assert_equal(answers, whole(network=network))
    assert_quiet(answers, 4)


@pytest.mark.parametrize("how", ["FSDP", "TP"])
@pytest.mark.parametrize(("build", "most"), [("it.meta", 1), ("values", 2)])
def test_however_it_was_built(ranks: Ranks, whole: Any, how: str, build: str, most: int) -> None:
    """With values one more collective finds out which tensors are constant, as a whole."""
    for network in ("llama", "resnet"):
        answers = ranks(2, fill.initialised, network=network, how=how, build=build)
        assert_equal(answers, whole(network=network))
        assert_quiet(answers, 2, most)


@pytest.mark.parametrize(("how", "size"), [("FSDP", 4), ("TP", 2), ("FSDP x TP", 4), ("mixed", 4)])
@pytest.mark.parametrize("build", ["it.meta", "values"])
def test_what_was_set_on_purpose(ranks: Ranks, whole: Any, how: str, size: int, build: str) -> None:
    """A small scale, rates of decay, a zeroed end: kept, whichever rank has which part of them."""
    expected = whole(network="scaled")
    for kept in ("scale", "rate"):
        assert iso.Plan.from_json(expected["plan"])[f"layers.0.feed_forward.{kept}"].keeps
    assert_equal(ranks(size, fill.initialised, network="scaled", how=how, build=build), expected)


def test_set_on_purpose_where_a_rank_has_nothing(ranks: Ranks, whole: Any) -> None:
    expected = whole(network="thin")
    assert iso.Plan.from_json(expected["plan"])["w2.weight"].law in (iso.Keep(), iso.Constant(0.0))
    for build in ("it.meta", "values"):
        answers = ranks(4, fill.initialised, network="thin", how="FSDP", build=build)
        assert_equal(answers, expected)


def test_activation_checkpointing(ranks: Ranks, whole: Any) -> None:
    """The wrapper around each block is part of no name."""
    for network in ("llama", "decoder"):
        answers = ranks(2, fill.initialised, network=network, how="checkpointed")
        for answer in answers:
            tensors = answer["state"]["tensors"]
            plain = {n.replace("_checkpoint_wrapped_module.", ""): v for n, v in tensors.items()}
            assert plain.keys() != tensors.keys()
            answer["state"]["tensors"] = plain
        assert_equal(answers, whole(network=network))


def test_calibrated(ranks: Ranks, whole: Any) -> None:
    """The factors are measured on the whole model, and are part of the plan."""
    expected = whole(network="llama", calibrate=True)
    assert expected["digest"] != whole(network="llama")["digest"]
    for how, build in (("FSDP", "torch.device"), ("TP", "values")):
        answers = ranks(2, fill.initialised, network="llama", how=how, build=build, calibrate=True)
        assert_equal(answers, expected)


@pytest.mark.parametrize("how", ["FSDP", "TP"])
def test_planned_before_to_empty(ranks: Ranks, whole: Any, how: str) -> None:
    """What `to_empty` gives is whatever lay in memory, so that the plan has to be older."""
    expected = whole(network="decoder")
    given = {"network": "decoder", "how": how, "plan": expected["plan"]}
    assert_equal(ranks(2, fill.received, to_empty=True, **given), expected)


@pytest.mark.parametrize("options", list(fill.OPTIONS))
def test_policies_of_fsdp(ranks: Ranks, whole: Any, options: str) -> None:
    answers = ranks(2, fill.initialised, network="llama", how="FSDP", options=options)
    assert_equal(answers, whole(network="llama"))


@pytest.mark.parametrize("how", ["FSDP", "mixed"])
def test_bfloat16(ranks: Ranks, whole: Any, how: str) -> None:
    answers = ranks(4, fill.initialised, network="llama", how=how, dtype="bfloat16")
    assert_equal(answers, whole(network="llama", dtype="bfloat16"))


@pytest.mark.parametrize(
    ("network", "overrides"), [("decoder", "orthogonal"), ("resnet", "convolutions")]
)
@pytest.mark.parametrize("how", ["FSDP", "mixed"])
def test_orthogonal_laws(ranks: Ranks, whole: Any, network: str, overrides: str, how: str) -> None:
    """Small matrices are made whole and cut: on one machine the same to the bit."""
    answers = ranks(4, fill.initialised, network=network, how=how, overrides=overrides)
    assert_equal(answers, whole(network=network, overrides=overrides))


@pytest.mark.parametrize(("how", "size"), [("FSDP", 4), ("TP", 2), ("FSDP x TP", 4)])
def test_a_plan_received_as_json(ranks: Ranks, whole: Any, how: str, size: int) -> None:
    for network in ("tied llama", "resnet"):
        expected = whole(network=network)
        answers = ranks(size, fill.received, network=network, how=how, plan=expected["plan"])
        assert_equal(answers, expected)
        assert_quiet(answers, size)


def test_no_collective_unverified(ranks: Ranks, whole: Any) -> None:
    answers = ranks(2, fill.initialised, network="llama", how="FSDP", verify=False)
    assert_equal(answers, whole(network="llama"))
    assert_quiet(answers, 2, most=0)


def test_verified_where_asked(ranks: Ranks, whole: Any) -> None:
    """A model that every rank has whole, as a replica: nobody else knows that they belong together."""
    for verify, most in ((True, 1), (None, 0)):
        answers = ranks(2, fill.initialised, network="llama", how="replicas", verify=verify)
        assert_equal(answers, whole(network="llama"))
        assert_quiet(answers, 2, most)


@pytest.mark.parametrize("how", ["FSDP", "FSDP x TP"])
def test_include_and_exclude(ranks: Ranks, how: str) -> None:
    """What is left out stays as it was, to the bit; the rest is what the whole model has there."""
    given = {"network": "decoder", "pattern": "layers.0.attention", "exclude": "*.w[ov].weight"}
    alone = ranks.alone(fill.partly, how="replicas", **given)
    assert alone["changed"] == [f"layers.0.attention.{w}.weight" for w in ("wq", "wk")]
    assert ranks(4, fill.partly, how=how, **given) == [alone] * 4
