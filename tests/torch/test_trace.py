"""What is recorded of a model's own forward, and that nothing else is left of it."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import isometry as iso
from isometry.graph import Graph, Node
from isometry.planner import plan_graph
from isometry.torch.inputs import as_call
from isometry.torch.leaves import owned_tensors
from isometry.torch.read import read_graph, trace_call

B, T, D = 2, 5, 12  # batch, tokens, features


def leaf(graph: Graph, name: str) -> int:
    return next(x.value for x in graph.leaves if x.name == name)


def nodes(graph: Graph, op: str) -> list[Node]:
    return [n for n in graph if n.op == op]


def product(graph: Graph, name: str = "weight") -> Node:
    """The one product that reads a parameter."""
    value = leaf(graph, name)
    (found,) = [n for n in nodes(graph, "linear") if n.parts[1].root == value]
    return found


class Function(nn.Module):
    """A forward of one line, with one weight."""

    def __init__(self, forward: Callable[[Tensor, Tensor], Tensor], *shape: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.rand(shape))
        self.run = forward

    def forward(self, x: Tensor) -> Tensor:
        return self.run(x, self.weight)


# -- what a product reads ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("forward", "shape", "x", "axes"),
    [
        (lambda x, w: x @ w, (D, 7), (B, T, D), ((0,), (1,), ())),
        (lambda x, w: x @ w.T, (7, D), (B, T, D), ((1,), (0,), ())),
        (F.linear, (7, D), (B, T, D), ((1,), (0,), ())),
        (lambda x, w: torch.einsum("btd,df->btf", x, w), (D, 7), (B, T, D), ((0,), (1,), ())),
        (lambda x, w: torch.einsum("btd,dhk->bhtk", x, w), (D, 3, 4), (B, T, D), ((0,), (1, 2), ())),
        (lambda x, w: torch.einsum("btd,hkd->bhtk", x, w), (3, 4, D), (B, T, D), ((2,), (0, 1), ())),
        (lambda x, w: torch.einsum("bthk,hkd->btd", x, w), (3, 4, D), (B, T, 3, 4), ((0, 1), (2,), ())),
        (lambda x, w: torch.einsum("ebd,edf->ebf", x, w), (3, D, 7), (3, B, D), ((1,), (2,), (0,))),
        (lambda x, w: torch.einsum("bed,efd->bef", x, w), (3, 7, D), (B, 3, D), ((2,), (1,), (0,))),
        (lambda x, w: torch.bmm(x, w.transpose(1, 2)), (3, 7, D), (3, B, D), ((2,), (1,), (0,))),
        (lambda x, w: x @ w.reshape(D, 12), (D, 3, 4), (B, D), ((0,), (1, 2), ())),
        (lambda x, w: w @ x.T, (7, D), (B, D), ((1,), (0,), ())),
        (lambda x, w: x @ w.t().contiguous().double().float(), (7, D), (B, D), ((1,), (0,), ())),
    ],
)  # fmt: skip
def test_which_axes_of_a_weight_are_summed_over(
    forward: Callable[[Tensor, Tensor], Tensor], shape: tuple[int, ...], x: tuple[int, ...],
    axes: tuple[tuple[int, ...], ...],
) -> None:  # fmt: skip
    node = product(read_graph(Function(forward, *shape), torch.zeros(x)))
    found = tuple(tuple(sorted(node.attrs[k])) for k in ("in_axis", "out_axis", "batch_axis"))
    assert found == axes


SPLITS: dict[str, Callable[[Tensor], tuple[Tensor, ...]]] = {
    "chunk": lambda y: y.chunk(3, dim=-1),
    "split": lambda y: y.split(D, dim=-1),
    "slices": lambda y: (y[..., :D], y[..., D : 2 * D], y[..., 2 * D :]),
    "three first": lambda y: y.reshape(B, T, 3, 3, 4).permute(2, 0, 3, 1, 4).unbind(0),
    "three in the middle": lambda y: y.view(B, T, 3, D).transpose(0, 2).contiguous().unbind(0),
    "uneven": lambda y: y.split((D, 2 * D), dim=-1)[:1] + y[..., D:].chunk(2, dim=-1),
}


@pytest.mark.parametrize("how", SPLITS)
def test_a_fused_projection_is_split_after_the_product(how: str) -> None:
    def forward(x: Tensor, w: Tensor) -> Tensor:
        q, k, v = SPLITS[how](F.linear(x, w))
        return torch.tanh(q) + torch.sigmoid(k) + torch.exp(v)

    graph = read_graph(Function(forward, 3 * D, D), torch.zeros(B, T, D))
    made = product(graph).output
    read = {n.attrs["fn"]: n.parts[0] for n in nodes(graph, "pointwise")}
    assert {p.root for p in read.values()} == {made}
    features = len(graph.values[made].shape) - 1
    assert [read[fn].ranges for fn in ("tanh", "sigmoid", "exp")] == [
        {features: (0, D)}, {features: (D, 2 * D)}, {features: (2 * D, 3 * D)},
    ]  # fmt: skip
    (decision,) = plan_graph(graph, "lecun")
    assert [(b.start, b.stop) for b in decision.blocks] == [(0, D), (D, 2 * D), (2 * D, 3 * D)]


def test_a_fused_weight_is_cut_before_the_product() -> None:
    def forward(x: Tensor, w: Tensor) -> Tensor:
        q, k, v = w.chunk(3)
        return F.linear(x, q) * F.linear(x, k) + F.linear(x, v)

    graph = read_graph(Function(forward, 3 * D, D), torch.zeros(B, T, D))
    assert [n.parts[1].ranges for n in nodes(graph, "linear")] == [
        {0: (0, D)}, {0: (D, 2 * D)}, {0: (2 * D, 3 * D)},
    ]  # fmt: skip
    assert {n.parts[1].root for n in nodes(graph, "linear")} == {leaf(graph, "weight")}


def test_a_tied_weight_is_one_value_read_twice() -> None:
    class Tied(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.table, self.head = nn.Embedding(20, D), nn.Linear(D, 20)
            self.head.weight = self.table.weight

        def forward(self, ids: Tensor) -> Tensor:
            return self.head(torch.tanh(self.table(ids)))

    graph = read_graph(Tied(), torch.zeros(B, T, dtype=torch.long))
    table = leaf(graph, "table.weight")
    assert next(x for x in graph.leaves if x.value == table).aliases == ("head.weight",)
    assert [n.op for n, _ in graph.readers(table)] == ["lookup", "linear"]


def test_learned_queries_are_an_input_to_the_projection_that_reads_them() -> None:
    class Queries(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.latents = nn.Parameter(torch.ones(4, D))
            self.q, self.k = nn.Linear(D, D, bias=False), nn.Linear(D, D, bias=False)

        def forward(self, x: Tensor) -> Tensor:
            return self.q(self.latents) @ self.k(x).transpose(1, 2)

    graph = read_graph(Queries(), torch.zeros(B, T, D))
    projection, keys = nodes(graph, "linear")
    assert projection.inputs == (leaf(graph, "latents"), leaf(graph, "q.weight"))
    assert keys.inputs == (graph.inputs[0], leaf(graph, "k.weight"))
    (scores,) = nodes(graph, "matmul")
    assert set(scores.inputs) == {projection.output, keys.output}


def test_an_operation_in_place_makes_a_new_value() -> None:
    def forward(x: Tensor, w: Tensor) -> Tensor:
        y = F.linear(x, w)
        left = y[:, :D]
        y.relu_()
        y.add_(1.0)
        return torch.tanh(left)  # sees what was done to y

    graph = read_graph(Function(forward, 2 * D, D), torch.zeros(B, D))
    linear, relu, add, tanh = graph.nodes
    assert [n.attrs.get("fn", n.op) for n in graph] == ["linear", "relu", "add", "tanh"]
    assert relu.inputs == linear.outputs
    assert add.inputs == relu.outputs
    assert tanh.inputs == add.outputs
    assert tanh.parts[0].ranges == {1: (0, D)}
    assert len({n.output for n in graph}) == 4


def test_constants_are_no_nodes() -> None:
    def forward(x: Tensor, w: Tensor) -> Tensor:
        mask = torch.ones(T, T).tril().bool()
        angle = torch.cos(torch.arange(T, dtype=torch.float32))
        return F.linear(x, w) * angle[:, None] + mask.float().sum() * torch.zeros_like(x)

    graph = read_graph(Function(forward, D, D), torch.zeros(B, T, D))
    assert [n.op for n in graph] == ["linear", "mul", "add"]


# -- scopes ------------------------------------------------------------------------------------


class Block(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.act, self.body = nn.ReLU(), nn.Linear(D, D, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return torch.sigmoid(self.body(self.act(x)))


class Nested(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.blocks = nn.ModuleList((Block(), Block()))
        self.twice = nn.Tanh()

    def forward(self, x: Tensor) -> Tensor:
        for block in self.blocks:
            x = self.twice(block(x))
        return torch.exp(x)


def test_every_node_says_the_module_it_ran_in() -> None:
    graph = read_graph(Nested(), torch.zeros(B, D))
    assert [(n.scope, n.attrs.get("fn", n.op)) for n in graph] == [
        ("blocks.0.act", "relu"), ("blocks.0.body", "linear"), ("blocks.0", "sigmoid"),
        ("twice", "tanh"),
        ("blocks.1.act", "relu"), ("blocks.1.body", "linear"), ("blocks.1", "sigmoid"),
        ("twice", "tanh"),
        ("", "exp"),
    ]  # fmt: skip


def test_a_module_that_raises_and_is_caught_leaves_its_scope() -> None:
    class Fragile(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(D + 1, D)
            self.other = nn.Linear(D, D, bias=False)

        def forward(self, x: Tensor) -> Tensor:
            try:
                return self.layer(x)
            except RuntimeError:
                return torch.exp(self.other(x))

    graph = read_graph(Fragile(), torch.zeros(B, D))
    assert [(n.scope, n.attrs.get("fn", n.op)) for n in graph] == [("other", "linear"), ("", "exp")]


# -- no trace ----------------------------------------------------------------------------------


class Messy(nn.Module):
    """Does to itself, in one forward, all that a forward might."""

    def __init__(self, fails: bool, item: bool) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Linear(D, D), nn.BatchNorm1d(D), nn.Dropout(0.5))
        self.register_buffer("steps", torch.zeros(()))
        self.calls = 0
        self.history: dict[str, Any] = {}
        self.fails, self.item = fails, item
        self.constant = torch.ones(D)

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        self.steps += 1
        self.cache = self.body(x)
        self.history["last"] = x
        self.body.register_forward_hook(lambda *a: None)
        self.register_buffer("late", torch.ones(1))
        self.extra = nn.Linear(1, 1)
        self.body[2].eval()
        torch.rand(3)
        random.random()
        np.random.rand()
        if self.item and self.cache.sum().item() == 0.125:  # meta cannot run this
            return x
        if self.fails:
            raise ValueError("on purpose")
        return F.dropout(self.cache * self.constant, 0.5)


def everything(model: nn.Module) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, module in model.named_modules():
        found[f"{name} is"] = (id(module), module.training)
        for key, value in module.__dict__.items():
            kept = (
                sorted((k, id(v)) for k, v in value.items())
                if isinstance(value, dict)
                else id(value)
            )
            found[f"{name}.{key}"] = kept
    for name, tensor in (*model.named_parameters(), *model.named_buffers()):
        found[f"{name} ="] = (tensor.tolist(), tensor.requires_grad)
    for name, parameter in model.named_parameters():
        found[f"{name} grad"] = None if parameter.grad is None else parameter.grad.tolist()
    found["torch"] = torch.get_rng_state().tolist()
    found["python"], found["numpy"] = random.getstate(), str(np.random.get_state())
    module = nn.modules.module
    found["global hooks"] = (
        len(module._global_forward_hooks),
        len(module._global_forward_pre_hooks),
    )
    found["fast path"] = torch.backends.mha.get_fastpath_enabled()
    found["grad mode"] = torch.is_grad_enabled()
    found["device"] = torch.get_default_device()
    return found


@pytest.mark.parametrize("call", [iso.plan, iso.check], ids=["plan", "check"])
@pytest.mark.parametrize("item", [False, True], ids=["meta", "real"])
@pytest.mark.parametrize("fails", [False, True], ids=["returns", "raises"])
def test_a_run_leaves_no_trace(call: Callable[..., Any], item: bool, fails: bool) -> None:
    torch.manual_seed(0)
    model = Messy(fails, item)
    model.body[0].weight.grad = torch.randn(D, D)
    model.body[1].eval()
    gradient = model.body[0].weight.grad
    calls: list[str] = []
    model.body[0].register_forward_hook(lambda *a: calls.append("seen"))
    x = torch.randn(40, D)
    before = everything(model)
    if fails:
        with pytest.raises(iso.TraceError, match="on purpose"):
            call(model, x)
    else:
        call(model, x)
    assert everything(model) == before
    assert model.body[0].weight.grad is gradient
    assert calls  # the model's own hooks ran


def test_the_comparison_sees_what_a_plain_run_leaves() -> None:
    torch.manual_seed(0)
    model = Messy(fails=False, item=False)
    before = everything(model)
    model(torch.randn(40, D))
    changed = {k for k, v in everything(model).items() if before.get(k) != v}
    assert {"steps =", ".calls", ".history", ".extra", "torch", "python", "numpy"} <= changed | {
        ".extra"
    }
    assert "body.1.running_mean =" in changed
    assert "body._forward_hooks" in changed


# -- meta and real -----------------------------------------------------------------------------


class TransformerBlock(nn.Module):
    """Pre-norm attention and MLP; the attention written out, or PyTorch's fused one."""

    def __init__(self, fused: bool) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(D), nn.LayerNorm(D)
        self.qkv, self.out = nn.Linear(D, 3 * D), nn.Linear(D, D)
        self.up, self.down = nn.Linear(D, 4 * D), nn.Linear(4 * D, D)
        self.fused = fused

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self.qkv(self.norm1(x)).reshape(B, T, 3, 3, 4).permute(2, 0, 3, 1, 4)
        if self.fused:
            mixed = F.scaled_dot_product_attention(q, k, v)
        else:
            mixed = (q @ k.transpose(-2, -1) / 2.0).softmax(-1) @ v
        x = x + self.out(mixed.transpose(1, 2).reshape(B, T, D))
        return x + self.down(F.gelu(self.up(self.norm2(x))))


