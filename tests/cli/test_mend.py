"""`isometry check --fix --out FILE`: what is drawn anew, what is written, what is shown."""

import json
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file
from torch import nn

import isometry as iso

from .conftest import Typed

PLAIN = ("-i", "64x64", "--seeds", "0")


def header(path: Path) -> dict[str, str]:
    with safe_open(path, "pt") as file:
        found = file.metadata()
    assert isinstance(found, dict)
    return found


def default_mlp() -> nn.Sequential:
    """The model of `nets.py:deep`, as the command builds it from seed 0."""
    torch.manual_seed(0)
    layers = [m for _ in range(20) for m in (nn.Linear(64, 64), nn.ReLU())]
    return nn.Sequential(*layers, nn.Linear(64, 10))


def test_the_weights_are_those_of_the_library_and_the_model_is_healthy(
    nets: str, run: Typed, tmp_path: Path
) -> None:
    out = tmp_path / "m.safetensors"
    done = run("check", f"{nets}:deep", *PLAIN, "--seed", "0", "--fix", "--out", str(out))
    assert done.status == 0
    model, x = default_mlp(), torch.randn(64, 64, generator=torch.Generator().manual_seed(0))
    plan = iso.check(model, x).fix(model, seed=0)
    weights = load_file(out)
    assert weights.keys() == model.state_dict().keys()
    assert all(torch.equal(weights[n], t) for n, t in model.state_dict().items())
    written = header(out)
    assert (written["seed"], written["recipe"], written["plan"]) == ("0", "auto", plan.digest)
    assert written["fixed"] == ",".join(d.name for d in plan)


def test_before_what_was_done_and_after_are_shown_in_this_order(
    nets: str, run: Typed, tmp_path: Path
) -> None:
    out = tmp_path / "m.safetensors"
    done = run("check", f"{nets}:deep", *PLAIN, "--fix", "-o", str(out))
    lines = done.out.splitlines()
    before, drawn, after = (lines.index(title) for title in ("Before", "Drawn anew", "After"))
    assert before < drawn < after
    assert lines[before + 1].startswith("✗ Sequential is not healthy: 1 error in 41 operations")
    assert any(line.startswith("error ISO201") for line in lines[before:drawn])
    assert any("{2-38:2}.weight" in line for line in lines[drawn:after])
    assert lines[after + 1].startswith("✓ Sequential is healthy")
    assert lines[-1].startswith(f"wrote {out} (seed 0, plan ")
    assert max(map(len, lines[:-1])) <= 100
    assert "\n\n\n" not in done.out


def test_only_what_is_at_fault_is_drawn_anew(nets: str, run: Typed, tmp_path: Path) -> None:
    out = tmp_path / "m.safetensors"
    done = run("check", f"{nets}:model", *PLAIN, "--seed", "5", "--fix", "-o", str(out))
    assert done.status == 0
    torch.manual_seed(5)
    body, head = nn.Linear(64, 64), nn.Linear(64, 10)
    weights = load_file(out)
    assert torch.equal(weights["head.weight"], head.weight)
    assert not torch.equal(weights["body.weight"], body.weight)
    assert weights["body.weight"].std().item() == pytest.approx(64**-0.5, rel=0.1)
    assert "head.weight" not in header(out)["fixed"].split(",")


def test_a_format_for_machines_has_the_report_after_the_fix_alone(
    nets: str, run: Typed, tmp_path: Path
) -> None:
    out = tmp_path / "m.safetensors"
    done = run("check", f"{nets}:deep", *PLAIN, "--fix", "-o", str(out), "-f", "json")
    assert done.status == 0
    data = json.loads(done.out)
    assert (data["ok"], data["findings"]) == (True, [])
    assert "errors before the fix 1, after it 0; parameters drawn anew: 42; wrote" in done.err


def test_further_builds_are_mended_before_they_are_judged(
    nets: str, run: Typed, tmp_path: Path
) -> None:
    out = tmp_path / "m.safetensors"
    command = ("check", f"{nets}:unset", "--seeds", "2", "-f", "json")
    before = json.loads(run(*command).out)
    assert "ISO801" in {f["code"] for f in before["findings"]}
    done = run(*command, "--fix", "-o", str(out))
    after = json.loads(done.out)
    assert (done.status, after["findings"], after["seeds"]) == (0, [], 2)
    assert all(p["rebuilt"] == "equal" for p in after["parameters"])


@pytest.mark.parametrize("output_format", ["full", "concise"])
def test_where_nothing_is_wrong_nothing_is_written(
    output_format: str, nets: str, run: Typed, tmp_path: Path
) -> None:
    out = tmp_path / "m.safetensors"
    command = ("check", f"{nets}:shallow", "--seeds", "0", "-f", output_format)
    done = run(*command, "--fix", "-o", str(out))
    assert done.status == 0
    assert done.out == run(*command).out
    assert f"isometry: nothing to fix; {out} was not written\n" in done.err
    assert not out.exists()


def test_what_no_law_mends_is_said_and_the_report_decides(
    nets: str, run: Typed, tmp_path: Path
) -> None:
    out = tmp_path / "m.safetensors"
    command = ("check", f"{nets}:bright", "--seeds", "0", "-f", "json", "--select", "ISO704")
    before = run(*command)
    assert [f["code"] for f in json.loads(before.out)["findings"]] == ["ISO704"]
    done = run(*command, "--fix", "-o", str(out))
    assert (done.status, done.out) == (before.status, before.out)
    assert "no law mends what was found (ISO704)" in done.err
    assert not out.exists()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--fix"], "--fix without --out: say where the mended weights go, such as --fix --out"),
        (["--out", "m.safetensors"], "--out m.safetensors without --fix: a check writes no"),
        (["--fix", "--out", "absent/m.safetensors"], "expected a folder that exists"),
    ],
)
def test_both_options_or_neither(
    arguments: list[str], said: str, nets: str, run: Typed, tmp_path: Path
) -> None:
    done = run("check", f"{nets}:deep", *PLAIN, *arguments)
    assert (done.status, done.out) == (2, "")
    assert said in done.err
    assert "a model that talks" not in done.err
    assert [p.name for p in tmp_path.iterdir()] == ["nets.py"]
