"""The list of experiments: where it begins, how one is found, and what running one returns."""

import subprocess
import sys
from pathlib import Path

import pytest

import isometry as iso
from isometry.errors import ArgumentError, BackendError
from isometry.lab import run, text
from isometry.lab.experiment import EXPERIMENTS, Claim, Result
from isometry.lab.run import find_experiments, run_experiments


def test_every_experiment_is_called_by_its_name() -> None:
    assert sorted(EXPERIMENTS) == sorted(iso.lab.__all__)
    for name, experiment in EXPERIMENTS.items():
        assert getattr(iso.lab, name) is experiment.run


@pytest.mark.parametrize("statement", ["import isometry.lab", "import isometry.lab.glorot2010"])
def test_a_module_never_stands_in_its_functions_place(statement: str) -> None:
    code = f"{statement}\nimport isometry\nprint(callable(isometry.lab.glorot2010))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "True"


def test_listing_experiments_loads_no_framework() -> None:
    code = (
        "import isometry, sys\nassert 'isometry.lab' not in sys.modules\nisometry.lab\n"
        "print(sorted({'torch', 'sklearn', 'jinja2', 'rich', 'scipy'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_names_are_found_with_hyphens_in_the_order_of_the_page() -> None:
    found = find_experiments(["trainability-map", "glorot2010"])
    assert [e.name for e in found] == ["glorot2010", "trainability_map"]
    assert find_experiments() == tuple(EXPERIMENTS.values())


def test_an_unknown_name_says_what_there_is() -> None:
    with pytest.raises(ArgumentError) as error:
        find_experiments(["glorot2011"])
    assert "no experiment 'glorot2011'" in str(error.value)
    assert "did you mean glorot2010?" in str(error.value)
    for name in EXPERIMENTS:
        assert name.replace("_", "-") in str(error.value)


def test_a_run_goes_on_from_its_store_and_tells_of_its_cells(tmp_path: Path) -> None:
    chosen = find_experiments(["jacobian_spectrum"])
    told: list[tuple[str, str, int]] = []

    def watch(experiment):
        return lambda key, done, expected: told.append((experiment.name, key, done))

    (first,) = run_experiments(chosen, store=tmp_path, watch=watch)
    assert (tmp_path / "jacobian_spectrum.json").is_file()
    assert [done for _, _, done in told] == list(range(len(told)))
    assert {name for name, _, _ in told} == {"jacobian_spectrum"}
    (second,) = run_experiments(chosen, store=tmp_path)
    assert second.numbers == first.numbers
    assert first.holds, str(first)
    assert (first.name, first.full) == ("jacobian_spectrum", False)


def test_what_is_not_installed_is_said_before_anything_runs(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(run.NEEDED, "no_such_module", "Nothing")
    with pytest.raises(BackendError, match=r"Nothing is not installed .*'isometry\[lab\]'"):
        next(run_experiments(find_experiments(["glorot2010"])))


def test_a_result_prints_what_was_expected_and_measured() -> None:
    claims = (Claim("one", "1", "1.01", True), Claim("two", "2 " * 80, "3", False))
    printed = str(Result(claims, (), {}, "sums", seconds=100.0))
    assert printed.splitlines()[:2] == ["✗ sums", "  1 of 2 claims hold (2 min)."]
    assert "  ✓ one" in printed
    assert "  ✗ two" in printed
    assert "      expected  1\n      measured  1.01" in printed
    assert max(map(len, printed.splitlines())) <= 100
    assert "\x1b" not in printed
    assert "\x1b[31m✗" in text.render(Result(claims, (), {}, "sums"), color=True)
