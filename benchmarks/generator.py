"""What filling costs: isometry against torch, NumPy, JAX and Keras, and against `fill_` as the limit.

    python benchmarks/generator.py            every row, ten minutes
    python benchmarks/generator.py --quick    to 16 Mi elements

Runs are paired: in each round ours and every peer's fill the same memory one after the other, on the
same threads. The table has the median ratio of their times, and its quartiles over the rounds.
Peers that are far slower are timed on fewer elements, at most a second a round, and said as rates.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import platform
import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import numpy as np
import torch
from rich.console import Console
from rich.progress import track
from rich.table import Table

import isometry as iso
import isometry.torch as it
from isometry.stream import write
from isometry.stream.backend import backend

STD, ROUNDS = 0.02, 9
SIZES = (1 << 10, 1 << 14, 1 << 18, 1 << 22, 1 << 24, 1 << 26, 1 << 28)
IN_CACHE = 1 << 17  # elements whose bytes stay in a processor's own cache
DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
Fill = Callable[[], object]


@dataclass
class Row:
    """One law, dtype and size: our fill, and what peers call the same."""

    label: str
    n: int
    ours: Fill
    peers: dict[str, tuple[Fill, int]]  # and on how many elements each is timed
    target: dict[str, float] = field(default_factory=dict)  # the ratio aimed at, on AVX-512


def seconds(fill: Fill, n: int) -> float:
    """The time of one call; of many, where one is too short to time."""
    time.sleep(0.01)  # OpenMP's threads spin for some milliseconds after the fill before this one
    times = max(1, (1 << 18) // n)
    start = time.perf_counter()
    for _ in range(times):
        fill()
    return (time.perf_counter() - start) / times


def elements_per_second(row: Row) -> dict[str, list[float]]:
    """Rates over the rounds, in elements a second; "ours" first."""
    rates: dict[str, list[float]] = {name: [] for name in ("ours", *row.peers)}
    for number in range(ROUNDS + 1):
        found = {"ours": row.n / seconds(row.ours, row.n)}
        for name, (fill, n) in row.peers.items():
            found[name] = n / seconds(fill, n)
        if number:  # the first round touches memory and compiles
            for name, rate in found.items():
                rates[name].append(rate)
    return rates


def rows(sizes: tuple[int, ...]) -> Iterator[Row]:
    memory = torch.empty(max(sizes))
    for dtype in DTYPES:
        for n in sizes:
            yield normal(memory, dtype, n)
    for n in sizes[::2]:
        yield uniform(memory, n)
        yield truncated(memory, n)
    for dtype in ("fp32", "bf16"):
        for side in (256, 1024, 2048):
            yield orthogonal(side, dtype)
    yield delta_orthogonal()


def part(memory: torch.Tensor, n: int, dtype: str = "fp32") -> torch.Tensor:
    """n elements at the beginning of the memory that all rows share."""
    return memory.view(DTYPES[dtype])[:n]


def normal(memory: torch.Tensor, dtype: str, n: int) -> Row:
    x, law = part(memory, n, dtype), iso.Normal(std=STD)
    peers: dict[str, tuple[Fill, int]] = {
        "normal_": (lambda: torch.nn.init.normal_(x, 0.0, STD), n),
        "fill_": (lambda: x.fill_(STD), n),
        **in_cache(x, law),
    }
    if dtype == "fp32" and n <= 1 << 26:
        out, generator = x.numpy(), np.random.default_rng(0)
        if n <= 1 << 22:
            slow = np.empty(n, dtype=np.float32)
            peers["ours, NumPy"] = (
                lambda: write(slow, law, (n,), seed=0, name="w", dtype="float32", backend="numpy"),
                n,
            )
        peers["NumPy"] = (lambda: generator.standard_normal(dtype=np.float32, out=out), n)
        peers.update(jax_peers("normal", min(n, 1 << 24)))
        if n >= 1 << 18:
            peers.update(keras_peers("HeNormal", min(n, 1 << 24)))
    target = {"normal_": 8.0 if n >= 1 << 22 else 1.0} if dtype != "fp16" else {}
    target["in cache"] = 0.9
    return Row(f"normal {dtype}", n, named(x, law), peers, target)


def uniform(memory: torch.Tensor, n: int) -> Row:
    x, law = part(memory, n), iso.Uniform(STD)
    peers: dict[str, tuple[Fill, int]] = {
        "uniform_": (lambda: torch.nn.init.uniform_(x, -STD, STD), n),
        "fill_": (lambda: x.fill_(STD), n),
        **in_cache(x, law),
    }
    target = {"uniform_": 8.0 if n >= 1 << 22 else 1.0, "in cache": 0.9}
    return Row("uniform fp32", n, named(x, law), peers, target)


def truncated(memory: torch.Tensor, n: int) -> Row:
    x, m, law = part(memory, n), min(n, 1 << 22), iso.TruncatedNormal(STD)
    few = part(memory, m)
    bound = 2 * STD
    peers: dict[str, tuple[Fill, int]] = {
        "trunc_normal_": (
            lambda: torch.nn.init.trunc_normal_(few, 0.0, STD, -bound, bound),
            m,
        ),
        "fill_": (lambda: x.fill_(STD), n),
        **in_cache(x, law),
        **jax_peers("truncated_normal", min(n, 1 << 24)),
    }
    large = n >= 1 << 22
    aims = (60.0, 20.0) if large else (1.0, 1.0)
    target = {"trunc_normal_": aims[0], "JAX": aims[1], "in cache": 0.9}
    return Row("truncated fp32", n, named(x, law), peers, target)


def orthogonal(side: int, dtype: str) -> Row:
    x = torch.empty(side, side, dtype=DTYPES[dtype])
    peers: dict[str, tuple[Fill, int]] = {}
    if dtype == "fp32":
        peers["orthogonal_"] = (lambda: torch.nn.init.orthogonal_(x), x.numel())
    else:  # torch has no QR in half precision: its users draw in float32 and copy
        peers["orthogonal_"] = (
            lambda: x.copy_(torch.nn.init.orthogonal_(torch.empty(side, side))),
            x.numel(),
        )
    target = {"orthogonal_": 2.0} if side == 2048 else {}
    return Row(f"orthogonal {side} {dtype}", x.numel(), named(x, iso.Orthogonal()), peers, target)


def delta_orthogonal() -> Row:
    x = torch.empty(512, 512, 3, 3)
    peers: dict[str, tuple[Fill, int]] = {
        "fill_": (lambda: x.fill_(STD), x.numel()),
    }
    return Row("delta 512x512x3x3", x.numel(), named(x, iso.DeltaOrthogonal()), peers)


def named(x: torch.Tensor, law: iso.Law) -> Fill:
    """Our fill, under a new name each time, as a model's parameters have."""
    number = iter(range(1 << 62))
    return lambda: it.fill_(x, law, seed=0, name=f"layers.{next(number)}.weight")


