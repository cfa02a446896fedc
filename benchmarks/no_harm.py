"""No harm: is `auto` as good as what the authors of networks that already train use?

    python benchmarks/no_harm.py [--seeds N] [--only gpt] [--recipe auto] [--steps 200]

Each network is trained twice a seed, on the same batches: as its authors initialise it, and after
`iso.initialize(recipe="auto")`. The loss is the mean training loss of the last 20 steps; the
verdict is on the increase over the authors': log(loss / authors' loss), averaged over the pairs,
and the upper end of its one-sided 95 % interval (Student's t).
"""

from __future__ import annotations

import argparse
import math
import statistics
import sys
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import cache

import torch
from networks import GPT, LSTM, ConvNeXt, Digits, Optimiser, ResNet, Text, ViT, adamw, sgd
from scipy import stats  # type: ignore[import-untyped]
from torch import nn
from torch.nn import functional as F

import isometry as iso

LIMIT = 0.02  # the increase in loss that would be harm
LAST = 20  # steps whose mean loss is the result
WARMUP = 20  # steps to the full learning rate; then a cosine to a tenth of it


@dataclass(frozen=True)
class Case:
    """A network, what it learns, how its authors would train it, and how many pairs it needs."""

    build: Callable[[], nn.Module]
    data: Callable[[], Digits | Text]
    optimiser: Optimiser
    clip: float = math.inf  # of the gradient's length
    pairs: int = 5  # more where losses vary more from seed to seed


@cache
def digits(noise: float) -> Digits:
    return Digits(noise=noise)


@cache
def text() -> Text:
    return Text()


def clean() -> Digits:
    return digits(0.0)


def noisy() -> Digits:
    return digits(1.0)


CASES = {
    "resnet": Case(ResNet, noisy, sgd(0.1), pairs=24),
    "resnet-zero": Case(lambda: ResNet(zero_init_residual=True), noisy, sgd(0.1), pairs=24),
    "vit": Case(ViT, clean, adamw(1e-3, 0.05), clip=1.0),
    "convnext": Case(ConvNeXt, clean, adamw(4e-3, 0.05)),
    "gpt": Case(lambda: GPT(text().letters), text, adamw(1e-3, 0.1, (0.9, 0.99)), clip=1.0),
    "lstm": Case(lambda: LSTM(text().letters), text, adamw(5e-3, 0.0), clip=1.0),
}


@dataclass(frozen=True)
class Run:
    """The losses of one training run."""

    first: float
    last: float
    held_out: float


def loss_of(model: nn.Module, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    return F.cross_entropy(model(x).flatten(0, -2), y.flatten())


def train(name: str, recipe: str | None, seed: int, steps: int) -> Run:
    """One run; recipe None is the authors' own initialisation."""
    torch.set_num_threads(1)
    case = CASES[name]
    data = case.data()
    torch.manual_seed(seed)
    model = case.build()
    if recipe is not None:
        iso.initialize(model, data.example, seed=seed, recipe=recipe, loss="cross_entropy")
    optimiser = case.optimiser(model)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimiser, lambda step: rate(step, steps))
    losses = []
    for _, (x, y) in zip(range(steps), data.batches(seed), strict=False):
        loss = loss_of(model, x, y)
        optimiser.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), case.clip)
        optimiser.step()
        schedule.step()
        losses.append(loss.item())
    model.eval()
    with torch.no_grad():
        held_out = loss_of(model, *data.held_out).item()
    return Run(losses[0], statistics.fmean(losses[-LAST:]), held_out)


def rate(step: int, steps: int) -> float:
    """The learning rate's factor: a linear warm-up, then a cosine to a tenth."""
    if step < WARMUP:
        return (step + 1) / WARMUP
    along = (step - WARMUP) / max(1, steps - WARMUP)
    return 0.1 + 0.45 * (1 + math.cos(math.pi * along))


@dataclass(frozen=True)
class Increase:
    """The relative increase in loss over pairs: its mean and the ends of its 90 % interval."""

    mean: float
    lower: float
    upper: float


def increase(before: list[float], after: list[float]) -> Increase:
    """From log-ratios: a loss is positive, and its spread grows with it."""
    logs = [math.log(a / b) for b, a in zip(before, after, strict=True)]
    mean = statistics.fmean(logs)
    error = statistics.stdev(logs) / math.sqrt(len(logs))
    reach = float(stats.t.ppf(0.95, len(logs) - 1)) * error
    return Increase(math.expm1(mean), math.expm1(mean - reach), math.expm1(mean + reach))


HEADER = (
    f"{'network':<12} {'pairs':>5} {'authors':>9} {'recipe':>9} {'increase':>9} {'95% upper':>10}"
    f"   {'held out':>18}   {'at step 0':>13}   verdict"
)


def row(name: str, own: list[Run], new: list[Run]) -> str:
    """One line of the table."""
    found = increase([r.last for r in own], [r.last for r in new])
    verdict = "no harm" if found.upper <= LIMIT else "harm" if found.lower > 0 else "not shown"

    def mean(runs: list[Run], field: str) -> float:
        return statistics.fmean(getattr(r, field) for r in runs)

    return (
        f"{name:<12} {len(own):>5} {mean(own, 'last'):>9.4f} {mean(new, 'last'):>9.4f} {found.mean:>+9.1%}"
        f" {found.upper:>+10.1%}   {mean(own, 'held_out'):>7.4f} -> {mean(new, 'held_out'):<7.4f}"
        f"   {mean(own, 'first'):>5.2f} -> {mean(new, 'first'):<5.2f}   {verdict}"
    )


def main() -> int:
    """Train everything, two processes at a time, and print a line as each network ends."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, help="pairs of runs, at least 2; else as listed")
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--only", choices=CASES, action="append", help="may be repeated")
    parser.add_argument("--recipe", choices=iso.recipes(), default="auto")
    chosen = parser.parse_args()
    if chosen.seeds is not None and chosen.seeds < 2:
        parser.error("--seeds must be at least 2: a spread needs two pairs")
    began = time.monotonic()
    print(f"{chosen.recipe} against the authors' own initialisation, {chosen.steps} steps")
    print(HEADER)
    harmed = False
    with ProcessPoolExecutor(2) as pool:
        runs = {
            (name, recipe): [
                pool.submit(train, name, recipe, seed, chosen.steps)
                for seed in range(chosen.seeds or CASES[name].pairs)
            ]
            for name in chosen.only or CASES
            for recipe in (None, chosen.recipe)
        }
        for name in chosen.only or CASES:
            own, new = ([f.result() for f in runs[name, r]] for r in (None, chosen.recipe))
            line = row(name, own, new)
            harmed |= not line.endswith("no harm")
            print(line, flush=True)
    print(f"{time.monotonic() - began:.0f} s")
    return int(harmed)


if __name__ == "__main__":
    sys.exit(main())
