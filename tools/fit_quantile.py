"""What made the coefficients of the stream's quantile, and what measures them.

    python tools/fit_quantile.py              fit again, and compare with the table in use
    python tools/fit_quantile.py --report     enumerate every word: errors, moments, digest (minutes)

Each half-octave of v gets the polynomial of degree 5 whose largest error is least, among those
that meet the curve at both ends: neighbouring segments then join without a step back. The linear
programme is solved in float64 and its solution rounded to integers, once. The table in
`isometry/stream/quantile.py` is the norm, and this file its history.
"""

from __future__ import annotations

import argparse
import hashlib
import math

import numpy as np
from scipy.optimize import linprog
from scipy.special import ndtr, ndtri

from isometry.stream.quantile import COEFFICIENTS, UNIT, quantile

DEGREE = 5
POINTS = 257
END_SLACK = 0.5  # units: how far the ends may lie from the curve
CHUNK = 1 << 18


def fit(octave: int, half: int) -> tuple[int, ...]:
    """The coefficients of one segment: powers of t in [-1/4, 1/4], in units of 2^-27."""
    x = -np.cos(np.pi * np.arange(POINTS) / (POINTS - 1))
    target = -ndtri(2.0 ** (octave - 32) * (1.25 + half / 2 + x / 4)) / UNIT
    powers = x[:, None] ** np.arange(DEGREE + 1)
    start = np.linalg.lstsq(powers, target, rcond=None)[0]
    residual = target - powers @ start
    ends = [0, -1]
    rows = np.vstack(
        [
            np.c_[powers, -np.ones(POINTS)],
            np.c_[-powers, -np.ones(POINTS)],
            np.c_[powers[ends], np.zeros(2)],
            np.c_[-powers[ends], np.zeros(2)],
        ]
    )
    bounds = np.r_[residual, -residual, residual[ends] + END_SLACK, END_SLACK - residual[ends]]
    free = [(None, None)] * (DEGREE + 1)
    solution = linprog(
        np.r_[np.zeros(DEGREE + 1), 1.0], rows, bounds, bounds=[*free, (0, None)], method="highs"
    )
    scaled = (solution.x[:-1] + start) * 4.0 ** np.arange(DEGREE + 1)
    return tuple(int(c) for c in np.rint(scaled))


def fit_all() -> list[tuple[int, ...]]:
    """All 63 rows. The last is one point, f = 2^31: the mean of the words that round to it."""
    rows = [fit(octave, half) for octave in range(31) for half in (0, 1)]
    last = np.arange(2**31 - 63, 2**31, 2)
    middle = round(float(np.mean(-ndtri(last * 2.0**-32))) / UNIT)
    return [*rows, (middle, *[0] * DEGREE)]


def report() -> None:
    """Every odd v in [1, 2^31): a word of either sign, twice. Prints what the specification says."""
    worst, worst_v, ks, second, fourth, past = 0.0, 0, 0.0, [], [], dict.fromkeys((3, 4, 5, 6), 0)
    previous, ties, backwards, gaps = math.inf, 0, 0, dict.fromkeys((8, 5, 4, 3, 1), 0.0)
    digest = hashlib.blake2b(digest_size=16)
    for first in range(1, 2**31, 2 * CHUNK):
        v = np.arange(first, first + 2 * CHUNK, 2, dtype=np.uint32)
        z32 = quantile(v)
        digest.update(z32.astype("<f4").tobytes())
        steps = np.diff(z32, prepend=np.float32(min(previous, 100.0)))
        previous = float(z32[-1])
        ties += int(np.count_nonzero(steps == 0))
        backwards += int(np.count_nonzero(steps > 0))
        for sigma in gaps:
            within = steps[z32 - steps <= sigma]  # both neighbours are
            gaps[sigma] = max(gaps[sigma], -float(within.min())) if within.size else gaps[sigma]
        z = z32.astype(np.float64)
        p = v * 2.0**-32
        tail = ndtr(-z)
        # Newton's step from z: exact to its square, 1e-13.
        error = np.abs(tail - p) * math.sqrt(2 * math.pi) * np.exp(z * z / 2)
        at = int(error.argmax())
        if error[at] > worst:
            worst, worst_v = float(error[at]), int(v[at])
        ks = max(ks, float(np.abs(tail - p).max()) + 2.0**-32)
        square = z * z
        second.append(math.fsum(square))
        fourth.append(math.fsum(square * square))
        for sigma in past:
            past[sigma] += int(np.count_nonzero(z > sigma))
    n = 2.0**30
    variance, kurtosis = math.fsum(second) / n, math.fsum(fourth) / n
    print("every word, enumerated; the mean is 0 exactly, since bit 31 is the sign")
    print(f"largest |error|           {worst:.3e} at v = {worst_v}")
    print(f"Kolmogorov-Smirnov        {ks:.3e} (at most)")
    print(f"largest and smallest |z|  {quantile(np.uint32([1]))[0]:.9g}  {previous:.9g}")
    print(f"variance - 1              {variance - 1:.3e}")
    print(f"kurtosis - 3              {kurtosis / variance**2 - 3:.3e}")
    print(f"v whose z is above that of a smaller v   {backwards};  equal to it {ties}")
    for sigma, gap in gaps.items():
        print(f"largest gap between neighbours with |z| <= {sigma}: {gap:.3g}")
    for sigma, count in past.items():
        print(f"|z| > {sigma}: {4 * count} of 2^32 words; expected {2.0**33 * ndtr(-sigma):.1f}")
    print(f"BLAKE2b-128 of z(1), z(3), ... as little-endian float32: {digest.hexdigest()}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--report", action="store_true", help="measure the table over all words")
    if parser.parse_args().report:
        report()
        return
    rows = fit_all()
    for row in rows:
        print(f"    ({', '.join(map(str, row))}),")
    same = sum(a == b for a, b in zip(rows, COEFFICIENTS, strict=True))
    print(f"# {same} of {len(rows)} rows equal the table in use")


if __name__ == "__main__":
    main()