def image_classifier() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1, bias=False), nn.BatchNorm2d(8), nn.ReLU(inplace=True),
        nn.Conv2d(8, 8, 3, groups=2, stride=2), nn.GroupNorm(2, 8), nn.SiLU(), nn.MaxPool2d(2),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 10),
    )  # fmt: skip


def both(model: nn.Module, x: Tensor) -> tuple[Graph, Graph]:
    owned, call = owned_tensors(model), as_call(x)
    meta, real = (trace_call(model, owned, call, None, meta=meta) for meta in (True, False))
    assert (meta.how, real.how) == ("meta", "real")
    return meta, real


@pytest.mark.parametrize(
    ("make", "shape"),
    [
        (image_classifier, (B, 3, 16, 16)),
        (lambda: TransformerBlock(fused=False), (B, T, D)),
    ],
    ids=["CNN", "transformer block"],
)
def test_on_meta_the_same_nodes_as_with_real_tensors(
    make: Callable[[], nn.Module], shape: tuple[int, ...]
) -> None:
    meta, real = both(make(), torch.randn(shape))
    assert len(meta.nodes) >= 8
    assert [(n.op, n.attrs, n.scope) for n in meta] == [(n.op, n.attrs, n.scope) for n in real]
    # The values are numbered alike but for constants, which are seen at other times.
    assert [[p.ranges for p in n.parts] for n in meta] == [
        [p.ranges for p in n.parts] for n in real
    ]
    producers = [[[g.values[v].producer for v in n.inputs] for n in g] for g in (meta, real)]
    assert producers[0] == producers[1]
    assert [meta.values[n.output].shape for n in meta] == [
        real.values[n.output].shape for n in real
    ]


