"""The line of TARGET: where its attribute is written, found without running it."""

import sys
from pathlib import Path
from types import ModuleType

import pytest

from isometry.cli import source

TEXT = """\
import torch
from torch.nn import Linear as Layer, ReLU
net = Layer(2, 2)
net = Layer(3, 3)
pair: tuple = (net, None)
one, (two, three) = net, (net, net)

@torch.no_grad()
def make():
    hidden = 1
    return net

class Zoo:
    class Cats:
        lion = net

    def build(self): ...

if torch:
    try:
        late = net
    except ImportError:
        pass
"""


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """A module with a file that nobody has run, in the working directory."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "nets").mkdir()
    path = tmp_path / "nets" / "zoo.py"
    path.write_text(TEXT)
    found = ModuleType("zoo")
    found.__file__ = str(path)
    return found


@pytest.mark.parametrize(
    ("attribute", "line"),
    [
        ("torch", 1),
        ("Layer", 2),
        ("ReLU", 2),
        ("net", 4),  # the last assignment counts
        ("pair", 5),
        ("three", 6),
        ("make", 9),
        ("Zoo", 13),
        ("Zoo.Cats.lion", 15),
        ("Zoo.build", 17),
        ("late", 21),
        ("net.weight", 4),  # as far as the source goes
        ("hidden", 1),  # a local name is no attribute; the file is known
        ("absent", 1),
    ],
)
def test_the_line_that_binds_a_name(module: ModuleType, attribute: str, line: int) -> None:
    assert str(source.line_of(module, attribute)) == f"nets/zoo.py:{line}"


def test_a_file_elsewhere_is_named_in_full(
    module: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "other").mkdir()
    monkeypatch.chdir(tmp_path / "other")
    found = source.line_of(module, "make")
    assert found is not None
    assert found.file == (tmp_path / "nets" / "zoo.py").resolve().as_posix()


def test_no_source_no_line(tmp_path: Path) -> None:
    assert source.line_of(sys, "path") is None
    gone = ModuleType("gone")
    gone.__file__ = str(tmp_path / "gone.py")
    assert source.line_of(gone, "net") is None
    (tmp_path / "gone.py").write_text("1 +")
    assert source.line_of(gone, "net") is None
