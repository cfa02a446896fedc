"""GPT-2 large (774 M parameters) on the CPU: from meta to initialised, against transformers building it.

    python benchmarks/whole_model.py

Each run is a process of its own, five of each, in turn. At least three times is aimed at. Ours is timed from a model on
meta: planning, memory and values. Theirs is timed from the configuration. The limit is fresh memory of
the same sizes filled with a constant. Memory is what the process had at its peak beyond what it had
before, in MiB beyond the model's own.
"""

from __future__ import annotations

import json
import os
import resource
import statistics
import subprocess
import sys
import time

PAIRS = 5
WAYS = {
    "theirs": {},
    "ours": {},
    "ours, small pages": {"ISOMETRY_HUGE_PAGES": "0"},
    "limit": {},
}


def peak() -> float:
    """The most memory that this process has had, in MiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def run(which: str) -> dict[str, float]:
    """One initialisation, in this process."""
    import torch
    from transformers import GPT2Config, GPT2LMHeadModel

    import isometry as iso
    import isometry.torch as it

    config = GPT2Config(n_embd=1280, n_layer=36, n_head=20, loss_type="ForCausalLM")
    ids = torch.zeros(1, 16, dtype=torch.long)
    if which == "theirs":
        GPT2LMHeadModel(GPT2Config(n_embd=8, n_layer=1, n_head=1))  # imports and first calls
        before, start = peak(), time.perf_counter()
        model = GPT2LMHeadModel(config)
    else:
        with it.meta():
            model = GPT2LMHeadModel(config)
        before, start = peak(), time.perf_counter()
        if which == "limit":
            model.to_empty(device="cpu")
            model.tie_weights()
            with torch.no_grad():
                for parameter in model.parameters():
                    parameter.fill_(1.0)
        else:
            iso.initialize(model, ids, seed=0)
    took = time.perf_counter() - start
    size = sum(p.nbytes for p in model.parameters()) / 2**20
    assert not any(p.is_meta for p in model.parameters())
    return {"seconds": took, "beyond": peak() - before - size, "size": size}


def main() -> None:
    if len(sys.argv) > 1:
        print(json.dumps(run(sys.argv[1])))
        return
    found: dict[str, list[dict[str, float]]] = {name: [] for name in WAYS}
    for _ in range(PAIRS):
        for which, runs in found.items():
            # After one of theirs each time: how memory was freed tells in how it is had again.
            order = [which] if which == "theirs" else ["theirs", which]
            for name in order:
                done = subprocess.run(
                    [sys.executable, __file__, name], capture_output=True, text=True, check=True,
                    env={**os.environ, **WAYS[name]},
                )  # fmt: skip
            runs.append(json.loads(done.stdout.splitlines()[-1]))
    for which, runs in found.items():
        times = sorted(r["seconds"] for r in runs)
        pairs = zip(runs, found["theirs"], strict=True)
        ratios = sorted(t["seconds"] / o["seconds"] for o, t in pairs)
        print(
            f"{which:18} {statistics.median(times):6.2f} s ({times[0]:.2f} - {times[-1]:.2f}); "
            f"theirs takes {statistics.median(ratios):.2f} times as long "
            f"({ratios[0]:.2f} - {ratios[-1]:.2f}); memory beyond the model's "
            f"{runs[0]['size']:.0f} MiB: {max(r['beyond'] for r in runs):.0f}"
        )


if __name__ == "__main__":
    main()
