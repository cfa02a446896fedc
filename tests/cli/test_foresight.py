"""`isometry plan TARGET --mesh`: what it prints, saves, refuses, and the status it leaves with."""

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import isometry as iso
from isometry.foresight import Foresight, Proof, Row, Span, Speed, StageForesight
from isometry.report import foresight_table
from isometry.stream import _numpy

from .conftest import Typed


def test_plan_on_a_mesh_says_what_each_rank_holds(nets: str, run: Typed) -> None:
    done = run("plan", f"{nets}:deep", "-i", "64x64", "--mesh", "dp=3,tp=2,pp=4")
    assert done.status == 0
    assert done.out.startswith("Sequential on 24 ranks: dp=3,tp=2,pp=4\n")
    assert "a model that talks" not in done.out
    assert re.search(
        r"^ +0  \{0-10\} +6 +3.90 … 4.29 k +15.6 … 17.2 kB +< 1 ms", done.out, re.M
    )  # 0, 2, ... 10
    assert "*.weight   x 20  64x64  tp 0, dp 0     11x64" in done.out
    assert "cut as the graph has it, since the model has no plan" in done.out
    assert "note: pp=4 does not divide 21 blocks: 1 stage of 6, 3 stages of 5" in done.out
    assert "proved: 32 shards of" in done.out
    assert "numbers equal to the bit" in done.out
    assert "\x1b" not in done.out
    assert all(len(line) <= 100 for line in done.out.splitlines())


def test_a_model_is_built_without_memory(tmp_path: Path) -> None:
    """70 B parameters, in a process that is not allowed 4 GB."""
    (tmp_path / "large.py").write_text(
        "import resource\n"
        "resource.setrlimit(resource.RLIMIT_DATA, (4 << 30, 4 << 30))\n"
        "from torch import nn\n"
        "def make():\n"
        "    return nn.Sequential(*[nn.Linear(2**14, 2**14) for _ in range(260)])\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", "from isometry.cli import main; main()", "plan", "large.py:make", "-i", "2x16384",
         "--mesh", "replicate=2,dp=64,tp=8", "--dtype", "bf16"],
        capture_output=True, text=True, timeout=300, check=False, cwd=tmp_path,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "69.8 B parameters in bfloat16, 140 GB with buffers" in done.stdout


def test_a_matrix_that_is_too_narrow_stays_whole(nets: str, run: Typed) -> None:
    """Where nobody has said how the model is cut; it is 64 wide, and its head 10."""
    done = run("plan", f"{nets}:shallow", "--mesh", "tp=32")
    assert done.status == 0
    assert "note: with fewer positions than tp=32, and so whole: 2.weight and 1 more" in done.out


def test_the_plan_that_is_saved_is_the_models(nets: str, tmp_path: Path, run: Typed) -> None:
    for name, more in (("a", ()), ("b", ("--mesh", "dp=4"))):
        done = run("plan", f"{nets}:shallow", "--json", f"{tmp_path}/{name}.json", *more)
        assert done.status == 0
    assert iso.Plan.load(tmp_path / "a.json") == iso.Plan.load(tmp_path / "b.json")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--mesh", "dp=4,cp=2"), "the mesh 'dp=4,cp=2' has 'cp': expected one of dp"),
        (("--mesh", "tp=65"), "tp=65 cuts a matrix, and Sequential has none with more than 64"),
        (
            ("--mesh", "pp=3"),
            "pp=3, and Sequential has 2 numbered blocks ({0-2}): a stage needs one",
        ),
        (("--mesh", "ep=2"), "ep=2 cuts a stack of experts, and Sequential has none"),
        (("--mesh", "dp=2", "--dtype", "int7"), "int7"),
        (("--dtype", "bf16"), "--dtype bf16 without --mesh"),
    ],
)
def test_what_cannot_be_foreseen(
    nets: str, run: Typed, tmp_path: Path, arguments: tuple[str, ...], message: str
) -> None:
    done = run("plan", f"{nets}:shallow", "--json", f"{tmp_path}/p.json", *arguments)
    assert (done.status, done.out) == (2, "")
    assert message in done.err
    assert not (tmp_path / "p.json").exists()


def seen(proof: Proof | None) -> Foresight:
    stage = StageForesight(
        ("blocks.{0-3}",), 2, Span(10, 12), Span(40, 48), Span(0.1, 125.0), Span(40, 48), 44.0, 1
    )
    return Foresight(
        "Net", "dp=2", 2, 22, 88, "float32", (stage,), (Row("w", 2, (2, 5), "dp 0", (1, 5)),), "as given",
        Speed("float32", 1e9, 4e9, 2e10, 1), ("a note",), proof,
    )  # fmt: skip


def test_a_proof_that_fails_says_where() -> None:
    text = foresight_table.render(seen(Proof(2, 2, 100, ("w on rank 1",), 0.5)))
    assert "NOT EQUAL: 1 of 2 shards of 2 ranks: w on rank 1" in text
    assert "proved" not in text


def test_numbers_have_their_units() -> None:
    text = foresight_table.render(seen(None))
    assert "10 … 12  40 … 48 B       2.1 min         48 B" in text
    assert "rank 1 holds the most, 1.09 x the mean" in text
    assert "here on 1 thread; orthogonal matrices at 20 GFLOP/s" in " ".join(text.split())
    assert "note: a note" in text
    assert "\x1b[1m" in foresight_table.render(seen(None), color=True)


def test_the_status_is_1_where_a_part_is_not_equal(
    nets: str, run: Typed, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A fault put into the reference: one bit of the last row that it makes."""
    right = _numpy.elementwise

    def wrong(how, key, dims, shape, dtype, out):  # type: ignore[no-untyped-def]
        right(how, key, dims, shape, dtype, out)
        out.reshape(-1, out.shape[-1]).view(np.uint32)[-1] ^= 1

    monkeypatch.setattr(_numpy, "elementwise", wrong)
    done = run("plan", f"{nets}:shallow", "--mesh", "dp=2")
    assert done.status == 1
    assert "NOT EQUAL: " in done.out
    assert "0.weight on rank 0" in done.out
