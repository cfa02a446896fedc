"""The theory of second moments against real tensors: every operation of small models, measured.

Means and second moments are averaged over seeds of weights and inputs; the theory must lie within
five standard errors of that average, whose size the seeds give.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import isometry as iso
from isometry.graph import Graph, Leaf, Node
from isometry.streams import weight_values
from isometry.theory import LeafMoments, Signal, propagate
from isometry.torch.leaves import owned_tensors
from isometry.torch.read import adopt_leaves, read_graph
from isometry.torch.trace import Tracer

WIDTH, BATCH, SEEDS, ERRORS = 384, 48, 16, 5.0


class Model(nn.Module):
    """Layers in a list, put together by a function."""

    def __init__(
        self, forward: Callable[[nn.ModuleList, Tensor], Tensor], *layers: nn.Module
    ) -> None:
        super().__init__()
        self.layers = nn.ModuleList(layers)
        self.run = forward

    def forward(self, x: Tensor) -> Tensor:
        return self.run(self.layers, x)


def linear(count: int, bias: bool = False) -> tuple[nn.Module, ...]:
    return tuple(nn.Linear(WIDTH, WIDTH, bias=bias) for _ in range(count))


def predicted(model: nn.Module, x: Tensor, plan: iso.Plan) -> tuple[Graph, dict[int, Signal]]:
    """The theory's signal for every node."""
    graph = read_graph(model, x)

    def leaf_moments(leaf: Leaf, node: Node) -> LeafMoments | None:
        decision = plan[leaf.name]
        law = decision.law
        fan_in = 1.0 if decision.fans is None else decision.fans.fan_in
        mean = getattr(law, "value", getattr(law, "mean", 0.0))
        return LeafMoments(mean, law.variance + mean * mean, fan_in)

    walk = propagate(graph, weight_values(graph), leaf_moments)
    assert not walk.unknown
    return graph, {n.index: s for n in graph if (s := walk.signal(n.output)) is not None}


def measured(
    model: nn.Module, plan: iso.Plan, draw: Callable[[torch.Generator], Tensor]
) -> tuple[list[str], dict[int, Tensor]]:
    """The operations, and for each observed node (seeds, [mean, second moment])."""
    found: dict[int, list[list[float]]] = {}
    ops: list[str] = []
    for seed in range(SEEDS):
        plan.apply(model, seed=seed)

        def observe(node: Node, value: Tensor) -> None:
            moments = [float(value.mean()), float(value.square().mean())]
            found.setdefault(node.index, []).append(moments)

        tracer = Tracer(observe)
        owned = owned_tensors(model)
        adopt_leaves(tracer, owned, {id(e.tensor): e.tensor for e in owned})
        x = draw(torch.Generator().manual_seed(seed))
        tracer.adopt(x)
        with torch.no_grad(), tracer:
            model(x)
        ops = [n.op for n in tracer.nodes]
    return ops, {index: torch.tensor(values).double() for index, values in found.items()}


def gaussian(*shape: int) -> Callable[[torch.Generator], Tensor]:
    return lambda generator: torch.randn(shape, generator=generator)


def assert_theory(
    model: nn.Module, draw: Callable[[torch.Generator], Tensor], expected: int,
    overrides: dict[str, iso.Law] | None = None,
) -> None:  # fmt: skip
    """At least `expected` nodes are followed, and each of them is as measured."""
    x = draw(torch.Generator().manual_seed(0))
    plan = iso.plan(model, x, recipe="auto", overrides=overrides)
    graph, signals = predicted(model, x, plan)
    ops, seen = measured(model, plan, draw)
    assert ops == [n.op for n in graph]
    compared = 0
    for index, values in seen.items():
        signal = signals.get(index)
        if signal is None or signal.statistic:
            continue
        assert signal.known, graph.nodes[index]
        error = values.std(0) / math.sqrt(SEEDS)
        theory = torch.tensor(signal.moments).double()
        apart = (values.mean(0) - theory).abs()
        assert bool((apart <= ERRORS * error + 1e-6).all()), (
            f"{graph.nodes[index]}: theory {theory.tolist()}, measured {values.mean(0).tolist()} "
            f"with standard errors {error.tolist()}"
        )
        compared += 1
    assert compared >= expected


ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "relu": torch.relu, "leaky_relu": lambda x: F.leaky_relu(x, 0.2), "gelu": F.gelu,
    "gelu tanh": lambda x: F.gelu(x, approximate="tanh"), "silu": F.silu, "tanh": torch.tanh,
    "sigmoid": torch.sigmoid, "elu": F.elu, "selu": F.selu, "mish": F.mish,
    "hardswish": F.hardswish, "hardtanh": F.hardtanh, "softplus": F.softplus, "celu": F.celu,
    "relu6": F.relu6, "softsign": F.softsign, "sin": torch.sin, "erf": torch.erf, "abs": torch.abs,
    "relu squared": lambda x: torch.relu(x).square(),
    "quick gelu": lambda x: x * torch.sigmoid(1.702 * x),
    "gelu by hand": lambda x: 0.5 * x * (1 + torch.erf(x / math.sqrt(2))),
    "silu by hand": lambda x: x / (1 + torch.exp(-x)),
    "shifted": lambda x: 2.0 - 3.0 * torch.tanh(x + 0.5),
    "clamped": lambda x: x.clamp(-0.5, 1.5), "exp": lambda x: torch.exp(0.3 * x),
    "threshold": lambda x: F.threshold(x, 0.1, -1.0), "softshrink": F.softshrink,
    "logsigmoid": F.logsigmoid, "x minus relu": lambda x: x - torch.relu(x),
    "largest": lambda x: torch.maximum(x, 0.2 * x), "square": lambda x: x**2,
}  # fmt: skip


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_a_chain(name: str) -> None:
    """Three matrices with an activation between, with random biases in the second."""
    phi = ACTIVATIONS[name]
    model = Model(
        lambda m, x: m[2](phi(m[1](phi(m[0](x))))),
        *linear(1), *linear(1, bias=True), *linear(1),
    )  # fmt: skip
    assert_theory(model, gaussian(BATCH, WIDTH), 5, {"layers.1.bias": iso.Normal(0.4, mean=0.2)})


