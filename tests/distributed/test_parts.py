"""A stage of a pipeline, some of the experts: the parts of ranks together are the whole, to the bit."""

from __future__ import annotations

from typing import Any

import pytest

from .ranks import Ranks
from .scenarios import fill, parts


def whole(ranks: Ranks, network: str) -> dict[str, str]:
    tensors: dict[str, str] = ranks.alone(fill.whole, network=network)["state"]["tensors"]
    return tensors


def assert_together(answers: list[dict[str, Any]], expected: dict[str, str]) -> None:
    """Each name is on some rank, and has the whole's values on every rank that has it."""
    together: dict[str, str] = {}
    for rank, answer in enumerate(answers):
        got = answer["state"]["tensors"]
        assert {n: v for n, v in got.items() if expected[n] != v} == {}, f"rank {rank}"
        assert len(got) < len(expected)
        together |= got
    assert together == expected


@pytest.mark.parametrize("inner", [1, 2])
def test_pipeline(ranks: Ranks, inner: int) -> None:
    answers = ranks(2 * inner, parts.stages, inner=inner)
    assert_together(answers, whole(ranks, "decoder"))
    assert {(a["seen"], a["sent"]) for a in answers} == {(1, 1)}


@pytest.mark.parametrize("network", ["llama", "resnet"])
def test_pipeline_with_other_names(ranks: Ranks, network: str) -> None:
    assert_together(ranks(2, parts.renamed, network=network), whole(ranks, network))


def test_a_tie_between_stages(ranks: Ranks) -> None:
    """The one tensor that two stages do have: each its own, with the same values."""
    expected = whole(ranks, "tied llama")
    first, last = (answer["state"]["tensors"] for answer in ranks(2, parts.tied))
    assert first["model.embed_tokens.weight"] == last["lm_head.weight"]
    assert (first | last).items() == {
        n: v for n, v in expected.items() if "rotary" not in n
    }.items()


def test_a_prefix_for_all(ranks: Ranks) -> None:
    expected = whole(ranks, "decoder")
    blocks = {n: v for n, v in expected.items() if n.startswith("layers.")}
    assert_together(ranks(2, parts.prefixed), blocks)


def test_experts_in_a_list(ranks: Ranks) -> None:
    answers = ranks(2, parts.experts, own=[[0, 1], [2, 3]])
    assert_together(answers, whole(ranks, "mixture"))
    assert {(a["seen"], a["sent"]) for a in answers} == {(1, 1)}


def test_experts_unevenly(ranks: Ranks) -> None:
    """Three ranks hold three, one and no experts of four."""
    answers = ranks(3, parts.experts, own=[[0, 1, 3], [2], []])
    assert_together(answers, whole(ranks, "mixture"))


def test_experts_in_stages(ranks: Ranks) -> None:
    """Ranks of one stage that have different experts are one stage."""
    assert_together(ranks(4, parts.stages_of_experts), whole(ranks, "mixture"))


def test_experts_stacked(ranks: Ranks) -> None:
    """Three experts in one tensor, over two ranks and over four."""
    expected = ranks.alone(fill.whole, network="mixtral")["state"]
    for size in (2, 4):
        for answer in ranks(size, fill.initialised, network="mixtral", how="EP"):
            assert answer["state"] == expected
            assert answer["seen"] == answer["sent"] == 1