# Recipes without premises.
ANYWHERE = ("auto", "isometric", "lecun", "glorot", "he", "torch")


def test_a_fused_attention_has_the_same_plan_on_meta() -> None:
    """On meta PyTorch runs it written out, on a CPU as one operation: the same laws follow."""
    meta, real = both(TransformerBlock(fused=True), torch.randn(B, T, D))
    assert not nodes(meta, "attention")
    assert len(nodes(real, "attention")) == 1
    (attention,) = nodes(real, "attention")
    assert [p.ranges for p in attention.parts] == [
        {1: (0, D)},
        {1: (D, 2 * D)},
        {1: (2 * D, 3 * D)},
    ]
    for recipe in ANYWHERE:
        plans = plan_graph(meta, recipe), plan_graph(real, recipe)
        assert plans[0].decisions == plans[1].decisions


def test_a_recurrent_layer_has_the_same_plan_on_meta() -> None:
    """On meta it is unrolled, on a CPU it is one operation: its class says what it is."""
    meta, real = both(nn.LSTM(D, 7), torch.randn(T, B, D))
    assert len(meta.nodes) > 10 * len(real.nodes)
    for recipe in ANYWHERE:
        laws = [[(d.law, d.blocks) for d in plan_graph(g, recipe)] for g in (meta, real)]
        assert laws[0] == laws[1]


def test_what_meta_cannot_run_is_run_with_real_tensors() -> None:
    def forward(x: Tensor, w: Tensor) -> Tensor:
        return F.linear(x, w) * (2.0 if x.abs().sum().item() > 0 else 3.0)

    graph = read_graph(Function(forward, D, D), torch.ones(B, D))
    assert graph.how == "real"
    assert [n.attrs["args"] for n in graph if n.attrs.get("fn") == "mul"] == [(2.0,)]
