"""A file of models, and a way to type a command at it."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest

from isometry.cli import main

NETS = """
import torch
from torch import nn

print("a model that talks")

def deep():
    layers = []
    for _ in range(20):
        layers += [nn.Linear(64, 64), nn.ReLU()]
    return nn.Sequential(*layers, nn.Linear(64, 10))

def weightless():
    import isometry.torch as it
    with it.meta():
        return nn.Sequential(nn.Linear(64, 64), nn.BatchNorm1d(64), nn.Linear(64, 10))

def shallow():
    return nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10)), torch.randn(64, 64)

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.body = nn.Linear(64, 64)
        self.head = nn.Linear(64, 10)
        nn.init.ones_(self.body.weight)

    def forward(self, x):
        return self.head(torch.relu(self.body(x)))

def unset():
    model = Net()
    model.body.weight = nn.Parameter(torch.empty(64, 64))
    return model, torch.randn(64, 64)

def bright():
    return nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10)), 200 * torch.randn(64, 64)

model = Net()
"""


class Result(NamedTuple):
    """How a command ended, and what it printed."""

    status: int
    out: str
    err: str


Typed = Callable[..., Result]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Typed:
    """Run a command as typed, in this process."""

    def typed(*arguments: str) -> Result:
        monkeypatch.setattr(sys, "argv", ["isometry", *arguments])
        monkeypatch.setattr(sys, "path", list(sys.path))
        with pytest.raises(SystemExit) as end:
            main()
        return Result(int(end.value.code or 0), *capsys.readouterr())

    return typed


@pytest.fixture
def nets(tmp_path: Path) -> str:
    """A file of models."""
    (tmp_path / "nets.py").write_text(NETS)
    return f"{tmp_path}/nets.py"
