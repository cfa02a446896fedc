"""A finding says at which line of source its layer is made."""

from __future__ import annotations

import inspect
from pathlib import Path

import torch
from torch import Tensor, nn

import isometry as iso
from isometry.torch.locate import locate
from isometry.types import Location

from .networks import mlp

HERE = Path(__file__)


def line_of(text: str) -> int:
    """The first line of this file that holds a text."""
    lines = HERE.read_text(encoding="utf-8").splitlines()
    return next(i for i, line in enumerate(lines, 1) if text in line)


class Base(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Linear(8, 16)


class Net(Base):
    def __init__(self) -> None:
        super().__init__()
        self.blocks, self.norm = nn.ModuleList(mlp([16, 16]) for _ in range(3)), nn.LayerNorm(16)
        self.scale: nn.Parameter = nn.Parameter(torch.ones(16))
        self.register_parameter("shift", nn.Parameter(torch.zeros(16)))
        self.add_module("head", nn.Linear(16, 4))

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        for block in self.blocks:
            x = x + block(x)
        return self.head(self.norm(x) * self.scale + self.shift)  # type: ignore[operator,no-any-return]


def places(model: nn.Module, *names: str) -> list[int | None]:
    found = locate(model, names)
    assert all(Path(place.file).resolve() == HERE.resolve() for place in found.values())
    return [found[n].line if n in found else None for n in names]


def test_attributes_are_found_where_they_are_assigned() -> None:
    assert places(Net(), "stem.weight", "blocks.1.0.weight", "norm", "scale", "shift", "head") == [
        line_of("self.stem = "), line_of("self.blocks, self.norm"), line_of("self.blocks, self.norm"),
        line_of("self.scale:"), line_of('"shift"'), line_of('"head"'),
    ]  # fmt: skip


def test_what_nothing_assigns_is_found_by_its_class() -> None:
    model = Net()
    model.extra = nn.Linear(4, 4)
    assert places(model, "extra.weight", "") == [line_of("class Net(Base)")] * 2
    assert places(nn.Sequential(Net()), "0.stem") == [line_of("self.stem = ")]


def test_torch_s_own_classes_and_those_without_source_have_no_line() -> None:
    assert places(mlp([8, 8, 8]), "0.weight", "2") == [None, None]
    space: dict[str, type[nn.Module]] = {}
    exec(
        "from torch import nn\nclass Made(nn.Module):\n  def __init__(self):\n    super().__init__()\n    self.fc = nn.Linear(2, 2)",
        space,
    )
    assert locate(space["Made"](), ["fc.weight"]) == {}


def test_the_report_s_findings_carry_it(monkeypatch) -> None:  # type: ignore[no-untyped-def]
    monkeypatch.chdir(HERE.parents[2])
    model = Net()
    nn.init.ones_(model.stem.weight)
    (finding,) = iso.check(model, torch.randn(64, 8)).findings
    assert finding.location == Location("tests/checker/test_locate.py", line_of("self.stem = "))
    assert str(finding.location) == f"tests/checker/test_locate.py:{line_of('self.stem = ')}"
    monkeypatch.chdir(HERE.parents[3])
    (finding,) = iso.check(model, torch.randn(64, 8)).findings
    assert finding.location is not None
    assert Path(finding.location.file).resolve() == Path(inspect.getfile(Net)).resolve()
