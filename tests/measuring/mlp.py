"""A multilayer perceptron in NumPy, forward and backward by hand, as measuring sees a framework."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from isometry.graph import Graph, Leaf
from isometry.measuring import Goal, Pass
from isometry.recording import Recording

Array = NDArray[Any]


class MLP:
    """fc1, act1, fc2, act2, ..., fcn: y = W x + b with relu between, in float32; a Runner."""

    def __init__(self, parameters: Mapping[str, Array], inputs: Array) -> None:
        self.parameters = {n: np.asarray(p, np.float32) for n, p in parameters.items()}
        self.inputs = (np.asarray(inputs, np.float32),)
        self.channels: dict[int, int] = {}
        self.depth = len(parameters) // 2
        self.runs: list[dict[str, Array]] = []  # the parameters of each
        self.graph = self._graph()

    def _graph(self) -> Graph:
        recording, leaves = Recording(), []
        batch = len(self.inputs[0])
        x = recording.input(self.inputs[0].shape, "float32")
        for i in range(1, self.depth + 1):
            recording.scope = f"fc{i}"
            views = {}
            for slot in ("weight", "bias"):
                name = f"fc{i}.{slot}"
                array = self.parameters[name]
                views[slot] = recording.parameter(array.shape, "float32", f"fc{i}")
                constant = float(array.flat[0]) if (array == array.flat[0]).all() else None
                leaves.append(
                    Leaf(
                        name, (), "parameter", array.shape, "float32", views[slot].root, "Linear",
                        f"fc{i}", slot, constant=constant,
                    )
                )  # fmt: skip
            sizes = (batch, len(self.parameters[f"fc{i}.bias"]))
            x = recording.product(x, views["weight"], ((1,), (1,)), ((), ()), sizes, "float32")
            bias = views["bias"].broadcast(sizes, (1,))
            x = recording.apply("add", (x, bias), {}, sizes, "float32")
            if i < self.depth:
                recording.scope = f"act{i}"
                x = recording.apply("pointwise", (x,), {"fn": "relu", "args": ()}, sizes, "float32")
        return recording.graph("MLP", leaves, {"output": x}, how="real")

    def run(
        self, parameters: Mapping[str, Array] | None, goal: Goal | None, *, nodes: bool = True
    ) -> Pass:
        own = {**self.parameters, **(parameters or {})}
        self.runs.append(own)
        made = [self.inputs[0]]  # the input, then one a node: product, sum, relu
        for i in range(1, self.depth + 1):
            made.append(made[-1] @ own[f"fc{i}.weight"].T)
            made.append(made[-1] + own[f"fc{i}.bias"])
            if i < self.depth:
                made.append(np.maximum(made[-1], 0))
        values = dict(enumerate(made[1:])) if nodes else {}
        outputs = {"output": made[-1]}
        if goal is None:
            return Pass(values, outputs=outputs)
        loss, wanted = goal(outputs)
        gradient, at, by = wanted["output"], {}, {}
        for i in range(self.depth, 0, -1):
            last = 3 * i - 2  # the node of the sum
            at[last] = at[last - 1] = gradient
            by[f"fc{i}.bias"] = gradient.sum(axis=0)
            by[f"fc{i}.weight"] = gradient.T @ made[last - 1]
            if i > 1:
                at[last - 2] = gradient @ own[f"fc{i}.weight"]
                gradient = np.where(made[last - 2] <= 0, np.float32(0), at[last - 2])
        return Pass(values, at if nodes else {}, outputs, by, loss)


def in_torch(parameters: Mapping[str, Array]) -> nn.Module:
    """The same perceptron in PyTorch."""
    depth = len(parameters) // 2
    layers: dict[str, nn.Module] = OrderedDict()
    for i in range(1, depth + 1):
        n_out, n_in = parameters[f"fc{i}.weight"].shape
        layers[f"fc{i}"] = nn.Linear(n_in, n_out)
        if i < depth:
            layers[f"act{i}"] = nn.ReLU()
    model = nn.Sequential(OrderedDict(layers))
    state = {n: torch.from_numpy(np.array(p, np.float32)) for n, p in parameters.items()}
    model.load_state_dict(state)
    return model


def he(sizes: tuple[int, ...], seed: int = 0) -> dict[str, Array]:
    """He's weights and small biases for layers of these widths."""
    drawn = np.random.default_rng(seed)
    found: dict[str, Array] = {}
    for i, (n_in, n_out) in enumerate(pairwise(sizes), start=1):
        found[f"fc{i}.weight"] = drawn.normal(size=(n_out, n_in)) * (2 / n_in) ** 0.5
        found[f"fc{i}.bias"] = drawn.normal(size=n_out) * 0.1
    return found
