"""The Lightning callback in real training: what it finds, and that it changes nothing."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import lightning.pytorch
import pytest
import pytorch_lightning
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset, IterableDataset, TensorDataset

import isometry as iso
from isometry.torch.callbacks.lightning import CheckInitialization, read

# What Lightning itself warns of: idle cores, and its own use of torch.
pytestmark = [
    pytest.mark.filterwarnings("ignore:.*does not have many workers"),
    pytest.mark.filterwarnings("ignore:.*LeafSpec"),
]


def layers(depth: int) -> nn.Sequential:
    torch.manual_seed(1)
    hidden = [m for _ in range(depth) for m in (nn.Linear(64, 64), nn.ReLU(), nn.Dropout(0.1))]
    return nn.Sequential(*hidden, nn.Linear(64, 10))


class Net(lightning.pytorch.LightningModule):
    """A classifier that notes its losses."""

    def __init__(self, depth: int = 3) -> None:
        super().__init__()
        self.net, self.losses = layers(depth), []

    def forward(self, x: Tensor) -> Tensor:
        return self.net(x)

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        x, y = batch.values() if isinstance(batch, dict) else batch
        loss = nn.functional.cross_entropy(self.net(x), y)
        self.losses.append(loss.item())
        return loss

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.1)


class Headless(Net):
    """One that trains its net and has no forward."""

    forward = lightning.pytorch.LightningModule.forward


def pairs() -> TensorDataset:
    generator = torch.Generator().manual_seed(0)
    y = torch.randint(10, (256,), generator=generator)
    return TensorDataset(torch.randn(256, 64, generator=generator), y)


class Stream(IterableDataset[Any]):
    """Data that can be read only once."""

    def __init__(self) -> None:
        self.rest = iter([pairs()[i] for i in range(256)])

    def __iter__(self) -> Iterator[Any]:
        return self.rest


class Named(Dataset[Any]):
    """The same pairs as dicts."""

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        x, y = pairs()[index]
        return {"image": x, "label": y}

    def __len__(self) -> int:
        return 128


def fit(
    module: Any, *callbacks: Any, data: Any = None, package: Any = lightning.pytorch, **options: Any
) -> Any:
    """Train for an epoch on the CPU, from a fixed seed."""
    torch.manual_seed(0)
    data = pairs() if data is None else data
    shuffle = not isinstance(data, IterableDataset)
    loader = DataLoader(data, batch_size=64, shuffle=shuffle)
    path = options.pop("ckpt_path", None)
    defaults = {"max_epochs": 1, "accelerator": "cpu", "logger": False}
    quiet = {"enable_progress_bar": False, "enable_model_summary": False}
    trainer = package.Trainer(
        **{**defaults, **quiet, "enable_checkpointing": False, **options}, callbacks=list(callbacks)
    )
    trainer.fit(module, loader, ckpt_path=path)
    return trainer


@pytest.mark.parametrize("data", [pairs, Stream])
def test_training_is_the_same_to_the_bit(
    data: Callable[[], Any], capsys: pytest.CaptureFixture[str]
) -> None:
    without, checked = Net(), Net()
    fit(without, data=data())
    fit(checked, CheckInitialization(loss="cross_entropy"), data=data())
    assert "Net: healthy" in capsys.readouterr().out
    assert len(without.losses) == 4
    assert checked.losses == without.losses
    for (name, expected), found in zip(
        without.state_dict().items(), checked.state_dict().values(), strict=True
    ):
        assert torch.equal(found, expected), name


def test_it_checks_once(capsys: pytest.CaptureFixture[str]) -> None:
    fit(Net(), CheckInitialization(), max_epochs=2, accumulate_grad_batches=4)
    assert capsys.readouterr().out.count("Net: ") == 1


def test_an_error_stops_training_before_the_first_step() -> None:
    module = Net(20)
    with pytest.raises(iso.UnhealthyError, match=r"(?s)Net: not healthy.*ISO201.*net\.0"):
        fit(module, CheckInitialization())
    assert module.losses == []


def test_warn_goes_on() -> None:
    module = Net(20)
    with pytest.warns(UserWarning, match="ISO201"):
        fit(module, CheckInitialization("warn"))
    assert len(module.losses) == 4


def test_ignore_prints_and_goes_on(capsys: pytest.CaptureFixture[str]) -> None:
    module = Net(20)
    fit(module, CheckInitialization("ignore"))
    assert "error: ISO201" in capsys.readouterr().out
    assert len(module.losses) == 4


def test_select_and_ignore(capsys: pytest.CaptureFixture[str]) -> None:
    fit(Net(20), CheckInitialization(ignore=["ISO2:net.*", "ISO3"]))
    fit(Net(20), CheckInitialization(select="ISO7"))
    assert capsys.readouterr().out.count("Net: healthy") == 2


def test_the_second_of_a_pair_is_the_target_of_the_loss() -> None:
    seen = []

    def loss(output: Tensor, target: Tensor) -> Tensor:
        seen.append(target.clone())
        return nn.functional.cross_entropy(output, target)

    fit(Net(), CheckInitialization(loss=loss))
    drawn = {tuple(y.tolist()) for y in seen}
    assert len(drawn) == 1
    assert sum(torch.bincount(seen[0])) == 64


def test_a_checkpoint_is_not_checked(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "last.ckpt"
    fit(Net(20)).save_checkpoint(path)
    module = Net(20)
    fit(module, CheckInitialization(), max_epochs=2, ckpt_path=path)
    assert len(module.losses) == 4
    assert "Net goes on from step 4" in capsys.readouterr().out


def test_a_dict_gives_what_forward_accepts() -> None:
    class Keyed(Net):
        def forward(self, image: Tensor) -> Tensor:
            return self.net(image)

    with pytest.raises(iso.UnhealthyError, match="ISO201"):
        fit(Keyed(20), CheckInitialization(), data=Named())


def test_a_dict_of_which_forward_takes_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    remedy = r"'image', 'label', and the forward of Net takes \(x\).*inputs=lambda batch: batch\['i"
    with pytest.raises(iso.ArgumentError, match=remedy):
        fit(Net(), CheckInitialization(), data=Named())
    fit(
        Net(),
        CheckInitialization(
            inputs=lambda batch: batch["image"],
            target=lambda batch: batch["label"],
            loss="cross_entropy",
        ),
        data=Named(),
    )
    assert "Net: healthy" in capsys.readouterr().out


def test_a_module_without_forward(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(iso.ArgumentError, match=r"no forward.*model=lambda module: module\.net"):
        fit(Headless(), CheckInitialization())
    fit(Headless(), CheckInitialization(model=lambda module: module.net))
    assert "Sequential: healthy" in capsys.readouterr().out


def test_a_check_that_cannot_be_made_only_warns_where_asked() -> None:
    module = Headless()
    with pytest.warns(UserWarning, match="Headless was not checked: Headless has no forward"):
        fit(module, CheckInitialization("warn"))
    assert len(module.losses) == 4


def test_a_probe_copies_a_module_that_is_being_trained(capsys: pytest.CaptureFixture[str]) -> None:
    module = Net()
    nn.init.zeros_(module.net[-1].weight)  # a zero head: the probe sees it move
    fit(module, CheckInitialization(loss="cross_entropy"))
    assert "Net: healthy" in capsys.readouterr().out


def test_pytorch_lightning_is_as_good(capsys: pytest.CaptureFixture[str]) -> None:
    steps = {
        "forward": lambda self, x: self.net(x),
        "training_step": Net.training_step,
        "configure_optimizers": Net.configure_optimizers,
    }
    module = type("Older", (pytorch_lightning.LightningModule,), steps)()
    module.net, module.losses = layers(3), []
    fit(module, CheckInitialization(), package=pytorch_lightning)
    assert "Older: healthy" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"on_error": "stop"}, "on_error is 'stop'; expected one of 'raise', 'warn', 'ignore'"),
        ({"inputs": 0}, "inputs is int; expected a function of the batch"),
        ({"target": "y"}, "target is str; expected a function of the batch"),
        ({"ignore": ["ISO999"]}, "'ISO999' is the beginning of no rule's code"),
        ({"select": "XYZ"}, "'XYZ' is the beginning of no rule's code"),
    ],
)
def test_a_mistake_is_said_before_training(options: dict[str, Any], said: str) -> None:
    with pytest.raises(iso.ArgumentError) as refusal:
        CheckInitialization(**options)
    assert said in str(refusal.value)


def test_how_a_batch_is_read() -> None:
    x, y, z = torch.ones(3, 2)
    model = nn.Identity()
    assert read(model, x) == (x, None)
    assert read(model, [x]) == (x, None)
    assert read(model, (x, y, z)) == (x, y)
