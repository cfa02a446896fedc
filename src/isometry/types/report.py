"""What was measured in a model, and what follows from it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

__all__ = [
    "SEVERITIES",
    "Finding",
    "Measurement",
    "Measurements",
    "NotChecked",
    "ParameterMeasurement",
    "Report",
]

SEVERITIES = ("error", "warning", "info")


@dataclass(frozen=True, slots=True)
class Measurement:
    """One operation's output on one batch, and the gradient that came back to it.

    `q` is the mean square over everything, `c` the mean cosine between pairs of samples, `std`
    the root mean square of the deviation from the mean over samples: sqrt of E[(x - mean_b x)²].
    A statistic that could not be taken is None.
    """

    layer: str  # the module or parameter it belongs to, "blocks.3.fc1"
    op: str  # the graph's name for it, "linear", "pointwise:relu", "add", ...
    node: int  # its place in the graph, which is execution order
    shape: tuple[int, ...]
    samples: int
    mean: float
    q: float
    std: float | None = None
    c: float | None = None
    zeros: float = 0.0  # fraction that is exactly zero
    saturated: float | None = None  # fraction in the flat part of a bounded activation
    dead: float | None = None  # fraction of units that are zero for every sample
    nonfinite: float = 0.0  # fraction that is inf or NaN
    grad: float | None = None  # second moment of dL/d(output)
    grad_nonfinite: float = 0.0


@dataclass(frozen=True, slots=True)
class ParameterMeasurement:
    """One parameter as it stands: its values, its gradient, and whether it starts to move."""

    name: str
    shape: tuple[int, ...]
    mean: float
    q: float  # second moment of its values
    nonfinite: float  # fraction that is inf or NaN
    constant: float | None  # its value, where all elements are equal
    identical: float  # fraction of its output units that equal another unit, bit for bit
    digest: str  # equal where the values are equal
    grad: float | None = None  # second moment of its gradient
    grad_identical: float = 0.0  # fraction of output units whose gradient equals another's
    moves_at: int | None = None  # first probe step at which it changed; None: never, or no probe
    parts_at: int | None = None  # first probe step at which its equal output units differ
    probed: bool = False
    rebuilt_equal: bool | None = None  # did a second build give the same kind of values?
    peak: float | None = None  # largest absolute value


@dataclass(frozen=True, slots=True)
class Measurements:
    """A run of a model: what each layer and each parameter did."""

    model: str
    layers: tuple[Measurement, ...]
    parameters: tuple[ParameterMeasurement, ...]
    loss: float | None = None
    classes: int | None = None  # C, where the loss is a cross-entropy over C classes
    batch: int = 0
    not_checked: tuple[NotChecked, ...] = ()


@dataclass(frozen=True, slots=True)
class NotChecked:
    """Something that could not be judged, and why."""

    what: str
    why: str


@dataclass(frozen=True, slots=True)
class Finding:
    """One fault, where it starts, the number that shows it, its cause and what to type."""

    code: str  # "ISO201"
    name: str  # "vanishing-signal"
    severity: str  # "error" | "warning" | "info"
    where: str  # the layer, or the first and last of a run of layers
    evidence: str
    cause: str
    fix: str
    data: Mapping[str, float | int | str] = field(default_factory=dict)

    def __str__(self) -> str:
        return (
            f"{self.code} {self.name}  {self.where}: {self.evidence}. "
            f"Cause: {self.cause}. Fix: {self.fix}"
        )


@dataclass(frozen=True, slots=True)
class Report:
    """The verdict on a model at initialisation."""

    model: str
    findings: tuple[Finding, ...]
    layers: tuple[Measurement, ...]
    parameters: tuple[ParameterMeasurement, ...]
    not_checked: tuple[NotChecked, ...]
    loss: float | None = None

    @property
    def ok(self) -> bool:
        """True where no finding is an error."""
        return not any(f.severity == "error" for f in self.findings)

    def __iter__(self) -> Iterator[Finding]:
        return iter(self.findings)

    def __str__(self) -> str:
        verdict = "healthy" if self.ok else "not healthy"
        counts = ", ".join(
            f"{n} {s}{'s' * (n != 1)}"
            for s in SEVERITIES
            if (n := sum(f.severity == s for f in self.findings))
        )
        lines = [f"{self.model}: {verdict}" + (f" ({counts})" if counts else "")]
        lines += [f"  {f.severity}: {f}" for f in self.findings]
        lines += [f"  not checked: {n.what}: {n.why}" for n in self.not_checked]
        return "\n".join(lines)
