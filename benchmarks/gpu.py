"""What filling a CUDA tensor costs: the Triton kernel against torch's generator, and against `fill_` as the limit.

    python benchmarks/gpu.py            2^30 elements, and equality with the CPU over all of them
    python benchmarks/gpu.py --quick    2^26

Rounds are paired: in each, ours and every peer's fill the same memory one after the other, timed by the
device's own events. The table has medians, and the quartiles of the ratio over the rounds. Where there
is no CUDA device it says so and measures nothing.
"""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Callable, Iterator

import torch
from rich.console import Console
from rich.table import Table

import isometry as iso
import isometry.torch as it
from isometry.torch.on_cuda import described, way_of

STD, ROUNDS, CHUNK = 0.02, 15, 1 << 26
DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}
Fill = Callable[[], object]


def seconds(fill: Fill) -> float:
    """The time of one call on the device."""
    start, stop = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    start.record()
    fill()
    stop.record()
    stop.synchronize()
    return start.elapsed_time(stop) / 1e3


def rounds(fills: dict[str, Fill]) -> dict[str, list[float]]:
    """The seconds of each over the rounds; the first two compile and warm up."""
    times: dict[str, list[float]] = {name: [] for name in fills}
    for number in range(ROUNDS + 2):
        for name, fill in fills.items():
            took = seconds(fill)
            if number > 1:
                times[name].append(took)
    return times


def cases(n: int, dtype: torch.dtype) -> Iterator[tuple[str, int, dict[str, Fill]]]:
    """(what, elements, ours and the peers) of every row."""
    memory = torch.empty(n, dtype=dtype, device="cuda")

    def ours(law: iso.Law, tensor: torch.Tensor, **part: object) -> Fill:
        return lambda: it.fill_(tensor, law, seed=0, name="w", **part)

    for size in (1 << 16, 1 << 20, 1 << 24, n):
        x = memory[:size]
        peers: dict[str, Fill] = {
            "normal_": lambda x=x: x.normal_(0.0, STD),
            "fill_": lambda x=x: x.fill_(STD),
        }
        yield "normal", size, {"ours": ours(iso.Normal(std=STD), x), **peers}
    limit: Fill = lambda: memory.fill_(STD)  # noqa: E731
    peer: Fill = lambda: torch.nn.init.uniform_(memory, -STD, STD)  # noqa: E731
    yield "uniform", n, {"ours": ours(iso.Uniform(STD), memory), "uniform_": peer, "fill_": limit}
    peer = lambda: torch.nn.init.trunc_normal_(memory, 0.0, STD, -2 * STD, 2 * STD)  # noqa: E731
    law = iso.TruncatedNormal(STD)
    yield "truncated", n, {"ours": ours(law, memory), "trunc_normal_": peer, "fill_": limit}
    normal = iso.Normal(std=STD)
    peer = lambda: memory.normal_(0.0, STD)  # noqa: E731
    rows = n >> 12
    half = ours(
        normal, memory.view(rows, 4096), shape=(rows, 8192), index=(slice(None), slice(4096, None))
    )
    yield "half of the columns", n, {"ours": half, "normal_": peer, "fill_": limit}
    turned = ours(normal, memory.view(4096, rows).T)
    yield "transposed memory", n, {"ours": turned, "normal_": peer, "fill_": limit}


def table(n: int) -> Table:
    out = Table("", "elements", "GB/s", "of `fill_`", "torch's", "times torch's (quartiles)")
    for label, dtype in DTYPES.items():
        for what, size, fills in cases(n, dtype):
            times = rounds(fills)
            _, peer, limit = fills
            ratios = [a / b for a, b in zip(times[peer], times["ours"], strict=True)]
            low, middle, high = statistics.quantiles(ratios, n=4)
            took, least = (statistics.median(times[name]) for name in ("ours", limit))
            rate = size * dtype.itemsize / took / 1e9
            out.add_row(
                f"{what} {label}", f"{size:,}", f"{rate:,.0f}", f"{least / took:.2f}", peer,
                f"{middle:.2f} ({low:.2f} - {high:.2f})",
            )  # fmt: skip
    return out


def differing(n: int, law: iso.Law, dtype: torch.dtype) -> int:
    """How many of n elements are not those that the CPU draws."""
    bits = {4: torch.int32, 2: torch.int16}[dtype.itemsize]
    there = it.fill_(torch.empty(n, dtype=dtype, device="cuda"), law, seed=0, name="w")
    found = 0
    for start in range(0, n, CHUNK):
        stop = min(start + CHUNK, n)
        here = torch.empty(stop - start, dtype=dtype)
        it.fill_(here, law, seed=0, name="w", shape=(n,), index=slice(start, stop))
        found += int((here.cuda().view(bits) != there[start:stop].view(bits)).sum())
    return found


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    arguments.add_argument("--quick", action="store_true")
    n = 1 << (26 if arguments.parse_args().quick else 30)
    console = Console()
    if not torch.cuda.is_available():
        console.print("no CUDA device here: nothing was measured")
        return
    console.print(f"{torch.cuda.get_device_name()}, torch {torch.__version__}; {described()}")
    if way_of(torch.device("cuda", torch.cuda.current_device())).fill is None:
        console.print("what follows is the way through the host")
    for law in (iso.Normal(std=STD), iso.Normal(std=STD, mean=1.0), iso.TruncatedNormal(STD)):
        for label, dtype in DTYPES.items():
            wrong = differing(n, law, dtype)
            console.print(f"{law} {label}: {wrong} of {n:,} elements are not the CPU's")
    console.print(table(n))


if __name__ == "__main__":
    main()
