"""What an orthogonal matrix costs, and a part of it: seconds and memory, against torch's whole.

    OMP_NUM_THREADS=1 python benchmarks/orthogonal.py [--side 4096] [--rounds 5] [--ranks 4]

Rounds are paired: each times torch's `orthogonal_`, ours, and one rank's part of ours by rows and by
columns, one after the other, in processor seconds. Rows cost the same wherever they lie; columns the
more the further right they are, so the first and the last rank's are timed. Memory is what a process
of its own grows by, its result included.
"""

from __future__ import annotations

import argparse
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch
from rich.console import Console
from rich.table import Table

import isometry as iso
from isometry.stream import sample

AIM = 2.0  # times torch's, of a whole matrix of 2048


def cases(side: int, ranks: int) -> dict[str, tuple[tuple[int, int], Callable[[], object]]]:
    """What is timed: the shape of what comes out, and the call."""

    def part(*index: slice) -> Callable[[], object]:
        return lambda: sample(iso.Orthogonal(), (side, side), seed=0, name="w", index=index)

    every, few = slice(None), side // ranks
    return {
        "torch, whole": (
            (side, side),
            lambda: torch.nn.init.orthogonal_(torch.empty(side, side)),
        ),
        "whole": ((side, side), part(every)),
        "rows": ((few, side), part(slice(side - few, side))),
        "first columns": ((side, few), part(every, slice(0, few))),
        "last columns": ((side, few), part(every, slice(side - few, side))),
    }


def growth(name: str, side: int, ranks: int) -> int:
    """Bytes that a process of its own grows by, at most, in one call."""
    done = subprocess.run(
        [sys.executable, __file__, "--side", str(side), "--ranks", str(ranks), "--here", name],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    return int(done.stdout)


def here(name: str, side: int, ranks: int) -> None:
    cases(512, ranks)[name][1]()
    before = peak()
    kept = cases(side, ranks)[name][1]()
    print(peak() - before)
    del kept


def peak() -> int:
    """The most bytes this process has had. (The system's ru_maxrss begins at the parent's.)"""
    lines = Path("/proc/self/status").read_text().splitlines()
    return 1024 * next(int(line.split()[1]) for line in lines if line.startswith("VmHWM"))


def seconds(call: Callable[[], object]) -> float:
    start = time.process_time()
    call()
    return time.process_time() - start


def table(side: int, ranks: int, rounds: int) -> Table:
    chosen = cases(side, ranks)
    for _, call in cases(512, ranks).values():
        call()
    found = [{name: seconds(call) for name, (_, call) in chosen.items()} for _ in range(rounds)]
    made = Table(title=f"{side} x {side}, and a part for one of {ranks} ranks")
    for column in ("what", "seconds", "of our whole", "range", "times torch's", "MiB", "beyond the result"):  # fmt: skip
        made.add_column(column, justify="left" if column == "what" else "right", no_wrap=True)
    for name, (shape, _) in chosen.items():
        shares = [each[name] / each["whole"] for each in found]
        faster = statistics.median(each["torch, whole"] / each[name] for each in found)
        grown, result = growth(name, side, ranks) / 2**20, 4 * shape[0] * shape[1] / 2**20
        verdict = ""
        if name == "whole" and side == 2048:
            verdict = f", aim {AIM:g}" + ("" if faster >= AIM else ": missed")
        made.add_row(
            name, f"{statistics.median(each[name] for each in found):.2f}",
            f"{statistics.median(shares):.2f}", f"{min(shares):.2f} - {max(shares):.2f}",
            f"{faster:.1f}{verdict}", f"{grown:.0f}", f"{grown - result:.0f}",
        )  # fmt: skip
    return made


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--side", type=int, default=4096)
    parser.add_argument("--ranks", type=int, default=4)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--here", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.here:
        here(given.here, given.side, given.ranks)
        return
    console = Console(width=max(110, Console().width))
    console.print(table(given.side, given.ranks, given.rounds))
    console.print(
        f"{platform.machine()}, {os.cpu_count()} processors, {torch.get_num_threads()} threads; "
        f"torch {torch.__version__}; {given.rounds} rounds, paired"
    )


if __name__ == "__main__":
    main()
