"""`isometry lab`: lists, runs, prints the claims, writes the page, and says what went wrong."""

import os
import pty
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest

from isometry.lab.experiment import EXPERIMENTS, Claim, Experiment, Result

from .conftest import Typed

ONE = "jacobian-spectrum"


def test_the_list_names_every_experiment(run: Typed) -> None:
    done = run("lab", "--list")
    assert done.status == 0
    for experiment in EXPERIMENTS.values():
        assert experiment.name.replace("_", "-") in done.out
        assert experiment.title.split()[0] in done.out
    assert max(map(len, done.out.splitlines())) <= 100
    assert done.err == ""


def test_it_prints_each_claim_and_writes_one_page(run: Typed, tmp_path: Path) -> None:
    page = tmp_path / "lab.html"
    done = run("lab", ONE, "--html", str(page), "--store", str(tmp_path / "cells"))
    assert done.status == 0
    assert done.out.count("expected  ") == done.out.count("measured  ") == 3
    assert "All 3 claims hold" in done.out
    assert f"wrote {page}" in done.out
    assert max(len(line) for line in done.out.splitlines() if str(page) not in line) <= 100
    assert "\x1b" not in done.out
    assert done.err == ""
    assert page.read_text(encoding="utf-8").startswith("<!doctype html>")
    assert (tmp_path / "cells" / "jacobian_spectrum.json").is_file()


def test_a_claim_that_fails_is_status_1(run: Typed, monkeypatch: pytest.MonkeyPatch) -> None:
    def false(**_: object) -> Result:
        return Result((Claim("2 + 2", "5", "4", False),), (), {}, "sums")

    monkeypatch.setitem(EXPERIMENTS, "sums", Experiment("sums", "Sums", "", "", false))
    done = run("lab", "sums")
    assert done.status == 1
    assert "✗ 2 + 2" in done.out
    assert done.out.endswith("0 of 1 claims hold\n")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("nothing",), "there is no experiment 'nothing'; expected one of zero-and-constant, "),
        ((ONE, "--html", "lab.pdf"), "--html lab.pdf: expected a name that ends in .html"),
        ((ONE, "--html", "/nowhere/lab.html"), "cannot write to /nowhere"),
    ],
)
def test_what_cannot_be_done_is_said_before_anything_runs(
    run: Typed,
    arguments: tuple[str, ...],
    said: str,
) -> None:
    done = run("lab", *arguments)
    assert done.status == 2
    assert said in done.err
    assert done.out == ""


def test_a_terminal_gets_a_bar_on_stderr_and_a_pipe_clean_text(tmp_path: Path) -> None:
    leader, follower = pty.openpty()
    code = (
        "import sys; from isometry.cli import main; sys.argv = ['isometry', *sys.argv[1:]]; main()"
    )
    environment = {**os.environ, "TERM": "xterm", "OMP_NUM_THREADS": "1"}
    with (tmp_path / "out").open("wb") as out:
        command = [sys.executable, "-c", code, "lab", ONE]
        running = subprocess.Popen(command, stdout=out, stderr=follower, env=environment)
        os.close(follower)
        shown = b""
        with suppress(OSError):  # what a terminal says once nobody holds its other end
            while more := os.read(leader, 4096):
                shown += more
        os.close(leader)
        assert running.wait() == 0
    assert f"{ONE} (1 of 1)" in shown.decode()
    text = (tmp_path / "out").read_text(encoding="utf-8")
    assert "\x1b" not in text
    assert "All 3 claims hold" in text
