"""What calibration costs: initialize(calibrate=True) beyond initialize(), over a forward; and LSUV.

    python benchmarks/calibrate.py [--repeats 9] [--threads 1] [--only mlp]

Each repeat times a forward, both ways to initialise, and LSUV, one after the other, in seconds of
the processor; ratios are medians over the repeats, with their range. LSUV is the textbook's (Mishkin & Matas 2016, algorithm
1): orthogonal weights, then layer by layer a forward of the batch and a division by the standard
deviation, until the variance is within 0.1 of 1 or ten attempts are made.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable

import torch
from torch import Tensor, nn

import isometry as iso

DEPTHS = (10, 20, 30, 50)
AIM = 2.5  # forwards, at most


def mlp(depth: int) -> tuple[nn.Module, Tensor]:
    layers: list[nn.Module] = [nn.Linear(784, 512)]
    for _ in range(depth - 1):
        layers += [nn.ReLU(), nn.Linear(512, 512)]
    return nn.Sequential(*layers), torch.randn(256, 784) * 3 + 1


def cnn(depth: int) -> tuple[nn.Module, Tensor]:
    layers: list[nn.Module] = [nn.Conv2d(3, 64, 3, padding=1)]
    for _ in range(depth - 1):
        layers += [nn.GELU(), nn.Conv2d(64, 64, 3, padding=1)]
    return nn.Sequential(*layers), torch.randn(32, 3, 16, 16) * 3 + 1


NETWORKS: dict[str, Callable[[int], tuple[nn.Module, Tensor]]] = {"mlp": mlp, "cnn": cnn}


@torch.no_grad()
def lsuv(network: nn.Module, x: Tensor, tolerance: float = 0.1, attempts: int = 10) -> int:
    """Layer-sequential unit variance; returns how many forward passes it took."""
    layers = [m for m in network.modules() if isinstance(m, (nn.Linear, nn.Conv2d))]
    passes = 0
    for layer in layers:
        nn.init.orthogonal_(layer.weight)
        assert layer.bias is not None
        nn.init.zeros_(layer.bias)
    for layer in layers:
        seen: list[Tensor] = []
        hook = layer.register_forward_hook(lambda m, i, o, seen=seen: seen.append(o))
        for _ in range(attempts):
            network(x)
            passes += 1
            variance = float(seen.pop().var())
            if abs(variance - 1.0) < tolerance:
                break
            layer.weight.div_(variance**0.5)
        hook.remove()
    return passes


@torch.no_grad()
def second_moments(network: nn.Module, x: Tensor) -> list[float]:
    """Of every layer's output."""
    found = []
    for layer in network.children():
        x = layer(x)
        if isinstance(layer, (nn.Linear, nn.Conv2d)):
            found.append(float(x.square().mean()))
    return found


def seconds(run: Callable[[], object]) -> float:
    started = time.process_time()
    run()
    return time.process_time() - started


def told(values: list[float]) -> str:
    return f"{statistics.median(values):5.2f} ({min(values):.2f} - {max(values):.2f})"


def measure(kind: str, depth: int, repeats: int) -> None:
    torch.manual_seed(0)
    network, x = NETWORKS[kind](depth)

    @torch.no_grad()
    def forward() -> None:
        network(x)

    def calibrated(recipe: str) -> None:
        iso.initialize(network, x, recipe=recipe, calibrate=True)

    def plain(recipe: str) -> None:
        iso.initialize(network, x, recipe=recipe)

    for warm in (forward, lambda: calibrated("auto"), lambda: plain("auto")):
        warm()
    ours: list[float] = []
    theirs: list[float] = []
    times: list[float] = []
    moments: list[float] = []
    their_moments: list[float] = []
    passes = 0
    for _ in range(repeats):
        once = min(seconds(forward) for _ in range(3))
        without = seconds(lambda: plain("auto"))
        ours.append((seconds(lambda: calibrated("auto")) - without) / once)
        times.append(once)
        moments = second_moments(network, x)
        if len(theirs) < 2:  # it takes long, and says the same
            started = time.process_time()
            passes = lsuv(network, x)
            theirs.append((time.process_time() - started) / once)
            their_moments = second_moments(network, x)
    print(
        f"{kind} {depth:2} layers: forward {1e3 * statistics.median(times):6.1f} ms; calibrating "
        f"{told(ours)} forwards; LSUV {told(theirs)} ({passes} passes, orthogonal weights "
        f"included); second moments {min(moments):.4f} - {max(moments):.4f}, LSUV "
        f"{min(their_moments):.3f} - {max(their_moments):.3f}",
        flush=True,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=9)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--only", choices=NETWORKS, default=None)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    print(f"calibrating beyond initialising, in forwards of the same batch (at most {AIM})")
    for kind in NETWORKS if arguments.only is None else (arguments.only,):
        for depth in DEPTHS:
            measure(kind, depth, arguments.repeats)


if __name__ == "__main__":
    main()