OPERATIONS: dict[str, tuple[Callable[[nn.ModuleList, Tensor], Tensor], tuple[nn.Module, ...], int]] = {
    "SwiGLU": (lambda m, x: m[2](F.silu(m[0](x)) * m[1](x)), linear(3), 5),
    "GEGLU, one matrix": (
        lambda m, x: m[1](F.gelu(m[0](x)[..., :WIDTH]) * m[0](x)[..., WIDTH:]),
        (nn.Linear(WIDTH, 2 * WIDTH, bias=False), nn.Linear(WIDTH, WIDTH, bias=False)), 5),
    "GLU": (
        lambda m, x: m[1](F.glu(m[0](x))),
        (nn.Linear(WIDTH, 2 * WIDTH, bias=False), nn.Linear(WIDTH, WIDTH, bias=False)), 3),
    "sum of two": (lambda m, x: torch.relu(m[0](x)) + F.gelu(m[1](x)), linear(2), 5),
    "sum with itself": (lambda m, x: (y := m[0](x)) + torch.relu(y), linear(1), 3),
    "difference": (lambda m, x: torch.relu(m[0](x)) - torch.sigmoid(m[1](x)), linear(2), 5),
    "residual": (lambda m, x: x + m[1](torch.relu(m[0](x))), linear(2), 4),
    "residual, rectified": (lambda m, x: m[1](torch.relu(x + m[0](x))), linear(2), 4),
    "product with itself": (lambda m, x: (y := m[0](x)) * y, linear(1), 2),
    "rescaled": (lambda m, x: (m[0](x) * 3.0 + 1.0) / 2.0, linear(1), 4),
    "weighted sum": (lambda m, x: torch.add(m[0](x), torch.relu(m[1](x)), alpha=0.5), linear(2), 4),
    "concatenation": (
        lambda m, x: m[2](torch.cat((torch.relu(m[0](x)), torch.tanh(m[1](x))), -1)),
        (*linear(2), nn.Linear(2 * WIDTH, WIDTH, bias=False)), 6),
    "LayerNorm": (lambda m, x: m[1](m[2](torch.relu(m[0](x)))), (*linear(2), nn.LayerNorm(WIDTH, eps=1e-12)), 4),
    "RMSNorm": (lambda m, x: m[1](m[2](torch.relu(m[0](x)))), (*linear(2), nn.RMSNorm(WIDTH, eps=1e-12)), 4),
    "BatchNorm": (
        lambda m, x: m[1](m[2](torch.relu(m[0](x)))),
        (*linear(2), nn.BatchNorm1d(WIDTH, eps=1e-12, track_running_stats=False)), 4),
    "RMSNorm by hand": (
        lambda m, x: m[1](
            (y := 3 * torch.relu(m[0](x))) * torch.rsqrt(y.pow(2).mean(-1, keepdim=True) + 1e-6)),
        linear(2), 5),
    "LayerNorm by hand": (
        lambda m, x: m[1](
            ((y := 3 * torch.relu(m[0](x))) - y.mean(-1, keepdim=True))
            / torch.sqrt(y.var(-1, keepdim=True, unbiased=False) + 1e-5)),
        linear(2), 5),
    "scaled to length": (
        lambda m, x: m[1](
            (y := torch.relu(m[0](x))) / y.norm(dim=-1, keepdim=True) * math.sqrt(WIDTH)),
        linear(2), 5),
    "norm then activation": (lambda m, x: F.gelu(m[1](m[0](x))), (*linear(1), nn.LayerNorm(WIDTH, eps=1e-12)), 3),
    "one number of all": (lambda m, x: m[1](torch.relu(m[0](x)).mean(-1, keepdim=True) * x), linear(2), 2),
}  # fmt: skip


