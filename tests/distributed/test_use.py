"""A model that was initialised in parts trains, is checked, is saved and loaded like any other."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest

from .networks import HIDDEN, VOCABULARY, WIDTH
from .ranks import Ranks
from .scenarios import fill, use

# Sums of n float32 in another order differ by n * 2^-24 of their size at most; here the longest
# chain goes through the two blocks, the head and the loss, there and back, for three steps.
TOLERANCE = 3 * 2 * (4 * WIDTH + 2 * HIDDEN + VOCABULARY) * 2**-24


@pytest.mark.parametrize(
    ("network", "how", "size", "cut"),
    [
        ("decoder", "FSDP", 1, 1), ("decoder", "FSDP", 2, 2), ("decoder", "FSDP", 4, 4),
        ("decoder", "TP", 2, 1), ("decoder", "FSDP x TP", 4, 2),
        ("tied llama", "FSDP", 4, 4), ("llama", "FSDP x TP", 4, 2), ("mixtral", "FSDP", 2, 2),
        ("gpt2", "FSDP", 2, 2),
    ],
)  # fmt: skip
def test_training(ranks: Ranks, network: str, how: str, size: int, cut: int) -> None:
    expected = ranks.alone(use.trained, network=network, how="replicas")
    assert all(map(math.isfinite, expected["losses"]))
    assert expected["losses"][-1] < expected["losses"][0]
    for answer in ranks(size, use.trained, network=network, how=how, cut=cut):
        assert answer["losses"] == pytest.approx(expected["losses"], rel=TOLERANCE)
        assert answer["still"] == expected["still"] == []
        assert answer["other"] == []
        assert answer["again"] == answer["losses"][0]


@pytest.mark.parametrize("options", list(fill.OPTIONS))
def test_training_under_a_policy(ranks: Ranks, options: str) -> None:
    expected = ranks.alone(use.trained, network="llama", how="replicas")
    for answer in ranks(2, use.trained, network="llama", how="FSDP", cut=2, options=options):
        # bfloat16 keeps 8 bits of each number; of a loss, a mean of many, more are right
        near = 2**-8 if options == "mixed precision" else TOLERANCE
        assert answer["losses"] == pytest.approx(expected["losses"], rel=near)
        assert answer["still"] == []
        assert answer["other"] == []
        assert answer["again"] == answer["losses"][0]


def test_a_pipeline_runs(ranks: Ranks) -> None:
    expected = ranks.alone(use.trained, network="decoder", how="replicas")["losses"][0]
    first, last = ranks(2, use.piped)
    assert last["loss"] == pytest.approx(expected, rel=TOLERANCE)
    assert first["gradients"]
    assert last["gradients"]


@pytest.mark.parametrize(
    ("network", "how", "size"),
    [
        ("decoder", "FSDP", 2), ("decoder", "TP", 2), ("decoder", "FSDP x TP", 4),
        ("tied llama", "FSDP", 4), ("gpt2", "mixed", 4), ("resnet", "FSDP", 4),
    ],
)  # fmt: skip
@pytest.mark.parametrize("faulty", [False, True])
def test_check(ranks: Ranks, network: str, how: str, size: int, faulty: bool) -> None:
    """The verdict of a sharded model is that of the whole one, on every rank; nothing changes."""
    expected = ranks.alone(use.checked, network=network, how="replicas", faulty=faulty)
    assert expected["ok"] is not faulty
    for answer in ranks(size, use.checked, network=network, how=how, faulty=faulty):
        assert answer["ok"] == expected["ok"]
        assert answer["findings"] == expected["findings"]
        assert answer["unchanged"]
        more = [n for n in answer["not_checked"] if n not in expected["not_checked"]]
        assert len(more) == 1
        assert "gathered" in more[0]


@pytest.mark.parametrize("network", ["tied llama", "resnet"])
def test_saved_on_four_loaded_on_two(ranks: Ranks, network: str, tmp_path: Path) -> None:
    expected = ranks.alone(fill.whole, network=network)["state"]
    given: dict[str, Any] = {"network": network, "how": "FSDP"}
    assert ranks(4, use.saved, to=str(tmp_path), **given) == [expected] * 4
    for answer in ranks(2, use.loaded, source=str(tmp_path), **given):
        assert answer["before"] != expected
        assert answer["after"] == expected
    assert ranks(2, fill.initialised, **given)[0]["state"] == expected


def test_saved_on_a_mesh_loaded_on_another(ranks: Ranks, tmp_path: Path) -> None:
    expected = ranks.alone(fill.whole, network="decoder")["state"]
    ranks(4, use.saved, network="decoder", how="FSDP x TP", to=str(tmp_path))
    for answer in ranks(2, use.loaded, network="decoder", how="TP", source=str(tmp_path)):
        assert answer["after"] == expected


@pytest.mark.parametrize("network", ["mixtral", "resnet"])
def test_a_manifest_of_a_sharded_model(ranks: Ranks, network: str) -> None:
    expected = ranks.alone(use.recorded, network=network, how="replicas")
    assert all(expected.values())
    for how in ("FSDP", "checkpointed"):
        assert ranks(2, use.recorded, network=network, how=how) == [expected] * 2
