"""The pytest plugin in a real run of pytest, in a project of its own."""

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).parents[2]

CONFIG = """
[tool.pytest.ini_options]
filterwarnings = [
    "error",
    # An editable installation is loaded before pytest is, and its files are the plugin's.
    "ignore:Module already imported so cannot be rewritten:pytest.PytestAssertRewriteWarning",
]
addopts = ["--strict-config", "--import-mode=importlib"]

[tool.isometry.per-path-ignores]
"0" = ["ISO104"]
"""

TESTS = """
import pytest
import torch
from torch import nn

import isometry as iso


def mlp(depth):
    layers = [m for _ in range(depth) for m in (nn.Linear(64, 64), nn.ReLU())]
    return nn.Sequential(*layers, nn.Linear(64, 4))


def equal_units(name):
    model = mlp(2)
    with torch.no_grad():
        model.get_submodule(name).weight.fill_(0.1)
        model.get_submodule(name).bias.zero_()
    return model


X = torch.randn(64, 64)


def test_shallow(assert_healthy):
    assert_healthy(mlp(2), X, loss="cross_entropy")


@pytest.mark.parametrize("name", ["deep/one"])
def test_deep(assert_healthy, name):
    assert_healthy(mlp(20), X)


def test_ignored_by_the_call(assert_healthy):
    assert_healthy(mlp(20), X, ignore="ISO2")


def test_ignored_by_the_project(assert_healthy):
    assert_healthy(equal_units("0"), X)


def test_ignored_elsewhere(assert_healthy):
    assert_healthy(equal_units("2"), X)


def test_it_is_an_assertion(assert_healthy):
    with pytest.raises(AssertionError, match="ISO201") as failure:
        assert_healthy(mlp(20), X)
    assert isinstance(failure.value, iso.UnhealthyError)
"""


class Run(NamedTuple):
    """A run of pytest: its status, what it printed, and where it ran."""

    status: int
    out: str
    folder: Path

    def of(self, test: str) -> str:
        """What is shown of one failing test."""
        return re.split(rf"^_+ {re.escape(test)} _+$", self.out, flags=re.M)[1].split("\n___")[0]


def run(folder: Path, tests: str, *options: str, config: str = CONFIG) -> Run:
    """Write a project and run its tests. The plugin is named, as if nothing were installed."""
    (folder / "pyproject.toml").write_text(config, encoding="utf-8")
    (folder / "test_nets.py").write_text(tests, encoding="utf-8")
    # Named like its entry point, it is one plugin whether or not it is installed.
    command = [sys.executable, "-m", "pytest", "-p", "pytest_isometry", "-p", "no:cacheprovider"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "src"), "COLUMNS": "200"}
    environment = {k: v for k, v in environment.items() if not k.startswith("PYTEST_")}
    done = subprocess.run(
        [*command, *options], cwd=folder, env=environment, capture_output=True, text=True
    )
    return Run(done.returncode, done.stdout + done.stderr, folder)


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """One run of the project above, with pages."""
    return run(tmp_path_factory.mktemp("project"), TESTS, "-rA", "--isometry-html", "build/pages")


@pytest.mark.parametrize(
    "test",
    [
        "test_shallow",
        "test_ignored_by_the_call",
        "test_ignored_by_the_project",
        "test_it_is_an_assertion",
    ],
)
def test_passes(project: Run, test: str) -> None:
    assert f"PASSED test_nets.py::{test}" in project.out


@pytest.mark.parametrize(
    ("test", "code"), [("test_deep[deep/one]", "ISO201"), ("test_ignored_elsewhere", "ISO104")]
)
def test_fails_with_the_report(project: Run, test: str, code: str) -> None:
    assert project.status == 1
    assert "2 failed, 4 passed" in project.out
    shown = project.of(test)
    assert "UnhealthyError: Sequential: not healthy (1 error)" in shown
    assert f"error: {code} " in shown


def test_the_traceback_is_the_test_alone(project: Run) -> None:
    shown = project.of("test_deep[deep/one]")
    assert ">       assert_healthy(mlp(20), X)" in shown
    assert re.findall(r"^(\S+\.py):\d+:", shown, re.M) == ["test_nets.py"]


def test_a_page_for_each_check_that_fails(project: Run) -> None:
    pages = project.folder / "build" / "pages"
    assert sorted(p.name for p in pages.iterdir()) == [
        "test_nets.py-test_deep-deep-one.html",
        "test_nets.py-test_ignored_elsewhere.html",
        "test_nets.py-test_it_is_an_assertion.html",
    ]
    page = pages / "test_nets.py-test_deep-deep-one.html"
    assert "ISO201" in page.read_text(encoding="utf-8")
    assert f"page: {page}" in project.of("test_deep[deep/one]")


SHORT = """
import torch

def test_deep(assert_healthy):
    layers = [m for _ in range(20) for m in (torch.nn.Linear(64, 64), torch.nn.ReLU())]
    assert_healthy(torch.nn.Sequential(*layers), torch.randn(64, 64))
"""


def test_what_the_project_selects_and_a_page_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    found = run(
        tmp_path, SHORT, "--isometry-html", "file", config='[tool.isometry]\nselect = ["ISO2"]\n'
    )
    assert "error: ISO201" in found.of("test_deep")  # the verdict first, then its page
    assert re.search(r"no page: .*file", found.of("test_deep"))
    (tmp_path / "other").mkdir()
    other = run(tmp_path / "other", SHORT, config='[tool.isometry]\nselect = ["ISO7"]\n')
    assert "1 passed" in other.out


def test_a_mistake_in_the_configuration_is_one_line(tmp_path: Path) -> None:
    found = run(tmp_path, SHORT, "--disable-warnings", config='[tool.isometry]\nignor = ["ISO2"]\n')
    assert found.status == 1
    shown = found.of("ERROR at setup of test_deep")
    assert "no key 'ignor'" in shown
    assert "did you mean ignore?" in shown
    assert "site-packages" not in shown


def test_loading_the_plugin_loads_nothing_else() -> None:
    code = (
        "import pytest, sys; before = set(sys.modules); import pytest_isometry\n"
        "print(*sorted({m.partition('.')[0] for m in set(sys.modules) - before}))"
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "src")}
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True
    )
    assert {"isometry", "numpy", "torch"}.isdisjoint(done.stdout.split())
    assert "pytest_isometry" in done.stdout.split()