@pytest.mark.parametrize("name", OPERATIONS)
def test_an_operation(name: str) -> None:
    forward, layers, expected = OPERATIONS[name]
    assert_theory(Model(forward, *layers), gaussian(BATCH, WIDTH), expected)


def test_learned_tables_gains_and_offsets() -> None:
    class Tables(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.words, self.places = nn.Embedding(200, WIDTH), nn.Embedding(12, WIDTH)
            self.gain, self.offset = (nn.Parameter(torch.randn(WIDTH)) for _ in range(2))
            self.body = nn.Linear(WIDTH, WIDTH)

        def forward(self, ids: Tensor) -> Tensor:
            x = self.words(ids) + self.places(torch.arange(12))
            return torch.relu(self.body(torch.tanh(x) * self.gain + self.offset))

    assert_theory(
        Tables(), lambda g: torch.randint(0, 200, (8, 12), generator=g), 7,
        {"gain": iso.Normal(0.5, mean=1.0), "offset": iso.Uniform(0.3), "words.*": iso.Normal(0.7)},
    )  # fmt: skip


@pytest.mark.parametrize("padding", [0, 1])
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("bias", [False, True], ids=["no bias", "random bias"])
def test_a_convolution_with_its_border(padding: int, stride: int, bias: bool) -> None:
    """Zeros at the border take from the sum; the theory counts them, the recipe makes up for them."""
    model = nn.Sequential(
        nn.Conv2d(32, 64, 3, padding=padding, stride=stride, bias=bias), nn.ReLU(),
        nn.Conv2d(64, 64, 3, padding=1, bias=False), nn.Tanh(),
        nn.Conv2d(64, 32, 3, padding=1, bias=False),
    )  # fmt: skip
    overrides: dict[str, iso.Law] = {"0.bias": iso.Normal(0.5)} if bias else {}
    assert_theory(model, gaussian(8, 32, 7, 7), 5, overrides)


def attention(m: nn.ModuleList, x: Tensor) -> Tensor:
    scores = m[0](x) @ m[1](x).transpose(-2, -1) / math.sqrt(WIDTH)
    return scores.softmax(-1) @ m[2](x)


def test_attention_keeps_the_values_where_tokens_agree() -> None:
    """Then an average of them is each of them."""

    def agreeing(generator: torch.Generator) -> Tensor:
        return torch.randn(BATCH, 1, WIDTH, generator=generator).expand(BATCH, 6, WIDTH)

    model = Model(attention, *linear(3))
    x = agreeing(torch.Generator().manual_seed(0))
    plan = iso.plan(model, x)
    graph, signals = predicted(model, x, plan)
    _, seen = measured(model, plan, agreeing)
    last = graph.nodes[-1]
    assert last.op == "matmul"
    values = seen[last.index][:, 1]
    error = float(values.std()) / math.sqrt(SEEDS)
    assert signals[last.index].q == pytest.approx(float(values.mean()), abs=ERRORS * error)
    assert signals[last.index].known


def test_attention_is_bounded_by_the_values_where_tokens_differ() -> None:
    model = Model(attention, *linear(3))
    draw = gaussian(BATCH, 16, WIDTH)
    x = draw(torch.Generator().manual_seed(0))
    plan = iso.plan(model, x)
    graph, signals = predicted(model, x, plan)
    _, seen = measured(model, plan, draw)
    (scores,) = [n for n in graph if n.op == "softmax"]
    before = scores.inputs[0]
    q = seen[graph.values[before].producer][:, 1]
    error = float(q.std()) / math.sqrt(SEEDS)
    assert signals[graph.values[before].producer].q == pytest.approx(
        float(q.mean()), abs=ERRORS * error
    )
    last = graph.nodes[-1].index
    assert float(seen[last][:, 1].max()) < signals[last].q == pytest.approx(1.0, rel=1e-4)


def test_a_wrong_theory_is_seen() -> None:
    """The comparison fails where the plan is not what the weights are drawn from."""
    model = nn.Sequential(*linear(1), nn.ReLU(), *linear(1))
    draw = gaussian(BATCH, WIDTH)
    x = draw(torch.Generator().manual_seed(0))
    _, signals = predicted(model, x, iso.plan(model, x, recipe="he"))
    _, seen = measured(model, iso.plan(model, x, recipe="lecun"), draw)
    values = seen[2][:, 1]
    error = float(values.std()) / math.sqrt(SEEDS)
    assert abs(float(values.mean()) - signals[2].q) > 20 * error


def test_an_operation_that_is_not_known_is_counted_and_told() -> None:
    model = Model(lambda m, x: m[1](torch.special.bessel_j0(m[0](x))), *linear(2))
    plan = iso.plan(model, torch.zeros(2, WIDTH))
    assert any("special_bessel_j0" in note for note in plan.notes)
    assert "past an operation the theory does not know" in plan["layers.1.weight"].reason
