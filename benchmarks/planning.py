"""What planning costs: against a forward on meta, and for a model no machine here could hold.

    python benchmarks/planning.py [--repeats 9]

First: tracing and planning in units of one plain meta forward of the same model (goal: tracing at
most 3). Then, each in a process of its own: Llama of 405 billion parameters, on meta, planned:
seconds (goal: 10) and the memory that planning adds (goal: 1 GB).
"""

from __future__ import annotations

import argparse
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import nn
from transformers import (
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
    ResNetConfig,
    ResNetForImageClassification,
)

import isometry as iso
from isometry.torch.read import read_graph

GOAL = {"forwards": 3.0, "seconds": 10.0, "gigabytes": 1.0}


def tokens() -> dict[str, torch.Tensor]:
    return {"input_ids": torch.zeros(1, 16, dtype=torch.long, device="meta")}


def image() -> dict[str, torch.Tensor]:
    return {"pixel_values": torch.zeros(1, 3, 64, 64, device="meta")}


def llama_405b() -> nn.Module:
    return LlamaForCausalLM(
        LlamaConfig(
            hidden_size=16384, num_hidden_layers=126, num_attention_heads=128,
            num_key_value_heads=8, intermediate_size=53248, vocab_size=128256,
        )
    )  # fmt: skip


MODELS: dict[str, tuple[Callable[[], nn.Module], Callable[[], dict[str, torch.Tensor]]]] = {
    "GPT-2, 12 layers": (lambda: GPT2LMHeadModel(GPT2Config()), tokens),
    "ResNet-50": (lambda: ResNetForImageClassification(ResNetConfig()), image),
    "Llama, 8 layers": (
        lambda: LlamaForCausalLM(LlamaConfig(num_hidden_layers=8, vocab_size=32000)),
        tokens,
    ),
}


def on_meta(build: Callable[[], nn.Module]) -> nn.Module:
    with torch.device("meta"):
        return build().eval()


def median_ms(jobs: list[Callable[[], Any]], repeats: int) -> list[float]:
    """The median processor time of each job, taken in turns: fair on a busy machine."""
    times: list[list[float]] = [[] for _ in jobs]
    for turn in range(repeats + 1):
        for i, job in enumerate(jobs):
            began = time.process_time()
            job()
            if turn:  # the first warms up
                times[i].append(1e3 * (time.process_time() - began))
    return [statistics.median(t) for t in times]


def costs(repeats: int) -> None:
    """Print tracing and planning in meta forwards, a line a model."""
    print(f"{'':<18} {'meta forward':>13} {'trace':>18} {'plan':>18}")
    for name, (build, example) in MODELS.items():
        model, inputs = on_meta(build), example()

        def forward(model: nn.Module = model, inputs: dict[str, torch.Tensor] = inputs) -> None:
            with torch.no_grad():
                model(**inputs)

        jobs: list[Callable[[], Any]] = [
            forward,
            partial(read_graph, model, inputs),
            partial(iso.plan, model, inputs),
        ]
        base, trace, plan = median_ms(jobs, repeats)
        verdict = "met" if trace / base <= GOAL["forwards"] else "MISSED"
        print(
            f"{name:<18} {base:>10.1f} ms {trace:>8.1f} ms {trace / base:>5.1f}x"
            f" {plan:>8.1f} ms {plan / base:>5.1f}x   at most {GOAL['forwards']:g}x: {verdict}"
        )


def gigabytes() -> float:
    """The most memory that this process has held."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss  # KiB on Linux, bytes on macOS
    return peak / (1e9 if sys.platform == "darwin" else 1e9 / 1024)


def huge() -> None:
    """Plan the 405 B model in this process and print what it took."""
    model = on_meta(llama_405b)
    count = sum(p.numel() for p in model.parameters())
    before = gigabytes()
    began = time.perf_counter()
    plan = iso.plan(model, tokens())
    seconds, added = time.perf_counter() - began, gigabytes() - before
    met = seconds <= GOAL["seconds"] and added <= GOAL["gigabytes"]
    print(
        f"Llama of {count / 1e9:.0f} B parameters, {len(plan.decisions)} decisions:"
        f" {seconds:.1f} s, {added:.2f} GB more than before"
        f"   at most {GOAL['seconds']:g} s and {GOAL['gigabytes']:g} GB:"
        f" {'met' if met else 'MISSED'}"
    )


def main() -> None:
    """Both tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=9)
    parser.add_argument("--huge", action="store_true", help="only the 405 B model, in this process")
    chosen = parser.parse_args()
    torch.set_num_threads(1)
    if chosen.huge:
        return huge()
    costs(chosen.repeats)
    subprocess.run([sys.executable, __file__, "--huge"], check=True)
    return None


if __name__ == "__main__":
    main()
