"""Ranks that do not agree: an error on every one of them that says what to do, and nothing written."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from .ranks import Ranks
from .scenarios import fill, refuse


def assert_refused(answers: list[dict[str, Any]], *words: str) -> None:
    """Each rank was told, in words that are these; no rank wrote."""
    for rank, answer in enumerate(answers):
        assert answer["kind"] is not None, f"rank {rank} was not told"
        assert answer["unchanged"], f"rank {rank} wrote"
        for word in words:
            assert word in answer["message"], f"rank {rank}: {answer['message']}"


# What the last of the ranks does otherwise -> what every rank is told of it.
PLANS = {
    "seed": ("rank 3", "seed 7", "seed 8"),
    "recipe": ("rank 3", "to_json"),
    "override": ("rank 3", "to_json"),
    "include": ("rank 3", "layers.*"),
    "exclude": ("rank 3", "output.weight"),
}


@pytest.mark.parametrize("how", ["FSDP", "FSDP x TP"])
@pytest.mark.parametrize("otherwise", list(PLANS))
def test_a_rank_with_another_plan(ranks: Ranks, how: str, otherwise: str) -> None:
    answers = ranks(4, refuse.one_differs, how=how, build="torch.device", otherwise=otherwise)
    assert_refused(answers, "nothing was written", *PLANS[otherwise])
    assert {a["kind"] for a in answers} == {"DisagreementError"}
    expected = ranks.alone(fill.whole, network="decoder")["state"]
    assert all(answer["state"] == expected for answer in answers)  # they were still in step


@pytest.mark.parametrize(
    "otherwise", ["no such seed", "no such recipe", "bad inputs", "no batch", "seed"]
)
def test_a_rank_that_fails_before_the_weights_are_gathered(ranks: Ranks, otherwise: str) -> None:
    """To calibrate, the ranks gather the model: one that does not come would be waited for."""
    given = {"how": "FSDP", "build": "values", "otherwise": otherwise, "calibrate": True}
    answers = ranks(2, refuse.one_differs, **given)
    assert_refused(answers)
    assert answers[0]["kind"] == "DisagreementError"
    assert ("seed 8" if otherwise == "seed" else "rank 1 failed") in answers[0]["message"]


FAILS = {
    "no such pattern": ("heads.*", "PlanError"),
    "no such seed": ("seed", "ArgumentError"),
    "no pattern": ("pattern", "ArgumentError"),
    "no such recipe": ("magic", "ArgumentError"),
    "bad inputs": ("inputs", "TraceError"),
    "no inputs": ("inputs", "TraceError"),
    "loss": ("loss", "ArgumentError"),
}


@pytest.mark.parametrize("build", ["torch.device", "values"])
@pytest.mark.parametrize("otherwise", list(FAILS))
def test_a_rank_that_fails(ranks: Ranks, build: str, otherwise: str) -> None:
    """It raises its own error; the others are told whose and which, and nobody waits."""
    word, kind = FAILS[otherwise]
    answers = ranks(2, refuse.one_differs, how="FSDP", build=build, otherwise=otherwise)
    assert_refused(answers, word)
    assert [a["kind"] for a in answers] == ["DisagreementError", kind]
    assert "rank 1" in answers[0]["message"]
    expected = ranks.alone(fill.whole, network="decoder")["state"]
    assert all(answer["state"] == expected for answer in answers)


def test_a_rank_with_another_model(ranks: Ranks) -> None:
    answers = ranks(2, refuse.another_shape)
    assert_refused(answers, "layers.1")
    assert [a["kind"] for a in answers] == ["DisagreementError", "PlanError"]


@pytest.mark.parametrize("what", ["shape", "dtype"])
def test_a_rank_with_other_shapes(ranks: Ranks, what: str) -> None:
    assert_refused(ranks(2, refuse.other_sizes, what=what), "rank 1")


def test_two_models_at_once(ranks: Ranks) -> None:
    assert [a["kind"] for a in ranks(4, refuse.two_models, agree=True)] == [None] * 4
    answers = ranks(4, refuse.two_models, agree=False)
    assert_refused(answers[:2], "seed 0", "seed 1")
    assert_refused(answers[2:], "seed 2", "seed 3")


@pytest.mark.parametrize("by", ["its own names", "a mapping"])
def test_a_stage_that_nobody_has(ranks: Ranks, by: str) -> None:
    assert_refused(ranks(2, refuse.stages_claim, claims=[0, 0], by=by), "no rank has", "layers.1")


def test_a_name_in_two_stages(ranks: Ranks) -> None:
    assert_refused(
        ranks(2, refuse.overlapping_stages), "layers.0", "two stages", "ranks 0, 1", "verify=False"
    )


def test_a_stage_of_another_name(ranks: Ranks) -> None:
    assert_refused(ranks(2, refuse.wrong_mapping), "blocks.9")


def test_an_expert_that_nobody_has(ranks: Ranks) -> None:
    assert_refused(ranks(2, refuse.experts_missing), "no rank has", "experts.3")


def test_a_partial_sum(ranks: Ranks) -> None:
    assert_refused(ranks(2, refuse.partial), "output.weight", "Partial", "redistribute")


@pytest.mark.parametrize("build", ["torch.device", "values"])
@pytest.mark.parametrize("members", [0, 1, 2])
def test_a_world_that_changed(ranks: Ranks, build: str, members: int, tmp_path: Path) -> None:
    answers = ranks(
        4, refuse.world_changed, how="FSDP", build=build, members=members, room=str(tmp_path)
    )
    for way in ("initialize", "apply"):
        assert_refused([answer[way] for answer in answers], "world has changed", "4 processes")


def test_a_rank_that_never_comes(ranks: Ranks, tmp_path: Path) -> None:
    *waited, _ = ranks(3, refuse.one_never_comes, room=str(tmp_path))
    assert_refused(waited, "not every rank", "verify=False")


@pytest.mark.parametrize("use_orig_params", [True, False])
def test_flat_parameters(ranks: Ranks, use_orig_params: bool) -> None:
    answers = ranks(2, refuse.flattened, use_orig_params=use_orig_params)
    assert_refused(answers, "summon_full_params(model)", "iso.initialize(model", "fully_shard")
    expected = ranks.alone(fill.whole, network="decoder")["state"]["tensors"]
    for answer in answers:
        assert answer["tensors"] == expected
        assert answer["finite"]


def test_emptied_parameters(ranks: Ranks) -> None:
    assert_refused([ranks.alone(refuse.emptied)], "DeepSpeed", "GatheredParameters", "0 elements")


def test_replicas_that_differ(ranks: Ranks) -> None:
    answers = ranks(2, refuse.replicas_differ)
    assert_refused(answers, "seed 0", "seed 1")
    expected = ranks.alone(fill.whole, network="decoder")["state"]["tensors"]
    assert all(answer["tensors"] == expected for answer in answers)
