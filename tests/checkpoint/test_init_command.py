"""`isometry init TARGET --out DIR`: streamed, from a target that is built without memory."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

import isometry as iso
from isometry.checkpoint import MANIFEST, save
from isometry.cli import main

NETS = """
import torch
from torch import nn

def net():
    return nn.Sequential(nn.Linear(64, 300), nn.ReLU(), nn.Linear(300, 10)), torch.randn(4, 64)

def huge():
    print("a model that talks")
    return nn.Sequential(*(nn.Linear(2**15, 2**15) for _ in range(1000)))
"""

Typed = Callable[..., tuple[int, str, str]]


@pytest.fixture
def typed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Typed:
    """Type a command in a folder where nets.py lies; its status, and what it printed."""
    (tmp_path / "nets.py").write_text(NETS)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))

    def run(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["isometry", *arguments])
        with pytest.raises(SystemExit) as ended:
            main()
        return int(ended.value.code or 0), *capsys.readouterr()

    return run


def test_a_folder_is_streamed(typed: Typed, tmp_path: Path) -> None:
    status, out, err = typed(
        "init", "nets.py:net", "--seed", "4", "--out", "made", "--json", "plan.json"
    )
    assert (status, err) == (0, "")
    plan = iso.Plan.load(tmp_path / "plan.json")
    lines = out.splitlines()
    assert lines[0].startswith("made: 1 file, 90.5 kB in ")
    assert lines[1:] == [
        f"seed 4, plan {plan.digest}: 4 tensors of Sequential, recipe 'auto'",
        f"manifest {Path('made') / MANIFEST}",
    ]
    model = torch.nn.Sequential(torch.nn.Linear(64, 300), torch.nn.ReLU(), torch.nn.Linear(300, 10))
    plan.apply(model, seed=4)
    found = load_file(tmp_path / "made" / "model.safetensors")
    assert all(torch.equal(found[name], t) for name, t in model.state_dict().items())
    assert len(found) == 4


def test_the_options_of_a_folder(typed: Typed, tmp_path: Path) -> None:
    arguments = (
        "init",
        "nets.py:net",
        "--out",
        "made",
        "--dtype",
        "bf16",
        "--max-shard-size",
        "20KB",
    )
    assert typed(*arguments)[0] == 0
    files = sorted((tmp_path / "made").glob("*.safetensors"))
    assert [f.name for f in files] == [f"model-0000{i}-of-00002.safetensors" for i in (1, 2)]
    assert all(t.dtype == torch.bfloat16 for f in files for t in load_file(f).values())
    status, _, err = typed(*arguments, "--seed", "1")
    assert status == 2
    assert "--overwrite" in err
    assert typed(*arguments, "--seed", "1", "--overwrite")[0] == 0


def test_a_model_larger_than_memory_is_only_planned(typed: Typed) -> None:
    """4.3 TB: there is no room on the disk, which is said before anything is made."""
    status, out, err = typed("init", "nets.py:huge", "--out", "made")
    assert (status, out) == (2, "")
    assert "a model that talks" in err
    assert "and 4.3e+03 GB are to be written; make room" in err
    assert not Path("made").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("made", "--calibrate"), "write --out made.safetensors"),
        (("made.pt",), "write --out made.safetensors or --out made\n"),
        (
            ("one.safetensors", "--dtype", "bf16"),
            "--dtype is for a folder, and one.safetensors is one",
        ),
        (("one.safetensors", "--overwrite"), "--overwrite is for a folder"),
        (("made", "--dtype", "int4"), "dtype='int4': expected one of float32"),
        (("made", "--max-shard-size", "big"), "max_shard_size='big': expected a size"),
        (("nets.py",), "nets.py is a file; expected a folder"),
    ],
)
def test_what_cannot_be_is_said(typed: Typed, arguments: tuple[str, ...], message: str) -> None:
    before = set(Path().iterdir())
    status, out, err = typed("init", "nets.py:net", "--out", *arguments)
    assert (status, out) == (2, "")
    assert message in err
    assert {p for p in Path().iterdir() if p.name != "__pycache__"} == before


def test_a_model_of_another_framework_is_said(typed: Typed, tmp_path: Path) -> None:
    (tmp_path / "tree.py").write_text("import jax.numpy as jnp\nimport equinox as eqx, jax\n"
        "net = eqx.nn.MLP(4, 4, 8, 1, key=jax.random.key(0))\nboth = net, jnp.ones(4)\n")  # fmt: skip
    run = subprocess.run(
        [sys.executable, "-c", "from isometry.cli import main; main()", "init", "tree.py:both", "-o", "made"],
        capture_output=True, text=True, cwd=tmp_path,
    )  # fmt: skip
    assert run.returncode == 2
    assert "a MLP has no state dict to stream; expected a torch.nn.Module" in run.stderr
    assert not (tmp_path / "made").exists()


def test_one_file_is_what_it_was(typed: Typed, tmp_path: Path) -> None:
    status, out, _ = typed("init", "nets.py:net", "--seed", "4", "--out", "one.safetensors")
    assert status == 0
    assert "wrote one.safetensors (seed 4" in out
    model = torch.nn.Sequential(torch.nn.Linear(64, 300), torch.nn.ReLU(), torch.nn.Linear(300, 10))
    iso.initialize(model, torch.randn(4, 64), seed=4)
    save(model.state_dict(), tmp_path / "own.safetensors")
    one, own = (load_file(tmp_path / f"{n}.safetensors") for n in ("one", "own"))
    assert all(torch.equal(one[n], t) for n, t in own.items())
