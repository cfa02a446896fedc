"""Residual streams: where they begin, how often they are written, and by which weights."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
import transformers as hf
from torch import Tensor, nn
from torch.nn import functional as F

import isometry as iso
from isometry.streams import read_streams, weight_values
from isometry.torch.read import read_graph

D, B, T = 12, 2, 5


def read(model: nn.Module, inputs: object = None) -> list[tuple[int, list[str]]]:
    """For each stream, how often it is written and the weights that write it; GPT-2's GELU, which
    adds a cube to its argument, is none."""
    graph = read_graph(model, torch.zeros(B, T, D) if inputs is None else inputs)
    weights = weight_values(graph)
    streams = read_streams(graph, weights)
    found: list[tuple[int, list[str]]] = [(s.writes, []) for s in streams.streams]
    for node, stream in streams.of_writer.items():
        leaf = graph.leaf_of(graph.nodes[node].parts[-1].root)
        assert leaf is not None
        found[[s is stream for s in streams.streams].index(True)][1].append(leaf.name)
    return [s for s in found if s[1] or s[0] > 1]


class Block(nn.Module):
    """Attention (one matrix will do here) and an MLP, put together by a function."""

    def __init__(self, together: Callable[[Block, Tensor], Tensor]) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(D), nn.LayerNorm(D)
        self.value, self.out = nn.Linear(D, D), nn.Linear(D, D)
        self.up, self.down = nn.Linear(D, 4 * D), nn.Linear(4 * D, D)
        self.scale = nn.Parameter(torch.full((D,), 0.1))
        self.together = together

    def attention(self, x: Tensor) -> Tensor:
        return self.out(self.value(x))

    def mlp(self, x: Tensor) -> Tensor:
        return self.down(F.gelu(self.up(x)))

    def forward(self, x: Tensor) -> Tensor:
        return self.together(self, x)


def pre_norm(b: Block, x: Tensor) -> Tensor:
    x = x + b.attention(b.norm1(x))
    return x + b.mlp(b.norm2(x))


def post_norm(b: Block, x: Tensor) -> Tensor:
    x = b.norm1(x + b.attention(x))
    return b.norm2(x + b.mlp(x))


def parallel(b: Block, x: Tensor) -> Tensor:
    return x + b.attention(b.norm1(x)) + b.mlp(b.norm1(x))


def parallel_computed_first(b: Block, x: Tensor) -> Tensor:
    mlp, attention = b.mlp(b.norm1(x)), b.attention(b.norm1(x))
    return mlp + (x + attention)


def parallel_of_three(b: Block, x: Tensor) -> Tensor:
    return x + b.attention(b.norm1(x)) + b.mlp(b.norm1(x)) + torch.tanh(b.norm2(x))


def parallel_in_one_sum(b: Block, x: Tensor) -> Tensor:
    return x + (b.attention(b.norm1(x)) + b.mlp(b.norm1(x)))


def scaled(b: Block, x: Tensor) -> Tensor:
    x = x + b.scale * F.dropout(b.attention(b.norm1(x)), 0.1)
    return 0.5 * b.mlp(b.norm2(x)) + x


def in_place(b: Block, x: Tensor) -> Tensor:
    x = x.clone()
    x += b.attention(b.norm1(x))
    x += b.mlp(b.norm2(x))
    return x


def gated(b: Block, x: Tensor) -> Tensor:
    """The gate is no writer: what it multiplies is."""
    return x + torch.sigmoid(b.out(x)) * b.value(b.norm1(x))


ONE_STREAM = ["0.out.weight", "0.down.weight", "1.out.weight", "1.down.weight"]


@pytest.mark.parametrize(
    "together", [pre_norm, parallel, parallel_computed_first, parallel_in_one_sum, scaled, in_place],
    ids=lambda f: f.__name__,
)  # fmt: skip
def test_two_blocks_write_one_stream_four_times(
    together: Callable[[Block, Tensor], Tensor],
) -> None:
    ((writes, writers),) = read(nn.Sequential(Block(together), Block(together)))
    assert writes == 4
    assert sorted(writers) == sorted(ONE_STREAM)


def test_a_branch_without_a_weight_writes_too() -> None:
    ((writes, writers),) = read(nn.Sequential(Block(parallel_of_three), Block(parallel_of_three)))
    assert writes == 6
    assert sorted(writers) == sorted(ONE_STREAM)


def test_a_normalisation_on_the_stream_begins_another() -> None:
    found = read(nn.Sequential(Block(post_norm), Block(post_norm)))
    assert found == [(1, [name]) for name in ONE_STREAM]


def test_a_gate_is_no_writer() -> None:
    ((writes, writers),) = read(nn.Sequential(Block(gated), Block(gated)))
    assert (writes, writers) == (2, ["0.value.weight", "1.value.weight"])


@pytest.mark.parametrize("layers", [1, 2, 5])
def test_gpt2_writes_its_stream_twice_a_layer(layers: int) -> None:
    config = hf.GPT2Config(n_layer=layers, n_embd=16, n_head=2, vocab_size=50, n_positions=32)
    model = hf.GPT2LMHeadModel(config)
    ids = torch.zeros(1, 8, dtype=torch.long)
    ((writes, writers),) = read(model, ids)
    assert writes == 2 * layers
    assert writers == [
        f"transformer.h.{i}.{part}.c_proj.weight" for i in range(layers) for part in ("attn", "mlp")
    ]
    for decision in iso.plan(model, ids):
        if decision.name in writers:
            assert f"{2 * layers}^-1/2" in decision.reason
        else:
            assert "residual stream" not in decision.reason


def test_a_wider_stack_scales_by_the_root_of_its_writes() -> None:
    """Per writer Var W ~ 1/N, so that N of them add up to what they started from."""
    plans = {}
    for depth in (1, 4):
        model = nn.Sequential(*(Block(pre_norm) for _ in range(depth)))
        plans[depth] = iso.plan(model, torch.zeros(B, T, D))
    for name in ("0.out.weight", "0.down.weight"):
        ratio = plans[1][name].law.variance / plans[4][name].law.variance
        assert ratio == pytest.approx(4.0, rel=1e-4)
    for name in ("0.value.weight", "0.up.weight"):
        assert plans[1][name].law == plans[4][name].law


class ResidualBlock(nn.Module):
    """Two convolutions, and a shortcut that is itself a convolution where the shape changes."""

    def __init__(self, before: int, after: int) -> None:
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(before, after, 3, padding=1), nn.BatchNorm2d(after)
        self.conv2, self.bn2 = nn.Conv2d(after, after, 3, padding=1), nn.BatchNorm2d(after)
        self.shortcut = nn.Conv2d(before, after, 1) if before != after else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        y = self.bn2(self.conv2(torch.relu(self.bn1(self.conv1(x)))))
        return torch.relu(self.shortcut(x) + y)


def test_a_resnet_has_a_stream_for_each_run_of_identity_shortcuts() -> None:
    """Through the ReLU after each sum; where the shortcut is a convolution, it begins anew. A
    normalised branch has no writer: its normalisation sets its size."""
    blocks = (4, 4), (4, 4), (4, 8), (8, 8), (8, 8), (8, 8)
    model = nn.Sequential(*(ResidualBlock(a, b) for a, b in blocks))
    found = read(model, torch.zeros(B, 4, 6, 6))
    assert found == [(2, []), (3, [])]
    plan = iso.plan(model, torch.zeros(B, 4, 6, 6))
    assert not any("that write its residual stream" in d.reason for d in plan)


def test_what_is_no_stream() -> None:
    """Sums of positions, of two branches, of a bias; a concatenated skip."""

    class None_(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b, self.c = (nn.Linear(D, D) for _ in range(3))
            self.positions = nn.Parameter(torch.randn(T, D))
            self.d = nn.Linear(2 * D, D)

        def forward(self, x: Tensor) -> Tensor:
            x = x + self.positions
            y = torch.tanh(self.a(x)) + torch.tanh(self.b(x))
            return self.d(torch.cat((y, self.c(y)), dim=-1)) + 1.0

    assert read(None_()) == []


@pytest.mark.parametrize("depth", [2, 12])
def test_the_signal_at_the_end_of_a_stream_does_not_grow_with_depth(depth: int) -> None:
    """x_L has the input's second moment and 1 more, whatever L: N branches of 1/N each."""
    blocks = nn.Sequential(*(Linear() for _ in range(depth)))
    x = torch.randn(64, 256, generator=torch.Generator().manual_seed(0))
    plan = iso.plan(blocks, x)
    moments = []
    for seed in range(10):
        plan.apply(blocks, seed=seed)
        with torch.no_grad():
            moments.append(float(blocks(x).square().mean()))
    q = torch.tensor(moments)
    error = float(q.std()) / math.sqrt(len(q))
    assert float(q.mean()) == pytest.approx(float(x.square().mean()) + 1.0, abs=4 * error)


class Linear(nn.Module):
    """x + W norm(x)."""

    def __init__(self) -> None:
        super().__init__()
        self.norm, self.body = nn.LayerNorm(256), nn.Linear(256, 256)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.body(self.norm(x))