def in_cache(x: torch.Tensor, law: iso.Law) -> dict[str, tuple[Fill, int]]:
    """Our own on one thread where memory is no limit, counted once for each thread."""
    threads, times = torch.get_num_threads(), 16
    fill = named(x[:IN_CACHE], law)

    def alone() -> None:
        torch.set_num_threads(1)
        for _ in range(times):
            fill()
        torch.set_num_threads(threads)

    return {"in cache": (alone, times * IN_CACHE * threads)} if len(x) >= 1 << 22 else {}


def jax_peers(what: str, n: int) -> dict[str, tuple[Fill, int]]:
    """JAX's own, compiled, where it is installed."""
    with contextlib.suppress(ImportError):
        import jax

        draw = {
            "normal": jax.jit(lambda key: jax.random.normal(key, (n,)) * STD),
            "truncated_normal": jax.jit(
                lambda key: jax.random.truncated_normal(key, -2.0, 2.0, (n,)) * STD
            ),
        }[what]
        key = jax.random.key(0)
        return {"JAX": (lambda: draw(key).block_until_ready(), n)}
    return {}


def keras_peers(what: str, n: int) -> dict[str, tuple[Fill, int]]:
    """Keras's own, on the backend that KERAS_BACKEND chooses, where it is installed."""
    with contextlib.suppress(ImportError):
        import keras

        initializer = getattr(keras.initializers, what)()
        shape = (n >> 9, 1 << 9)
        name = f"Keras ({keras.backend.backend()})"
        return {name: (lambda: np.asarray(initializer(shape)[0, 0]), n)}
    return {}


def quartiles(values: list[float]) -> tuple[float, float, float]:
    low, middle, high = statistics.quantiles(values, n=4)
    return low, middle, high


def show(found: list[tuple[Row, dict[str, list[float]]]]) -> Table:
    table = Table(title="filling: elements a second, and how many times the peer's")
    for name in (
        "what",
        "elements",
        "ours, G/s",
        "peer",
        "peer, G/s",
        "times",
        "quartiles",
        "at least",
    ):
        table.add_column(
            name, justify="left" if name in ("what", "peer") else "right", no_wrap=True
        )
    for row, rates in found:
        ours = statistics.median(rates["ours"])
        label, count, rate = row.label, f"{row.n:,}", f"{ours / 1e9:.3g}"
        for peer in row.peers:
            pairs = zip(rates["ours"], rates[peer], strict=True)
            low, middle, high = quartiles([a / b for a, b in pairs])
            least = row.target.get(peer)
            verdict = "" if least is None else f"{least:g} {'✓' if middle >= least else '✗'}"
            table.add_row(
                label, count, rate, peer, f"{statistics.median(rates[peer]) / 1e9:.3g}",
                f"{middle:.3g}", f"{low:.3g} - {high:.3g}", verdict,
            )  # fmt: skip
            label = count = rate = ""
        table.add_section()
    return table


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="to 16 Mi elements")
    parser.add_argument("--only", default="", help="rows whose name contains this")
    options = parser.parse_args()
    sizes = SIZES[:5] if options.quick else SIZES
    chosen = [row for row in rows(sizes) if options.only in row.label]
    found = [(row, elements_per_second(row)) for row in track(chosen, "filling", transient=True)]
    console = Console(width=max(120, Console().width))
    console.print(show(found))
    console.print(
        f"{platform.machine()}, {os.cpu_count()} processors, {torch.get_num_threads()} threads, "
        f"kernel {backend().kernel}; torch {torch.__version__}; {ROUNDS} rounds, paired"
    )


if __name__ == "__main__":
    main()
