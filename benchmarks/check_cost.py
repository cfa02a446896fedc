"""What a check costs: iso.check over one forward and backward of training, same batch.

    python benchmarks/check_cost.py [--repeats 9] [--threads 2]

Each repeat times both, one after the other; the ratio is the median over the pairs, and its range
is printed beside it. None of these networks has a zero or an equal unit, so no probe step is taken.
A check has a fixed cost of half a millisecond an operation, which is what a network shows whose
step takes only that.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable

import torch
from networks import GPT, ResNet, ViT
from torch import Tensor, nn
from torch.nn import functional as F

import isometry as iso

LIMIT = 2.5
LETTERS = 96

CASES: dict[str, tuple[Callable[[], nn.Module], Callable[[], Tensor]]] = {
    "ResNet, width 16, 64 x 1x8x8": (ResNet, lambda: torch.randn(64, 1, 8, 8)),
    "ResNet, width 64, 64 x 1x8x8": (lambda: ResNet(width=64), lambda: torch.randn(64, 1, 8, 8)),
    "ResNet, width 16, 64 x 1x32x32": (ResNet, lambda: torch.randn(64, 1, 32, 32)),
    "ViT, 64 x 1x8x8": (ViT, lambda: torch.randn(64, 1, 8, 8)),
    "GPT, width 128, 32 x 64": (
        lambda: GPT(LETTERS),
        lambda: torch.randint(LETTERS, (32, 64)),
    ),
    "GPT, width 256, 32 x 64": (
        lambda: GPT(LETTERS, dim=256, depth=6),
        lambda: torch.randint(LETTERS, (32, 64)),
    ),
}


def seconds(run: Callable[[], object]) -> float:
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


def step(model: nn.Module, x: Tensor) -> None:
    """One forward and backward as in training."""
    model.zero_grad(set_to_none=True)
    output = model(x).flatten(0, -2)
    target = torch.randint(output.shape[1], output.shape[:1])
    F.cross_entropy(output, target).backward()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--repeats", type=int, default=9)
    parser.add_argument("--threads", type=int, default=2)
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    print(f"{'network':<30} {'training':>9} {'check':>9} {'ratio':>6}  range")
    for name, (build, draw) in CASES.items():
        torch.manual_seed(0)
        model, x = build(), draw()
        both: tuple[Callable[[], object], ...] = (
            lambda model=model, x=x: step(model, x),
            lambda model=model, x=x: iso.check(model, x, loss="cross_entropy"),
        )
        for run in both:
            run()
        pairs = [tuple(seconds(run) for run in both) for _ in range(given.repeats)]
        ratios = sorted(check / training for training, check in pairs)
        training, check = (statistics.median(times) for times in zip(*pairs, strict=True))
        ratio = statistics.median(ratios)
        verdict = "" if ratio <= LIMIT else f"  above {LIMIT}"
        print(
            f"{name:<30} {training * 1e3:>6.0f} ms {check * 1e3:>6.0f} ms {ratio:>6.2f}  "
            f"{ratios[0]:.2f} to {ratios[-1]:.2f}{verdict}"
        )


if __name__ == "__main__":
    main()
