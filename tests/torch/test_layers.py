"""Every row of the layer table, by counting in the real layer what the fans claim to count."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from transformers.pytorch_utils import Conv1D

from isometry.errors import ArgumentError
from isometry.torch.layers import fans, layer_params
from isometry.types import Axes, Fans


def terms_of_one_output(layer: nn.Module, x: torch.Tensor) -> float:
    """Terms summed by an output, averaged over outputs far from the border: with all weights and
    inputs 1 each term is 1, so the output is their number."""
    with torch.no_grad():
        for p in layer.parameters():
            p.fill_(1.0)
        if getattr(layer, "bias", None) is not None:
            layer.bias.zero_()
        return float(_inside(layer(x)).mean())


def outputs_of_one_input(layer: nn.Module, x: torch.Tensor) -> float:
    """Outputs that an input reaches, averaged over inputs far from the border."""
    with torch.no_grad():
        for p in layer.parameters():
            p.fill_(1.0)
    x = x.requires_grad_()
    (grad,) = torch.autograd.grad(layer(x).sum(), x)
    return float(_inside(grad).mean())


def _inside(y: torch.Tensor) -> torch.Tensor:
    for axis in range(2, y.dim()):
        margin = 12 if y.shape[axis] > 24 else 4
        y = y.narrow(axis, margin, y.shape[axis] - 2 * margin)
    return y


def _grid(dims: int, channels: int) -> torch.Tensor:
    # a multiple of every stride, so that the inside holds whole periods of it
    return torch.ones(1, channels, *[36] * dims)


COUNTED = {
    "Linear": (nn.Linear(12, 20), torch.ones(1, 12)),
    "Conv1D of transformers": (Conv1D(20, 12), torch.ones(1, 12)),
    "Conv1d": (nn.Conv1d(4, 6, 5), _grid(1, 4)),
    "Conv2d": (nn.Conv2d(4, 6, 3), _grid(2, 4)),
    "Conv2d oblong": (nn.Conv2d(4, 6, (3, 5)), _grid(2, 4)),
    "Conv3d": (nn.Conv3d(2, 3, 3), _grid(3, 2)),
    "Conv2d stride 2": (nn.Conv2d(4, 6, 4, stride=2), _grid(2, 4)),
    "Conv2d stride (1, 3)": (nn.Conv2d(4, 6, 3, stride=(1, 3)), _grid(2, 4)),
    "Conv2d grouped": (nn.Conv2d(8, 12, 3, groups=4), _grid(2, 8)),
    "Conv2d depthwise": (nn.Conv2d(8, 8, 3, groups=8), _grid(2, 8)),
    "Conv2d dilated": (nn.Conv2d(4, 6, 3, dilation=2), _grid(2, 4)),
    "ConvTranspose1d": (nn.ConvTranspose1d(4, 6, 5), _grid(1, 4)),
    "ConvTranspose2d": (nn.ConvTranspose2d(4, 6, 3), _grid(2, 4)),
    "ConvTranspose2d stride 2": (nn.ConvTranspose2d(4, 6, 4, stride=2), _grid(2, 4)),
    "ConvTranspose2d grouped stride 3": (
        nn.ConvTranspose2d(8, 12, 3, stride=3, groups=4),
        _grid(2, 8),
    ),
    "ConvTranspose3d": (nn.ConvTranspose3d(2, 3, 3), _grid(3, 2)),
}


@pytest.mark.parametrize("name", COUNTED)
def test_fans_are_what_the_layer_sums(name: str) -> None:
    layer, x = COUNTED[name]
    found = fans(layer)
    assert isinstance(found, Fans)
    assert found.fan_in == pytest.approx(terms_of_one_output(layer, x), rel=1e-5)
    assert found.fan_out == pytest.approx(outputs_of_one_input(layer, x), rel=1e-5)


PEERS = {  # the rows of layers whose fans a shape cannot tell
    "Conv2d(64, 64, 3, groups=64)": (nn.Conv2d(64, 64, 3, groups=64), Fans(9, 9)),
    "Conv2d(64, 128, 3, groups=4)": (nn.Conv2d(64, 128, 3, groups=4), Fans(144, 288)),
    "ConvTranspose2d(8, 64, 4)": (nn.ConvTranspose2d(64, 8, 4), Fans(1024, 128)),
    "ConvTranspose2d(8, 64, 4, stride=2)": (nn.ConvTranspose2d(64, 8, 4, stride=2), Fans(256, 128)),
    "Bilinear(5, 7, 3)": (nn.Bilinear(5, 7, 3), Fans(35, 3)),
    "Embedding(1000, 32)": (nn.Embedding(1000, 32), Fans(1, 32)),
    "EmbeddingBag(1000, 32)": (nn.EmbeddingBag(1000, 32), Fans(1, 32)),
    "LazyLinear, once run": (nn.LazyLinear(20), Fans(12, 20)),
}


@pytest.mark.parametrize("name", PEERS)
def test_fans_that_a_shape_cannot_tell(name: str) -> None:
    layer, expected = PEERS[name]
    if name.startswith("Lazy"):
        layer(torch.ones(1, 12))
    assert fans(layer) == expected


def test_attention_is_three_matrices() -> None:
    layout = layer_params(nn.MultiheadAttention(256, 4))
    weight, bias = layout["in_proj_weight"], layout["in_proj_bias"]
    assert [(b.name, b.axis, b.start, b.stop) for b in weight.blocks] == [
        ("q", 0, 0, 256),
        ("k", 0, 256, 512),
        ("v", 0, 512, 768),
    ]
    assert {b.fans for b in weight.blocks} == {Fans(256, 256)}
    assert weight.fans == Fans(256, 256)
    assert (6 / (weight.fans.fan_in + weight.fans.fan_out)) ** 0.5 == pytest.approx(
        0.1083, abs=5e-5
    )
    assert [(b.name, b.start, b.stop) for b in bias.blocks] == [
        ("q", 0, 256), ("k", 256, 512), ("v", 512, 768),
    ]  # fmt: skip


def test_attention_with_its_own_key_and_value_sizes() -> None:
    layer = nn.MultiheadAttention(16, 4, kdim=8, vdim=24, add_bias_kv=True)
    assert fans(layer) == {
        "q_proj_weight": Fans(16, 16),
        "k_proj_weight": Fans(8, 16),
        "v_proj_weight": Fans(24, 16),
    }
    assert {layer_params(layer)[n].role for n in ("bias_k", "bias_v")} == {"token"}
    assert fans(layer.out_proj) == Fans(16, 16)


@pytest.mark.parametrize(
    ("layer", "gates"),
    [
        (nn.LSTM(8, 16, num_layers=2, bidirectional=True), ["i", "f", "g", "o"]),
        (nn.GRU(8, 16), ["r", "z", "n"]),
        (nn.RNN(8, 16), []),
        (nn.LSTMCell(8, 16), ["i", "f", "g", "o"]),
        (nn.GRUCell(8, 16), ["r", "z", "n"]),
        (nn.RNNCell(8, 16), []),
    ],
    ids=lambda v: type(v).__name__ if isinstance(v, nn.Module) else "",
)
def test_recurrent_gates(layer: nn.Module, gates: list[str]) -> None:
    layout = layer_params(layer)
    assert set(layout) == {n for n, _ in layer.named_parameters()}
    for name, p in layer.named_parameters():
        assert [b.name for b in layout[name].blocks] == gates, name
        if gates:
            assert [b.start for b in layout[name].blocks] == list(range(0, len(p), 16))
            assert layout[name].blocks[-1].stop == len(p)
        if p.dim() == 2:
            assert layout[name].fans == Fans(p.shape[1], 16)
            assert layout[name].role == ("recurrent" if "hh" in name else "weight")
        else:
            assert layout[name].role == "bias"


def test_the_gates_of_an_lstm_stand_in_the_order_named() -> None:
    """A forget gate held shut makes the next cell state forget the last: it is the second block."""
    cell = nn.LSTMCell(3, 4)
    forget = next(b for b in layer_params(cell)["bias_ih"].blocks if b.name == "f")
    with torch.no_grad():
        cell.bias_ih[forget.start : forget.stop] = -1e4
    x, h = torch.ones(1, 3), torch.zeros(1, 4)
    states = [cell(x, (h, c))[1] for c in (torch.zeros(1, 4), torch.full((1, 4), 5.0))]
    assert torch.equal(*states)


def test_an_lstm_with_projections() -> None:
    found = fans(nn.LSTM(8, 16, proj_size=4))
    assert found == {
        "weight_ih_l0": Fans(8, 16),
        "weight_hh_l0": Fans(4, 16),
        "weight_hr_l0": Fans(16, 4),
    }


def test_transposed_axes_and_tables() -> None:
    assert layer_params(nn.ConvTranspose2d(4, 6, 3))["weight"].axes == Axes((0,), (1,))
    assert layer_params(Conv1D(20, 12))["weight"].axes == Axes((0,), (1,))
    assert layer_params(nn.Embedding(9, 3))["weight"].axes == Axes((), (1,), (0,))


def test_a_bias_turned_off_is_not_listed() -> None:
    assert set(layer_params(nn.Linear(3, 4, bias=False))) == {"weight"}
    assert set(layer_params(nn.LSTM(3, 4, bias=False))) == {"weight_ih_l0", "weight_hh_l0"}


def test_a_subclass_and_a_parametrised_layer_are_read_as_their_layer() -> None:
    class Mine(nn.Linear):
        pass

    assert fans(Mine(3, 4)) == Fans(3, 4)
    normed = nn.utils.parametrizations.weight_norm(nn.Conv2d(4, 6, 3, stride=2))
    assert fans(normed) == Fans(36, 13.5)


def test_errors_say_what_to_do() -> None:
    with pytest.raises(ArgumentError, match=r"LazyLinear\.weight is lazy.*run the model once"):
        fans(nn.LazyLinear(3))
    with pytest.raises(ArgumentError, match="LayerNorm is not a layer whose fans are known"):
        fans(nn.LayerNorm(3))
    assert layer_params(nn.LayerNorm(3)) == {}
