"""TARGET and --input: what can be typed, and what is said where it cannot be used."""

from pathlib import Path

import pytest
import torch

from isometry.cli import inputs, target
from isometry.errors import ArgumentError, ModelError

NETS = """
import torch
from helper import WIDTH
from torch import nn

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(WIDTH, 2)
    def forward(self, x):
        raise AssertionError("a model is never called as a factory")

model = Net()
pair = model, torch.zeros(1, WIDTH)
def make(): return Net()
def make_pair(): return Net(), torch.zeros(3, WIDTH)
def three(): return 3
def triple(): return Net(), 1, 2
def broken(): raise RuntimeError("boom")
def leave(): raise SystemExit(0)
class Inside: net = model
"""


@pytest.fixture
def nets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file of models, beside a module that it imports."""
    monkeypatch.syspath_prepend(tmp_path)  # restores sys.path afterwards
    (tmp_path / "helper.py").write_text("WIDTH = 4\n")
    path = tmp_path / "nets.py"
    path.write_text(NETS)
    return path


@pytest.mark.parametrize("attribute", ["model", "pair", "make", "make_pair", "Net", "Inside.net"])
def test_every_way_to_name_a_model(nets: Path, attribute: str) -> None:
    found = target.load(f"{nets}:{attribute}")
    assert found.model.fc.weight.shape == (2, 4)
    sizes = {"pair": (1, 4), "make_pair": (3, 4)}
    assert (found.inputs is not None) == (attribute in sizes)
    if attribute in sizes:
        assert found.inputs.shape == sizes[attribute]


def test_a_factory_can_build_again_and_a_model_cannot(nets: Path) -> None:
    found = target.load(f"{nets}:make_pair")
    assert found.build is not None
    again = found.build()
    assert again is not found.model
    assert not torch.equal(again.fc.weight, found.model.fc.weight)
    assert target.load(f"{nets}:model").build is None


def test_an_installed_module_is_found_by_its_name() -> None:
    with pytest.raises(ModelError, match=r"torch\.nn:Linear\(\) raised TypeError"):
        target.load("torch.nn:Linear")
    assert isinstance(target.load("torch.nn:Identity").model, torch.nn.Identity)


@pytest.mark.parametrize(
    ("attribute", "error", "said"),
    [
        ("modle", ArgumentError, r"no attribute 'modle'; did you mean model"),
        ("three", ModelError, r"gave int; expected a model, or \(model, inputs\)"),
        ("triple", ModelError, r"gave Net, int, int; expected"),
        ("broken", ModelError, r"raised RuntimeError: boom"),
        ("leave", ModelError, r"raised SystemExit: 0"),
        ("__name__", ModelError, r"is a str; expected a model"),
    ],
)
def test_what_is_no_model_is_said_so(
    nets: Path, attribute: str, error: type[Exception], said: str
) -> None:
    with pytest.raises(error, match=said):
        target.load(f"{nets}:{attribute}")


@pytest.mark.parametrize("text", ["nets", "nets:", ":model", ""])
def test_a_target_has_two_parts(text: str) -> None:
    with pytest.raises(ArgumentError, match=r"expected package\.module:attribute or path"):
        target.load(text)


def test_a_place_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(ArgumentError, match="there is no file"):
        target.load(f"{tmp_path}/absent.py:model")
    with pytest.raises(ModelError, match="could not be imported: No module named 'absent_package'"):
        target.load("absent_package.nets:model")


def test_a_file_that_raises(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "typo.py").write_text("1 +\n")
    with pytest.raises(ModelError, match=r"typo\.py raised SyntaxError"):
        target.load(f"{tmp_path}/typo.py:model")


def test_inputs_have_the_sizes_and_dtypes_asked_for() -> None:
    images, ids, mask = inputs.draw(["8x3x4x4:bfloat16", "2x5:int64:7", "64:bool"], seed=0)
    assert (images.shape, images.dtype) == ((8, 3, 4, 4), torch.bfloat16)
    assert (ids.shape, ids.dtype) == ((2, 5), torch.int64)
    assert set(ids.ravel().tolist()) <= set(range(7))
    assert mask.dtype is torch.bool
    assert mask.any()
    assert not mask.all()


def test_one_input_is_a_tensor_none_is_none() -> None:
    assert inputs.draw(["4"], seed=0).shape == (4,)
    assert inputs.draw([], seed=0) is None


def test_inputs_follow_from_the_seed_alone() -> None:
    torch.manual_seed(1)
    first = inputs.draw(["32x8"], seed=3)
    before = torch.random.get_rng_state()
    assert torch.equal(first, inputs.draw(["32x8"], seed=3))
    assert not torch.equal(first, inputs.draw(["32x8"], seed=4))
    assert torch.equal(before, torch.random.get_rng_state())


@pytest.mark.parametrize(
    "text", ["", "x", "8x", "8x-3", "8x3.5", "8x0", "8:int8", "8:int64:0", "8:int64:7:9", "8:"]
)
def test_an_input_that_cannot_be_read_names_the_form(text: str) -> None:
    with pytest.raises(ArgumentError, match="such as 8x3x64x64, 8x3x64x64:bfloat16"):
        inputs.parse(text)
