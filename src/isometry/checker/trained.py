"""Is this a model at initialisation, or one that has learned? What has learned is not judged."""

from __future__ import annotations

from isometry.checker.reading import Reading
from isometry.types import ParameterMeasurement

__all__ = ["looks_trained"]

BEYOND = 1.25  # of the limit for independent entries: finite matrices stay within a few percent
FEWEST = 2  # matrices that must say so
MOST = 0.5  # of those looked at


def looks_trained(reading: Reading) -> str | None:
    """Why the weights look learned; None where they do not.

    Two signs must agree. A matrix of independent entries has no singular value beyond
    sqrt(m) + sqrt(n); learning leaves some. And what starts constant in every network, the biases
    of matrices and the gains and biases of norms, has become values that all differ; torch's own
    random biases do not count, they stay within 1/sqrt(fan_in).
    """
    matrices = [p for p in reading.measurements.parameters if p.outlying is not None]
    beyond = [p for p in matrices if (p.outlying or 0.0) > BEYOND]
    if len(beyond) < FEWEST or len(beyond) <= MOST * len(matrices):
        return None
    plain = [p for p in reading.measurements.parameters if _starts_constant(reading, p)]
    moved = [p for p in plain if p.constant is None and p.nonfinite == 0]
    if plain and len(moved) <= MOST * len(plain):
        return None
    worst = max(p.outlying or 0.0 for p in beyond)
    return (
        f"{len(beyond)} of {len(matrices)} matrices have a singular value beyond what independent "
        f"entries can have (up to × {worst:.1f})"
        + (f", and {len(moved)} of {len(plain)} biases and gains are no constants" if plain else "")
    )


def _starts_constant(reading: Reading, p: ParameterMeasurement) -> bool:
    usage = reading.usages.get(p.name)
    return usage is not None and usage.role in ("bias", "norm_gain") and max(p.shape, default=1) > 1
