"""Hand-made reports whose rendering can be worked out by hand."""

from dataclasses import replace

from isometry.types import Finding, Location, Measurement, NotChecked, Report

FAINT = Finding(
    "ISO201",
    "vanishing-signal",
    "error",
    "layers.0 … layers.4",
    "signal x 0.41 a layer over 5 layers",
    "nn.Linear's default under ReLU",
    "iso.initialize(model, x, seed=0)",
)
ZERO = Finding(
    "ISO901", "zero-by-design", "info", "layers.4.bias", "moves at step 1", "it is zero", "nothing"
)


def measured(layer: str, op: str, node: int, q: float = 1.0, grad: float = 1e-3) -> Measurement:
    """One operation on a batch of 8, width 16."""
    return Measurement(layer, op, node, (8, 16), 8, 0.0, q, std=q**0.5, c=0.25, grad=grad)


def mlp(depth: int = 3) -> tuple[Measurement, ...]:
    """layers.0, layers.1 (relu), layers.2, ...: q falls by 4 a layer."""
    ops = ("linear", "pointwise:relu")
    return tuple(
        measured(f"layers.{i}", ops[i % 2], i, q=4.0 ** -(i // 2)) for i in range(2 * depth)
    )


def report(depth: int = 3) -> Report:
    """An MLP with one error, one remark, and one thing that was not judged."""
    unknown = NotChecked("loss", "no loss was given")
    return Report("MLP", (FAINT, ZERO), mlp(depth), (), (unknown,), 2.5)


def located(file: str = "src/my nets/mlp.py", line: int = 12) -> Report:
    """The same report; its error has a line in the source."""
    found = replace(FAINT, location=Location(file, line), data={"factor": 0.41, "first": 0})
    return replace(report(), findings=(found, ZERO))
