"""What to call a model with: the inputs given, or inputs made up from what the model says."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from isometry.errors import ArgumentError

__all__ = ["Call", "as_call", "draw_inputs"]

TOKENS = 32  # length of a drawn sequence


@dataclass(frozen=True, slots=True)
class Call:
    """The arguments of a model's forward, and where they came from."""

    args: tuple[Any, ...] = ()
    kwargs: Mapping[str, Any] = field(default_factory=dict)
    origin: str = "given"

    def map(self, change: Callable[[Tensor], Tensor]) -> Call:
        """The same call with every tensor changed."""
        return Call(_map(self.args, change), _map(dict(self.kwargs), change), self.origin)


def _map(value: Any, change: Callable[[Tensor], Tensor]) -> Any:
    if isinstance(value, Tensor):
        return change(value)
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        return type(value)(*(_map(v, change) for v in value))
    if isinstance(value, (tuple, list)):
        return type(value)(_map(v, change) for v in value)
    if isinstance(value, Mapping):
        return {k: _map(v, change) for k, v in value.items()}
    return value


def as_call(inputs: Any) -> Call:
    """A tensor is one positional argument, a tuple several, a dict keyword arguments."""
    if isinstance(inputs, Tensor):
        return Call((inputs,))
    if isinstance(inputs, Mapping):
        return Call((), dict(inputs))
    if isinstance(inputs, (tuple, list)):
        return Call(tuple(inputs))
    raise ArgumentError(
        f"inputs is {type(inputs).__name__}; expected a tensor, a tuple (positional arguments) or "
        "a dict (keyword arguments)"
    )


def draw_inputs(model: nn.Module, batch: int = 2) -> Call | None:
    """Random inputs for a model that says what it takes; None where it does not.

    A transformers model says it by its config and `main_input_name`; any other by the first of
    its modules that has a weight. Drawn from a generator of our own, the same every time.
    """
    generator = torch.Generator().manual_seed(0x150)
    if hasattr(model, "config") and hasattr(model, "main_input_name"):
        return _for_transformers(model, batch, generator)
    return _for_first_layer(model, batch, generator)


def _for_transformers(model: Any, batch: int, generator: torch.Generator) -> Call:
    config = model.config
    text = getattr(config, "text_config", config) or config
    vision = getattr(config, "vision_config", config) or config
    audio = getattr(config, "audio_config", config) or config
    accepted = inspect.signature(model.forward).parameters

    def ids() -> Tensor:
        vocabulary = getattr(text, "vocab_size", None) or 100
        longest = getattr(text, "max_position_embeddings", None) or TOKENS
        if longest < 1:  # XLNet's way to say that there is no limit
            longest = TOKENS
        length = min(TOKENS, longest - 2) if longest > 4 else longest
        # The lowest ids are padding, start and end in most vocabularies: keep clear of them.
        low = min(5, vocabulary - 1)
        drawn = torch.randint(low, vocabulary, (batch, length), generator=generator)
        end = getattr(text, "eos_token_id", None)
        if vision is not config and isinstance(end, int) and 0 <= end < vocabulary:
            drawn[:, -1] = end  # contrastive text towers pool at the end token
        return drawn

    def pixels() -> Tensor:
        size = getattr(vision, "image_size", None) or 224
        height, width = size if isinstance(size, (tuple, list)) else (size, size)
        channels = getattr(vision, "num_channels", None) or 3
        return torch.randn(batch, channels, height, width, generator=generator)

    def features() -> Tensor:
        bins = getattr(audio, "num_mel_bins", 80)
        length = 2 * getattr(audio, "max_source_positions", 1500)
        return torch.randn(batch, bins, length, generator=generator)

    makers: dict[str, Callable[[], Tensor]] = {
        "input_ids": ids,
        "pixel_values": pixels,
        "input_values": lambda: torch.randn(batch, 16000, generator=generator),
        "input_features": features,
    }
    wanted = [model.main_input_name]
    if vision is not config and text is not config:
        wanted += ["input_ids", "pixel_values"]
    kwargs = {n: makers[n]() for n in dict.fromkeys(wanted) if n in makers and n in accepted}
    if getattr(config, "is_encoder_decoder", False) and "decoder_input_ids" in accepted:
        kwargs["decoder_input_ids"] = ids()
    if not kwargs:
        kwargs = {k: v for k, v in model.dummy_inputs.items() if isinstance(v, Tensor)}
    return Call((), kwargs, f"drawn for {type(model).__name__} from its config")


def _for_first_layer(model: nn.Module, batch: int, generator: torch.Generator) -> Call | None:
    for name, module in model.named_modules():
        shape: tuple[int, ...] | None = None
        if isinstance(module, nn.Linear):
            shape = (batch, module.in_features)
        elif isinstance(module, nn.modules.conv._ConvNd):
            shape = (batch, module.in_channels, *(32,) * len(module.kernel_size))
        elif isinstance(module, nn.Embedding):
            ids = torch.randint(0, module.num_embeddings, (batch, TOKENS), generator=generator)
            return Call((ids,), {}, f"drawn to fit {name or 'the model'}, its first layer")
        elif isinstance(module, nn.RNNBase):
            shape = (batch, TOKENS, module.input_size)
        elif next(module.parameters(recurse=False), None) is not None:
            return None
        if shape is not None:
            drawn = torch.randn(shape, generator=generator)
            return Call((drawn,), {}, f"drawn to fit {name or 'the model'}, its first layer")
    return None
