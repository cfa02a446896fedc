"""The `TrainerCallback` in real training: what it finds, and that it changes nothing."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import Dataset, IterableDataset
from transformers import (
    GPT2Config,
    GPT2LMHeadModel,
    PreTrainedModel,
    T5Config,
    T5ForConditionalGeneration,
    Trainer,
    TrainingArguments,
)

import isometry as iso
from isometry.torch.callbacks.transformers import CheckInitialization, read

VOCABULARY = 100


class Texts(Dataset[dict[str, Tensor]]):
    """Random tokens; the labels are the same tokens."""

    def __init__(self, count: int = 96) -> None:
        self.ids = torch.randint(
            VOCABULARY, (count, 16), generator=torch.Generator().manual_seed(0)
        )

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        return {"input_ids": self.ids[index], "labels": self.ids[index]}

    def __len__(self) -> int:
        return len(self.ids)


class Stream(IterableDataset[dict[str, Tensor]]):
    """Data that can be read only once."""

    def __init__(self) -> None:
        texts = Texts()
        self.rest = iter([texts[i] for i in range(len(texts))])

    def __iter__(self) -> Iterator[dict[str, Tensor]]:
        return self.rest


def gpt2() -> GPT2LMHeadModel:
    torch.manual_seed(0)
    sizes = {"vocab_size": VOCABULARY, "n_positions": 16, "n_embd": 32, "n_layer": 2, "n_head": 2}
    return GPT2LMHeadModel(GPT2Config(**sizes, bos_token_id=0, eos_token_id=0))


def ill() -> GPT2LMHeadModel:
    """A GPT-2 in which two zeros in series stop each other."""
    model = gpt2()
    for layer in (model.transformer.h[0].mlp.c_fc, model.transformer.h[0].mlp.c_proj):
        nn.init.zeros_(layer.weight)
    return model


Train = Callable[..., Trainer]


@pytest.fixture
def train(tmp_path: Path) -> Train:
    """Train three steps on the CPU."""

    def trained(
        model: PreTrainedModel, *callbacks: Any, data: Any = None, **options: Any
    ) -> Trainer:
        resume = options.pop("resume_from_checkpoint", None)
        plain = {"use_cpu": True, "report_to": [], "disable_tqdm": True, "save_strategy": "no"}
        steps = {"max_steps": 3, "per_device_train_batch_size": 32, "logging_steps": 1}
        if "torch_compile" not in options:
            plain["dataloader_pin_memory"] = False
        trainer = Trainer(
            model,
            TrainingArguments(str(tmp_path / "run"), **{**plain, **steps, **options}),
            train_dataset=Texts() if data is None else data,
            eval_dataset=Texts(32),
            callbacks=list(callbacks),
        )
        trainer.train(resume_from_checkpoint=resume)
        return trainer

    return trained


def losses(trainer: Trainer) -> list[float]:
    return [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]


@pytest.mark.parametrize(
    ("options", "data"),
    [
        ({}, Texts),
        ({}, Stream),
        ({"bf16": True}, Texts),
        ({"gradient_accumulation_steps": 2, "per_device_train_batch_size": 16}, Texts),
        ({"eval_on_start": True}, Texts),
    ],
    ids=["plain", "stream", "bf16", "accumulated", "evaluated first"],
)
def test_training_is_the_same_to_the_bit(
    train: Train,
    capsys: pytest.CaptureFixture[str],
    options: dict[str, Any],
    data: Callable[[], Any],
) -> None:
    without, checked = gpt2(), gpt2()
    expected = losses(train(without, data=data(), **options))
    found = losses(train(checked, CheckInitialization(), data=data(), **options))
    assert capsys.readouterr().out.count("GPT2LMHeadModel: healthy") == 1
    assert len(expected) == 3
    assert found == expected
    for (name, before), after in zip(
        without.state_dict().items(), checked.state_dict().values(), strict=True
    ):
        assert torch.equal(after, before), name
    assert not checked._forward_pre_hooks


@pytest.mark.filterwarnings("ignore")  # torch.compile's own, of this and that
def test_a_compiled_model_is_checked_as_it_is_written(
    train: Train, capsys: pytest.CaptureFixture[str]
) -> None:
    options = {"torch_compile": True, "torch_compile_backend": "eager", "max_steps": 1}
    expected = losses(train(gpt2(), **options))
    found = losses(train(gpt2(), CheckInitialization(), **options))
    assert "GPT2LMHeadModel: healthy" in capsys.readouterr().out
    assert found == expected


def test_an_error_stops_training_before_the_first_step(train: Train) -> None:
    model = ill()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    with pytest.raises(iso.UnhealthyError, match=r"ISO103.*mlp\.c_fc\.weight"):
        train(model, CheckInitialization())
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert not model._forward_pre_hooks


def test_warn_and_ignore_go_on(train: Train, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.warns(UserWarning, match="ISO103"):
        assert len(losses(train(ill(), CheckInitialization("warn")))) == 3
    assert "ISO103" not in capsys.readouterr().out
    assert len(losses(train(ill(), CheckInitialization("ignore")))) == 3
    assert "error: ISO103" in capsys.readouterr().out


def test_select_and_ignore(train: Train, capsys: pytest.CaptureFixture[str]) -> None:
    train(ill(), CheckInitialization(ignore=["ISO103:transformer.h.0.mlp.*"]), max_steps=1)
    train(ill(), CheckInitialization(select="ISO2"), max_steps=1)
    assert capsys.readouterr().out.count("GPT2LMHeadModel: healthy") == 2


def test_a_checkpoint_is_not_checked(
    train: Train, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    train(ill(), save_strategy="steps", save_steps=3)
    checkpoint = tmp_path / "run" / "checkpoint-3"
    trainer = train(
        ill(), CheckInitialization(), max_steps=4, resume_from_checkpoint=str(checkpoint)
    )
    assert trainer.state.global_step == 4
    assert "GPT2LMHeadModel goes on from step 3" in capsys.readouterr().out


def test_a_decoder_that_is_fed_from_the_labels(
    train: Train, capsys: pytest.CaptureFixture[str]
) -> None:
    torch.manual_seed(0)
    sizes = {"d_model": 32, "d_kv": 16, "d_ff": 64, "num_layers": 2, "num_heads": 2}
    model = T5ForConditionalGeneration(
        T5Config(vocab_size=VOCABULARY, **sizes, decoder_start_token_id=0)
    )
    train(model, CheckInitialization(), max_steps=1)
    assert "T5ForConditionalGeneration: healthy" in capsys.readouterr().out


def test_inputs_target_and_loss_of_ones_own(
    train: Train, capsys: pytest.CaptureFixture[str]
) -> None:
    seen = []

    def loss(output: Any, target: Tensor) -> Tensor:
        seen.append((tuple(output.logits.shape), tuple(target.shape)))
        return nn.functional.cross_entropy(output.logits.flatten(0, 1), target.flatten())

    callback = CheckInitialization(
        inputs=lambda batch: {"input_ids": batch["input_ids"][:, :8]},
        target=lambda batch: batch["labels"][:, :8],
        loss=loss,
    )
    train(gpt2(), callback, max_steps=1)
    assert set(seen) == {((32, 8, VOCABULARY), (32, 8))}
    assert "GPT2LMHeadModel: healthy" in capsys.readouterr().out


def test_a_trainer_that_never_calls_the_model_itself(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    class Inner(Trainer):
        def compute_loss(self, model: Any, inputs: Any, *rest: Any, **options: Any) -> Tensor:
            return model.transformer(inputs["input_ids"]).last_hidden_state.square().mean()

    model = gpt2()
    quiet = {"use_cpu": True, "report_to": [], "save_strategy": "no", "max_steps": 1}
    options = TrainingArguments(str(tmp_path), **quiet, dataloader_pin_memory=False)
    Inner(model, options, train_dataset=Texts(), callbacks=[CheckInitialization()]).train()
    assert "did not call the model itself; it was not checked" in capsys.readouterr().out
    assert not model._forward_pre_hooks


def test_how_a_batch_is_read() -> None:
    ids, labels = torch.zeros(2, 3), torch.ones(2, 3)
    batch = {"input_ids": ids, "labels": labels, "num_items_in_batch": 6, "return_loss": True}
    assert read(nn.Identity(), batch) == ({"input_ids": ids}, labels)
    assert read(nn.Identity(), {"pixel_values": ids}) == ({"pixel_values": ids}, None)


def test_a_mistake_is_said_before_training() -> None:
    with pytest.raises(iso.ArgumentError, match="on_error is 'log'; expected one of 'raise'"):
        CheckInitialization(on_error="log")
