"""The commands as typed: what they print, where, and the status they leave with."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import nn

import isometry as iso

from .conftest import Typed


def test_check_finds_a_fault_and_leaves_with_1(nets: str, run: Typed) -> None:
    done = run("check", f"{nets}:deep", "--input", "64x64", "--output-format", "concise")
    assert done.status == 1
    assert any(line.startswith("error ISO") for line in done.out.splitlines())
    assert "a model that talks" not in done.out
    assert "a model that talks" in done.err


def test_check_of_a_sound_model_leaves_with_0(nets: str, run: Typed) -> None:
    done = run("check", f"{nets}:shallow")
    assert done.status == 0
    assert done.out.startswith("✓ Sequential is healthy")
    assert "\x1b" not in done.out


def test_check_as_json_is_one_object(nets: str, run: Typed) -> None:
    done = run("check", f"{nets}:deep", "-i", "64x64", "-f", "json")
    data = json.loads(done.out)
    assert data["ok"] is False
    assert done.status == 1
    assert len(data["layers"]) >= 41


def test_what_is_ignored_is_neither_printed_nor_counted(nets: str, run: Typed) -> None:
    done = run("check", f"{nets}:deep", "-i", "64x64", "-f", "json", "--ignore", "ISO")
    assert json.loads(done.out)["findings"] == []
    assert done.status == 0


def test_the_same_command_prints_the_same(nets: str, run: Typed) -> None:
    arguments = ("check", f"{nets}:deep", "-i", "64x64", "-f", "json", "--seed", "5")
    assert run(*arguments).out == run(*arguments).out


def test_plan_prints_a_table_and_saves_what_can_be_loaded(
    nets: str, tmp_path: Path, run: Typed
) -> None:
    done = run("plan", f"{nets}:shallow", "--recipe", "he", "--json", f"{tmp_path}/p.json")
    assert done.status == 0
    assert done.out.startswith("Sequential: recipe 'he', 4 tensors")
    plan = iso.Plan.load(tmp_path / "p.json")
    assert plan["2.weight"].law.variance == pytest.approx(2 / 64, rel=1e-6)


def test_init_writes_the_weights_that_the_library_gives(
    nets: str, tmp_path: Path, run: Typed
) -> None:
    out = tmp_path / "m.safetensors"
    done = run("init", f"{nets}:shallow", "--seed", "3", "--out", str(out))
    assert done.status == 0
    model = nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10))
    iso.initialize(model, torch.randn(64, 64), seed=3)
    weights = load_file(out)
    assert weights.keys() == model.state_dict().keys()
    assert all(torch.equal(weights[n], t) for n, t in model.state_dict().items())


def test_init_gives_weights_to_a_model_that_was_built_without_memory(
    nets: str, tmp_path: Path, run: Typed
) -> None:
    out = tmp_path / "m.safetensors"
    done = run("init", f"{nets}:weightless", "-i", "64x64", "-o", str(out))
    assert done.status == 0
    model = nn.Sequential(nn.Linear(64, 64), nn.BatchNorm1d(64), nn.Linear(64, 10))
    model.load_state_dict(load_file(out))
    assert iso.check(model, torch.randn(64, 64)).ok


def test_gain_prints_the_number_of_the_library(run: Typed) -> None:
    done = run("gain", "gelu")
    assert done.status == 0
    assert f"{iso.gain('gelu'):.6g}" in done.out
    leaky = run("gain", "leaky_relu", "negative_slope=0.2")
    assert "1.38675" in leaky.out


def test_info_names_versions_stream_and_recipes(run: Typed) -> None:
    done = run("info")
    assert done.status == 0
    versions, *recipes = done.out.split("\n\n")
    said = dict(line.split(maxsplit=1) for line in versions.splitlines())
    assert said["torch"] == torch.__version__
    assert said["isometry"] == iso.__version__
    assert said["stream"] == f"version {iso.stream.STREAM_VERSION}"
    for text, (name, what) in zip(recipes, iso.recipes().items(), strict=True):
        assert " ".join(text.split()) == f"recipe {name}: {what}"
    assert max(map(len, done.out.splitlines())) <= 100


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["check", "nowhere.py:model"], "there is no file nowhere.py"),
        (["check", "NETS:deep", "-i", "8by8"], "such as 8x3x64x64"),
        (["check", "NETS:deep", "-i", "64x7"], "mat1 and mat2 shapes cannot be multiplied"),
        (["plan", "NETS:deep", "-i", "64x64", "-r", "hee"], "did you mean 'he'?"),
        (["plan", "NETS:deep", "-i", "64x64", "-s", "-1"], r"expected an integer in [0, 2**64)"),
        (["init", "NETS:deep", "-o", "absent/m.safetensors"], "expected a folder that exists"),
        (["gain", "gulu"], "did you mean"),
        (["gain", "relu", "slope"], "expected KEY=NUMBER"),
    ],
)
def test_what_cannot_be_run_is_one_message_and_2(
    nets: str, arguments: list[str], said: str, run: Typed
) -> None:
    done = run(*(a.replace("NETS", nets) for a in arguments))
    assert done.status == 2
    assert said in done.err
    assert "Traceback" not in done.err
    assert done.out == ""


def test_help_has_examples_and_fits_a_terminal(run: Typed) -> None:
    for command in ("check", "plan", "init", "gain", "rule"):
        done = run(command, "--help")
        assert done.status == 0
        assert f"isometry {command} " in done.out.split("Examples")[1]


def test_a_reader_that_leaves_is_no_error(nets: str) -> None:
    command = f"'{sys.executable}' -c 'from isometry.cli import main; main()'"
    shell = f"{command} check {nets}:shallow -f json | head -n 1; echo ${{PIPESTATUS[0]}}"
    done = subprocess.run(["bash", "-c", shell], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == ["{", "0"]
    assert done.stderr.splitlines() == ["a model that talks"]


def test_a_fault_of_ours_is_not_taken_for_a_finding(nets: str) -> None:
    with open(nets, "a") as file:
        file.write("import isometry; del isometry.check\n")
    code = "from isometry.cli import main; main()"
    command = [sys.executable, "-c", code, "check", f"{nets}:shallow"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "AttributeError" in done.stderr
