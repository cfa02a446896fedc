"""A streamed checkpoint against a plain sequential write of as many bytes, on the same disk.

    python benchmarks/checkpoint.py [--size 1GB | --size 7B] [--rounds 5] [--folder DIR]

1GB is a stack of Linear layers, 7B transformers' LlamaConfig() as it is, both in bfloat16 and built on
meta. Each run is a process of its own, in turn; its files are removed after it. At least 70 % of the
plain write, and at most 512 MB of resident memory, is aimed at.

ours            `write_checkpoint`: every byte made, hashed, written and synchronised; 5 GB a file
plain           a ready buffer of 16 MiB, written over and over into one file, and fsync
plain, direct   the same past the page cache (O_DIRECT): what the disk itself takes

Peak memory is VmHWM of the process, with PyTorch (and transformers) loaded.
"""

from __future__ import annotations

import argparse
import json
import mmap
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

BUFFER = 16 << 20
NBYTES = {"1GB": 12 * (4096 + 1) * 11008 * 2, "7B": 13_476_839_424}


def peak() -> float:
    """The most memory that this process has had, in MB."""
    status = Path("/proc/self/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) * 1024 / 1e6


def ours(size: str, folder: Path) -> dict[str, float]:
    """One streamed checkpoint, in this process."""
    import torch

    import isometry as iso
    from isometry.checkpoint import write_checkpoint
    from isometry.torch import meta

    with meta():
        if size == "7B":
            from transformers import LlamaConfig, LlamaForCausalLM

            model = LlamaForCausalLM(LlamaConfig())
        else:
            model = torch.nn.Sequential(*(torch.nn.Linear(4096, 11008) for _ in range(12)))
    plan = iso.plan(model)
    before, start = peak(), time.perf_counter()
    write_checkpoint(model, plan, folder, seed=0, dtype="bf16")
    seconds = time.perf_counter() - start
    written = sum(p.stat().st_size for p in folder.glob("*.safetensors"))
    return {"seconds": seconds, "bytes": written, "before": before, "peak": peak()}


def plain(size: str, folder: Path, flags: int = 0) -> dict[str, float]:
    """One plain write, in this process."""
    buffer = mmap.mmap(-1, BUFFER)
    buffer.write(os.urandom(BUFFER))
    left = NBYTES[size] // BUFFER
    start = time.perf_counter()
    handle = os.open(folder / "plain", os.O_CREAT | os.O_WRONLY | flags)
    for _ in range(left):
        os.write(handle, buffer)
    os.fsync(handle)
    os.close(handle)
    seconds = time.perf_counter() - start
    return {"seconds": seconds, "bytes": left * BUFFER, "before": 0.0, "peak": peak()}


WAYS = {
    "ours": ours,
    "plain": plain,
    "plain, direct": lambda size, folder: plain(size, folder, os.O_DIRECT),
}


def run(way: str, size: str, folder: Path) -> dict[str, float]:
    """One run in a process of its own, and nothing left of it."""
    place = Path(tempfile.mkdtemp(dir=folder))
    try:
        done = subprocess.run(
            [sys.executable, __file__, "--size", size, "--folder", place, "--way", way],
            check=True, capture_output=True, text=True,
        )  # fmt: skip
        return dict(json.loads(done.stdout.splitlines()[-1]))
    finally:
        shutil.rmtree(place)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", choices=NBYTES, default="1GB")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--folder", type=Path, default=Path(tempfile.gettempdir()))
    parser.add_argument("--way", choices=WAYS, help=argparse.SUPPRESS)
    told = parser.parse_args()
    if told.way:
        print(json.dumps(WAYS[told.way](told.size, told.folder)))
        return
    free = shutil.disk_usage(told.folder).free
    if free < 1.2 * NBYTES[told.size]:
        print(f"skipped: {told.folder} has {free / 1e9:.1f} GB free, {told.size} needs "
              f"{1.2 * NBYTES[told.size] / 1e9:.1f} GB")  # fmt: skip
        return
    found: dict[str, list[dict[str, float]]] = {way: [] for way in WAYS}
    for _ in range(told.rounds):
        for way, results in found.items():
            results.append(run(way, told.size, told.folder))
    speeds = {w: [r["bytes"] / r["seconds"] / 1e9 for r in rs] for w, rs in found.items()}
    medians = {way: statistics.median(s) for way, s in speeds.items()}
    print(
        f"{told.size}, {os.cpu_count()} processors, {told.rounds} rounds in turn, load {os.getloadavg()[0]:.1f}"
    )
    print(f"{'':14} {'GB/s':>6}  {'spread':>11}  {'of plain':>8}  {'peak MB':>7}  {'before':>6}")
    for way, results in found.items():
        low, high = min(speeds[way]), max(speeds[way])
        most, before = (max(r[k] for r in results) for k in ("peak", "before"))
        print(f"{way:14} {medians[way]:6.2f}  {low:5.2f}-{high:5.2f}  {medians[way] / medians['plain']:8.0%}"
              f"  {most:7.0f}  {before:6.0f}")  # fmt: skip


if __name__ == "__main__":
    main()
