"""What people copy into their CI: it parses, it names what there is, and it fails when it should."""

import ast
import importlib
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import typer.main
import yaml

from isometry import config
from isometry.cli.app import app

ROOT = Path(__file__).parents[2]
HOOKS, WORKFLOW, PAGE = (
    (ROOT / name).read_text(encoding="utf-8")
    for name in (".pre-commit-hooks.yaml", "examples/github-workflow.yml", "docs/ci.md")
)


def blocks(language: str) -> list[str]:
    """The blocks of docs/ci.md in a language."""
    found = re.findall(rf"^```{language}\n(.*?)^```", PAGE, re.M | re.S)
    assert found, f"docs/ci.md has no {language} block"
    return found


def steps() -> list[dict[str, Any]]:
    """The steps of the workflow's one job."""
    (job,) = yaml.safe_load(WORKFLOW)["jobs"].values()
    return job["steps"]


def hooks() -> list[str]:
    """The hooks that docs/ci.md configures, as pre-commit would type them."""
    repos = [repo for block in blocks("yaml") for repo in yaml.safe_load(block)["repos"]]
    return [
        " ".join([hook.get("entry", "isometry check"), *hook.get("args", [])])
        for repo in repos
        for hook in repo["hooks"]
    ]


def typed() -> list[str]:
    """Every `isometry ...` that a reader may type or copy."""
    lines = [line for block in blocks("sh") for line in block.splitlines()]
    lines += [line for step in steps() for line in step.get("run", "").splitlines()]
    lines += hooks()
    lines += [line for line in re.findall(r"`(isometry [^`]+)`", PAGE) if line.count(" ") > 1]
    return [line.strip() for line in lines if line.strip().startswith("isometry ")]


def complaint(line: str) -> str:
    """What the command line would say of a typed line; nothing where it would go ahead."""
    _, name, *rest = shlex.split(re.split(r" > | \|\| ", line)[0], comments=True)
    commands = typer.main.get_command(app).commands
    if name not in commands:
        return f"no command {name}"
    try:
        commands[name].make_context(name, rest)  # reads the arguments and runs nothing
    except Exception as error:  # typer has its own copy of click, in some versions
        return getattr(error, "format_message", error.__str__)()
    return ""


def test_there_are_lines_to_check() -> None:
    assert len(typed()) > 10
    assert any("--output-format sarif" in line for line in typed())


@pytest.mark.parametrize("line", sorted(set(typed())))
def test_the_command_line_has_what_is_typed(line: str) -> None:
    assert complaint(line) == ""


def test_what_it_has_not_is_noticed() -> None:
    assert "no command chekc" in complaint("isometry chekc x:y")
    assert "--htlm" in complaint("isometry check x:y --htlm a.html")
    assert "'yaml'" in complaint("isometry check x:y --output-format yaml > a")


def test_the_hook_says_what_pre_commit_needs() -> None:
    (hook,) = yaml.safe_load(HOOKS)
    assert {"id", "name", "entry", "language"} <= hook.keys()
    assert hook["id"] in PAGE
    assert hook["entry"] == "isometry check"
    assert hook["language"] == "python"
    assert hook["pass_filenames"] is False


def test_the_page_points_to_files_and_headings_that_are_there() -> None:
    anchors = {
        re.sub(r"[^\w-]", "", h.lower().replace(" ", "-"))
        for h in re.findall(r"^#+ (.*)", PAGE, re.M)
    }
    links = re.findall(r"\]\(([^)]+)\)", PAGE)
    assert [a for a in links if a.startswith("#") and a[1:] not in anchors] == []
    files = [a for a in links if not a.startswith("#")]
    assert files
    assert [a for a in files if not (ROOT / "docs" / a).is_file()] == []


def test_the_pages_configuration_is_one(tmp_path: Path) -> None:
    (block,) = blocks("toml")
    (tmp_path / "pyproject.toml").write_text(block, encoding="utf-8")
    settings = config.load(tmp_path)
    assert settings.select == ("ISO1", "ISO2", "ISO3")
    assert "ISO103:blocks.*.gate" in settings.ignore


def test_the_pages_python_imports_what_there_is() -> None:
    checked = 0
    for block in blocks("python"):
        for node in ast.walk(ast.parse(block)):
            if isinstance(node, ast.ImportFrom) and node.module:
                module = importlib.import_module(node.module)
                assert [a.name for a in node.names if not hasattr(module, a.name)] == []
                checked += 1
            elif isinstance(node, ast.Call) and ast.unparse(node.func) == "CheckInitialization":
                _same_arguments(node)
                checked += 1
    assert checked > 5


def _same_arguments(call: ast.Call) -> None:
    """Every keyword of a call of CheckInitialization is one that it takes."""
    from isometry.torch.callbacks.lightning import CheckInitialization

    given = {k.arg: None for k in call.keywords}
    CheckInitialization(**{k: None for k in given if k not in ("select", "ignore")})


NETS = """
import torch
from torch import nn

def deep():
    layers = [m for _ in range(20) for m in (nn.Linear(64, 64), nn.ReLU())]
    return nn.Sequential(*layers), torch.randn(64, 64)

shallow = nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 4)), torch.randn(64, 64)
"""


@pytest.mark.skipif(shutil.which("bash") is None, reason="no bash: the workflow's step needs one")
@pytest.mark.parametrize(
    ("target", "status", "judged"), [("shallow", 0, True), ("deep", 1, True), ("gone", 2, False)]
)
def test_the_workflows_step_leaves_with_the_checks_status(
    tmp_path: Path, target: str, status: int, judged: bool
) -> None:
    (tmp_path / "nets.py").write_text(NETS, encoding="utf-8")
    (step,) = [s for s in steps() if s.get("id") == "check"]
    assert "TARGET" in step["env"]
    output = tmp_path / "output"
    output.touch()
    environment = {
        **os.environ,
        "TARGET": f"nets.py:{target}",
        "GITHUB_OUTPUT": str(output),
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
    }
    done = subprocess.run(
        ["bash", "-e", "-c", step["run"]],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
    )
    assert done.returncode == status, done.stderr
    assert output.read_text(encoding="utf-8") == ("judged=true\n" if judged else "")
    if judged:
        assert '"2.1.0"' in (tmp_path / "isometry.sarif").read_text(encoding="utf-8")
        assert (tmp_path / "isometry.html").stat().st_size > 0


def test_what_comes_after_the_check_runs_where_it_found_something() -> None:
    after = [s for s in steps() if "uses" in s and "if" in s]
    assert [s["uses"].partition("@")[0] for s in after] == [
        "github/codeql-action/upload-sarif",
        "actions/upload-artifact",
    ]
    assert all("!cancelled()" in s["if"] and "outputs.judged == 'true'" in s["if"] for s in after)
    assert yaml.safe_load(WORKFLOW)["permissions"]["security-events"] == "write"
