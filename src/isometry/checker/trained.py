"""Is this a model at initialisation, or one that has learned? What has learned is not judged."""

from __future__ import annotations

from isometry.checker.reading import Reading
from isometry.types import ParameterMeasurement

__all__ = ["looks_trained"]

FEWEST = 2  # matrices that must say so, where there is no gain of a norm to agree
MOST = 0.5  # of those looked at


def looks_trained(reading: Reading) -> str | None:
    """Why the weights look learned; None where they do not.

    Two signs must agree. Learning leaves singular values that no matrix of independent entries
    has. And what starts as a constant, biases and the gains of norms, has become values that all
    differ; since torch draws the biases of its linear layers, they cannot say more than no.
    """
    measured = reading.measurements.parameters
    matrices = [p for p in measured if p.outlying is not None]
    beyond = [p for p in matrices if (p.outlying or 0.0) > 1.0]
    biases, gains = (
        [p for p in measured if _role(reading, p) == role and max(p.shape, default=1) > 1]
        for role in ("bias", "norm_gain")
    )
    if any(
        sum(_varies(p) for p in group) <= MOST * len(group) for group in (biases, gains) if group
    ):
        return None
    if not beyond or (not gains and len(beyond) < max(FEWEST, MOST * len(matrices))):
        return None
    worst = max(p.outlying or 0.0 for p in beyond)
    return (
        f"{len(beyond)} of {len(matrices)} matrices have a singular value beyond what independent "
        f"entries reach (up to × {worst:.2f})"
        + (", and biases and gains are no constants" if biases or gains else "")
    )


def _role(reading: Reading, p: ParameterMeasurement) -> str:
    usage = reading.usages.get(p.name)
    return "" if usage is None else usage.role


def _varies(p: ParameterMeasurement) -> bool:
    return p.constant is None and p.nonfinite == 0
