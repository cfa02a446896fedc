"""A plan as a table: every decision is in one row, and nothing is folded that differs."""

import itertools
import re
from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from isometry.report import plan_table
from isometry.types import (
    Block,
    Constant,
    Decision,
    Keep,
    Normal,
    Plan,
    Prediction,
    TruncatedNormal,
)

WEIGHT = Decision(
    "w", (), "parameter", (768, 768), "float32", "linear", None, None, "lecun_normal", 1.0,
    Normal(0.036), (), "reads a norm's output", "LeCun 1998",
)  # fmt: skip


def named(name: str, std: float = 0.036) -> Decision:
    return replace(WEIGHT, name=name, law=Normal(std))


def plan(*decisions: Decision) -> Plan:
    return Plan("GPT", "auto", decisions)


def expanded(folded: str) -> set[str]:
    """All the names that a folded one stands for, by reading the braces as a person would."""
    choices = []
    for part in folded.split("."):
        if not part.startswith("{"):
            choices.append([part])
            continue
        numbers: list[int] = []
        for run in part.strip("{}").split(","):
            first, last, step = re.fullmatch(r"(\d+)(?:-(\d+))?(?::(\d+))?", run).groups()  # type: ignore[union-attr]
            numbers += range(int(first), int(last or first) + 1, int(step or 1))
        choices.append([str(n) for n in numbers])
    return {".".join(parts) for parts in itertools.product(*choices)}


def test_blocks_are_one_row() -> None:
    blocks = [named(f"h.{i}.attn.{m}.weight") for i in range(12) for m in ("q", "k")]
    assert [name for name, _ in plan_table.fold(plan(*blocks))] == [
        "h.{0-11}.attn.q.weight",
        "h.{0-11}.attn.k.weight",
    ]


def test_what_differs_stays_apart() -> None:
    laws = [named("h.0.w"), named("h.1.w", std=0.02), named("h.2.w")]
    assert [name for name, _ in plan_table.fold(plan(*laws))] == ["h.{0,2}.w", "h.1.w"]


names = st.lists(st.sampled_from(["a", "b", "0", "1", "2", "5"]), min_size=1, max_size=4)


@given(st.dictionaries(names.map(".".join), st.sampled_from([0.02, 0.5]), max_size=40))
def test_folding_loses_nothing(stds: dict[str, float]) -> None:
    decisions = [named(name, std) for name, std in stds.items()]
    seen: dict[str, float] = {}
    for folded, decision in plan_table.fold(plan(*decisions)):
        for name in expanded(folded):
            assert name not in seen
            seen[name] = decision.law.variance**0.5
    assert seen == stds


def test_a_row_says_shape_scheme_law_gain_and_reason() -> None:
    text = plan_table.render(plan(named("h.0.w"), named("h.1.w")))
    assert text.splitlines()[0] == "GPT: recipe 'auto', 2 tensors"
    (row,) = [line for line in text.splitlines() if "h.{0,1}.w" in line]
    assert row.split()[1:] == "768x768 lecun_normal normal 0.036 1 reads a norm's output".split()


def test_laws_are_named_by_their_std() -> None:
    fused = replace(
        WEIGHT,
        name="qkv",
        blocks=(
            Block("q", 0, 0, 256, Normal(0.1)),
            Block("k", 0, 256, 512, Normal(0.1)),
            Block("v", 0, 512, 768, TruncatedNormal(0.2)),
        ),
    )
    kept = replace(WEIGHT, name="table", law=Keep(), gain=None)
    zero = replace(WEIGHT, name="bias", law=Constant(0.0), gain=None)
    text = plan_table.render(plan(fused, kept, zero))
    for said in ("q k normal 0.1", "v truncated 0.2", "as it is"):
        assert said in text
    assert re.search(r"bias +768x768 +lecun_normal +0 ", text)


def test_long_names_break_at_a_dot_and_lines_fit() -> None:
    long = "transformer.encoder.layers.7.self_attention.query_key_value.weight"
    text = plan_table.render(plan(named(long)), width=100)
    assert max(map(len, text.splitlines())) <= 100
    pieces = [line.split()[0] for line in text.splitlines()[4:] if line.strip()]
    assert pieces[0].endswith(".")
    column = "".join(p for p in pieces if p in long)
    assert column == long


def test_what_is_expected_of_folded_layers_is_told_from_the_first_to_the_last() -> None:
    layers = [named(f"h.{i}.w") for i in range(3)]
    expected = (
        Prediction("h.0.w", 1.0, 0.0, 1e-3),
        Prediction("h.1.w", 4.0, 0.5, 0.1),
        Prediction("h.2.w", 17.7, None, 1.0),
    )
    text = plan_table.render(replace(plan(*layers), predictions=expected), width=100)
    (row,) = [line for line in text.splitlines() if "17.7" in line]
    assert row.split() == ["h.{0-2}.w", "1", "…", "17.7", "0", "…", "–", "0.001", "…", "1"]
    assert "expects" not in plan_table.render(plan(*layers), width=100)


def test_a_printed_plan_says_what_is_expected() -> None:
    expected = (Prediction("h.0.w", 1.0, 0.25, 1e-3),)
    assert "q 1, c 0.25, grad² 0.001" in str(replace(plan(named("h.0.w")), predictions=expected))
