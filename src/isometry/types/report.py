"""What was measured in a model, and what follows from it."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from isometry.errors import ArgumentError, PlanError
from isometry.types._files import write_whole
from isometry.types._late import late
from isometry.types.law import Law
from isometry.types.plan import Plan

__all__ = [
    "SEVERITIES",
    "Finding",
    "Histogram",
    "InputMeasurement",
    "Location",
    "Measurement",
    "Measurements",
    "NotChecked",
    "ParameterMeasurement",
    "Report",
    "Spectrum",
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
    tokens: float | None = None  # what tells the tokens of one sample apart, over the rms
    predicted: float | None = None  # what the theory expects q to be, from the weights' moments
    predicted_c: float | None = None  # ... and c
    predicted_grad: float | None = None  # ... and grad, given that of the model's output


@dataclass(frozen=True, slots=True)
class InputMeasurement:
    """One floating-point input of the model, as it was given."""

    value: int  # its number in the graph
    shape: tuple[int, ...]
    mean: float
    q: float  # mean square
    nonfinite: float = 0.0  # fraction that is inf or NaN
    zeros: float = 0.0  # fraction that is exactly zero
    pairs: tuple[float, float, float] = (0.0, 0.0, 0.0)
    """E[x y]/E[x²] of one place in two samples, two positions of one, and two positions of two."""


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
    rebuilt: str | None = None  # in two builds from one seed: "equal", "unset" or "different"
    peak: float | None = None  # largest absolute value
    dtype: str = "float32"
    stream: str = ""  # equal where the first values are multiples of another parameter's
    outlying: float | None = None  # largest singular value, over what independent values reach
    ineffective: str = ""  # how a value that was written to it was lost, where one was
    reads: str = "each"  # "pairs": columns mirror each other; "centred": its rows sum to zero
    delta: bool = False  # a kernel that is zero but for its centre


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
    inputs: tuple[InputMeasurement, ...] = ()
    prior: float | None = None  # share of ones in a target of zeros and ones
    claimed: float | None = None  # mean probability that the model gives them
    jacobian: Spectrum | None = None  # of the first output by the first input, where asked for
    values: Mapping[int | str, Any] = field(default_factory=dict, compare=False, repr=False)
    """A few hundred values of each output (by node) and parameter (by name), for histograms."""


@dataclass(frozen=True, slots=True)
class Spectrum:
    """Singular values of the Jacobian of one output by one input, at one sample.

    `values` are sorted, the largest first; `exact` says that they are all there are, and not those
    of the Jacobian seen from a sample of directions of its smaller side.
    """

    values: tuple[float, ...]
    inputs: int  # size of one sample of the input
    outputs: int
    exact: bool

    @property
    def nonzero(self) -> tuple[float, ...]:
        """Those above what rounding leaves of zero, 1e-4 of the largest."""
        return tuple(v for v in self.values if v > 1e-4 * self.values[0])

    @property
    def spread(self) -> float:
        """The largest nonzero singular value over the smallest, less 1: 0 for an isometry."""
        found = self.nonzero
        return found[0] / found[-1] - 1.0 if found else 0.0


@dataclass(frozen=True, slots=True)
class NotChecked:
    """Something that could not be judged, and why."""

    what: str
    why: str


@dataclass(frozen=True, slots=True)
class Location:
    """A line of source code; `file` relative to the working directory where it lies in it."""

    file: str
    line: int

    def __str__(self) -> str:
        return f"{self.file}:{self.line}"


@dataclass(frozen=True, slots=True)
class Histogram:
    """How the values of an output or a parameter are distributed: counts between edges."""

    layer: str
    what: str  # "output" | "weight"
    name: str  # the operation, or the parameter
    edges: tuple[float, ...]  # one more than counts
    counts: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Finding:
    """One fault, where it starts, the number that shows it, its cause and what to type.

    `data` holds the numbers of the evidence; "first" and "last" are the nodes between which it
    lies. `parameters` are those whose values are at fault, which `Report.fix` draws anew.
    """

    code: str  # "ISO201"
    name: str  # "vanishing-signal"
    severity: str  # "error" | "warning" | "info"
    where: str  # the layer, or the first and last of a run of layers
    evidence: str
    cause: str
    fix: str
    data: Mapping[str, float | int | str] = field(default_factory=dict)
    parameters: tuple[str, ...] = ()
    laws: Mapping[str, Law] = field(default_factory=dict)  # where a plan would keep what is there
    location: Location | None = None

    def __str__(self) -> str:
        return (
            f"{self.code} {self.name}  {self.where}: {self.evidence}. "
            f"Cause: {self.cause}. Fix: {self.fix}"
        )


# File suffix -> the module of `isometry.report` that writes it.
RENDERERS = {".html": "html", ".json": "json_", ".sarif": "sarif", ".xml": "junit"}


def _rendered(report: Report, module: str) -> str:
    text: str = late(f"isometry.report.{module}.render")(report)
    return text


@dataclass(frozen=True, slots=True)
class Report:
    """The verdict on a model at initialisation.

    `print(report)` says it in lines; in a notebook it shows itself; `save` writes it as a page
    (.html), as JSON, SARIF or JUnit XML; `fix` mends what was found.
    """

    model: str
    findings: tuple[Finding, ...]
    layers: tuple[Measurement, ...]
    parameters: tuple[ParameterMeasurement, ...]
    not_checked: tuple[NotChecked, ...]
    loss: float | None = None
    judged: bool = True  # False where the weights look trained: nothing is said of them
    seeds: int = 0  # builds that were judged besides the model, where a factory was given
    histograms: tuple[Histogram, ...] = ()
    jacobian: Spectrum | None = None
    planner: Callable[[], Plan] | None = field(default=None, compare=False, repr=False)

    @property
    def ok(self) -> bool:
        """True where no finding is an error."""
        return not any(f.severity == "error" for f in self.findings)

    @property
    def plan(self) -> Plan:
        """What `isometry.plan` decides for the same model and inputs: what `fix` applies."""
        if self.planner is None:
            raise PlanError("this report has no plan: it does not come from isometry.check")
        return self.planner()

    def fix(self, model: Any, *, seed: int = 0, select: Sequence[str] = ()) -> Plan:
        """Draw anew, in place, the parameters that the findings concern, and no others.

        Args:
            model: the model that was checked.
            seed: an integer in [0, 2^64).
            select: only findings whose code begins with one of these. None given: all errors and
                warnings.

        Returns:
            The decisions that were applied, as a plan.

        Raises:
            PlanError: nothing was found that a law of the plan would mend; the model is as it was.

        Example:
            >>> import torch, isometry as iso
            >>> deep = [m for _ in range(20) for m in (torch.nn.Linear(64, 64), torch.nn.ReLU())]
            >>> model, x = torch.nn.Sequential(*deep), torch.randn(64, 64)
            >>> decided = iso.check(model, x).fix(model)
            >>> iso.check(model, x).ok
            True
        """
        chosen = [f for f in self.findings if f.severity != "info"]
        if select:
            chosen = [f for f in self.findings if f.code.startswith(tuple(select))]
        names = tuple(dict.fromkeys(n for f in chosen for n in f.parameters))
        laws = {name: law for f in chosen for name, law in f.laws.items()}
        plan = self.plan.override(laws, "what was there stops the signal") if names else None
        mended = () if plan is None else tuple(d for d in plan if d.name in names and not d.keeps)
        if plan is None or not mended:
            codes = ", ".join(dict.fromkeys(f.code for f in chosen)) or "nothing"
            raise PlanError(
                f"no law mends what was found ({codes}): each finding's own fix says what to do"
            )
        plan.apply(model, seed=seed, include=[d.name for d in mended])
        return Plan(plan.model, plan.recipe, mended, plan.notes)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the report, whole or not at all, in the format that the file's suffix names.

        Args:
            path: .html (one page, offline), .json, .sarif, or .xml (JUnit).

        Raises:
            ArgumentError: another suffix, or a place that cannot be written to.
        """
        target = Path(path)
        if target.suffix not in RENDERERS:
            known = ", ".join(RENDERERS)
            raise ArgumentError(
                f"received {target.name!r}; expected a name that ends in {known}, "
                "such as report.html"
            )
        write_whole(target, _rendered(self, RENDERERS[target.suffix]), "the report")

    def _repr_html_(self) -> str:
        return _rendered(self, "notebook")

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
