"""A network that cannot learn is diagnosed, initialised, and learns: `make demo`.

Thirty layers of ReLU read scikit-learn's handwritten digits, twice: as PyTorch initialises them,
and as isometry does. Nothing else differs: the same layers, data, batches and optimiser.
"""

from __future__ import annotations

import argparse
import math
import statistics
import sys
from pathlib import Path

import plotext
import torch
from matplotlib.figure import Figure
from sklearn.datasets import load_digits
from torch import Tensor, nn

import isometry as iso
from isometry.report import plan_table, terminal

PIXELS, WIDTH, DEPTH, CLASSES = 64, 256, 30, 10
BATCH, LEARNING_RATE = 64, 0.005
CHECKED = 128  # samples that a check looks at
TITLES = "PyTorch's defaults", "after iso.initialize"
COLUMNS, COLOR = 100, sys.stdout.isatty()

CHECK = 'iso.check(model, x, loss="cross_entropy", target=y)'
INITIALIZE = 'iso.initialize(model, x, seed=0, loss="cross_entropy")'


def digits() -> tuple[Tensor, Tensor]:
    """1,797 images of 8 x 8 pixels, flattened, with second moment 1; and the digits they show."""
    data = load_digits()
    x = torch.tensor(data.data, dtype=torch.float32)
    x = x - x.mean(0)
    return x / x.square().mean().sqrt(), torch.tensor(data.target)


def make_model() -> nn.Sequential:
    """Thirty linear layers with ReLU between them: no normalisation and no skips to help."""
    layers: list[nn.Module] = [nn.Linear(PIXELS, WIDTH), nn.ReLU()]
    for _ in range(DEPTH - 2):
        layers += [nn.Linear(WIDTH, WIDTH), nn.ReLU()]
    return nn.Sequential(*layers, nn.Linear(WIDTH, CLASSES))


def train(model: nn.Module, x: Tensor, y: Tensor, steps: int) -> list[float]:
    """Plain SGD on random batches, the same ones every time; returns the loss of each step."""
    optimiser = torch.optim.SGD(model.parameters(), lr=LEARNING_RATE)
    batches = torch.Generator().manual_seed(0)
    losses = []
    for _ in range(steps):
        batch = torch.randint(len(x), (BATCH,), generator=batches)
        loss = nn.functional.cross_entropy(model(x[batch]), y[batch])
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    return losses


def accuracy(model: nn.Module, x: Tensor, y: Tensor) -> float:
    """The fraction of the digits that the model reads correctly."""
    with torch.no_grad():
        return (model(x).argmax(1) == y).double().mean().item()


def say(title: str, code: str) -> None:
    """A heading, and the line of Python whose result follows."""
    bold, dim, end = ("\x1b[1m", "\x1b[2m", "\x1b[0m") if COLOR else ("", "", "")
    print(f"\n{bold}── {title} {'─' * (96 - len(title))}{end}")
    print(f"{dim}>>> {code}{end}\n", flush=True)


def smooth(losses: list[float]) -> list[float]:
    """The mean of each loss and the nine before it: single batches are noisy."""
    return [statistics.fmean(losses[max(0, i - 9) : i + 1]) for i in range(len(losses))]


def draw(before: list[float], after: list[float]) -> None:
    """Both losses side by side in the terminal, on the same scale."""
    plotext.terminal.limit(width=False, height=False)  # piped, it would guess 80 columns
    figure = plotext.figure
    figure.plot_size(COLUMNS, 18)
    figure.subplots(1, 2)
    steps = range(len(before))
    for column, losses in enumerate((before, after), 1):
        plot = figure.subplot(1, column)
        plot.title(TITLES[column - 1])
        plot.label("step of SGD (mean of ten)", axis="x")
        plot.ruler("x").ticks(range(0, len(steps) + 1, max(1, len(steps) // 4)))
        plot.ruler("y").lim(0, 2.5)
        plot.ruler("y").ticks([0, 0.5, 1, 1.5, 2, 2.5])
        plot.draw(plot.signal(steps, smooth(losses)))
    figure.show(colorless=not COLOR)


def picture(before: list[float], after: list[float], path: Path) -> None:
    """The same two curves as a PNG."""
    figure = Figure(figsize=(7, 4), layout="constrained")
    axes = figure.subplots()
    for losses, color, title in zip((before, after), ("tab:red", "tab:blue"), TITLES, strict=True):
        axes.plot(losses, color=color, alpha=0.2, lw=0.8)
        axes.plot(smooth(losses), color=color, label=title)
    axes.axhline(math.log(CLASSES), color="grey", lw=0.8, ls=":", label="guessing: ln 10")
    axes.set(
        xlabel="step of SGD (mean of ten)", ylabel="cross-entropy", ylim=(0, None),
        title=f"{DEPTH} ReLU layers on handwritten digits",
    )  # fmt: skip
    axes.legend(frameon=False)
    figure.savefig(path, dpi=150)


def main() -> None:
    """Diagnose, fail to train, initialise, prove, train, compare."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--steps", type=int, default=400, help="of SGD, for each of the two")
    arguments.add_argument("--picture", type=Path, default=Path("demo.png"))
    options = arguments.parse_args()

    torch.set_num_threads(1)  # layers this small gain nothing from a second core
    x, y = digits()
    x_check, y_check = x[:CHECKED], y[:CHECKED]

    say(f"1. {DEPTH} layers of ReLU, as PyTorch initialises them", CHECK)
    torch.manual_seed(0)
    model = make_model()
    report = iso.check(model, x_check, loss="cross_entropy", target=y_check)
    print(terminal.render(report, width=COLUMNS, color=COLOR), end="")

    say(f"2. {options.steps} steps of SGD", "train(model)")
    before = train(model, x, y, options.steps)
    print(f"loss {before[0]:.2f} -> {smooth(before)[-1]:.2f}, accuracy {accuracy(model, x, y):.0%}")

    say("3. The same layers, initialised from what each of them does", INITIALIZE)
    model = make_model()
    plan = iso.initialize(model, x_check, seed=0, loss="cross_entropy")
    print(plan_table.render(plan, width=COLUMNS, color=COLOR), end="")
    say("The proof", CHECK)
    report = iso.check(model, x_check, loss="cross_entropy", target=y_check)
    print(terminal.render(report, width=COLUMNS, color=COLOR), end="")

    say(f"4. The same {options.steps} steps of SGD", "train(model)")
    after = train(model, x, y, options.steps)
    print(f"loss {after[0]:.2f} -> {smooth(after)[-1]:.2f}, accuracy {accuracy(model, x, y):.0%}\n")
    draw(before, after)
    picture(before, after, options.picture)
    print(f"\nBoth curves as a picture: {options.picture.resolve()}")


if __name__ == "__main__":
    main()
