"""Mishkin & Matas 2016 measure and rescale layer by layer; one forward pass is enough."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from isometry.lab.evidence import number
from isometry.lab.experiment import Claim, Figure, Lab, Result, experiment
from isometry.lab.learning import LN_C, PIXELS, digits, smooth, train
from isometry.lab.networks import mlp
from isometry.lab.pictures import RULE, axis, by, decades, lines, picture

if TYPE_CHECKING:
    from torch import Tensor, nn

DEPTH, BATCH = 20, 256
WAYS = ("planned", "LSUV", "calibrated")
TOLERANCE, MOST = 0.1, 10  # LSUV's: how near to 1 is near enough, and how often it tries
RATE, STEPS, WINDOW = 0.003, 300, 20
LEARNT = 1.0
ROUNDING = 1e-4  # factors are rounded to six digits, sums of float32 to about as many
EXTENT = 5.0  # the digits are given as far from second moment 1 as people's data are: std 5


@experiment(
    title="Calibrated on data: one pass against LSUV's many",
    teaches="""Theory has to assume how large the data are. Here it is wrong: nobody has normalised these images, whose
    pixels have a standard deviation of 5. One can measure instead. LSUV goes through the network
    layer by layer: it runs a batch, looks at how large the layer's output is, divides the weights by that, and
    runs again until it is near enough to 1; that takes two runs a layer or more. But when a weight is rescaled
    the moment it is used, and its output with it, then the next layer already reads what it will read in the
    end. So one run calibrates every layer, and exactly: this is what initialize(..., calibrate=True) does.""",
    source="Mishkin & Matas 2016 (LSUV), algorithm 1",
)
def calibrate_against_lsuv(lab: Lab) -> Result:
    """Twenty layers of GELU on unscaled digits: as planned, by LSUV, and calibrated in one pass."""
    width, seeds = (256, 10) if lab.full else (64, 4)
    lab.cells.expect(len(WAYS) * seeds)
    runs = {
        way: [
            lab.cells.get(f"{way}/{seed}", partial(_run, way, width, seed)) for seed in range(seeds)
        ]
        for way in WAYS
    }
    numbers: dict[str, Any] = {"width": width, "seeds": seeds, "runs": runs}
    return Result(_claims(runs), _figures(runs), numbers)


def _run(way: str, width: int, seed: int) -> dict[str, Any]:
    """How many batches were run forward, how large each layer's output is, and the training."""
    import torch
    from torch import nn

    import isometry as iso

    x, y = digits()
    x = EXTENT * x
    batch = x[torch.randperm(len(x), generator=torch.Generator().manual_seed(seed))[:BATCH]]
    net = mlp([PIXELS, *[width] * (DEPTH - 1)], "gelu")
    passes = 0

    def count(_: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        nonlocal passes
        passes += not inputs[0].is_meta  # on meta the model is only read: nothing is computed

    counter = net.register_forward_pre_hook(count)
    if way == "LSUV":
        lsuv(net, batch, seed)
    else:
        iso.initialize(net, batch, seed=seed, calibrate=way == "calibrated")
    counter.remove()
    moments, variances = [], []
    with torch.no_grad():
        h = batch
        for module in net:
            h = module(h)
            if isinstance(module, nn.Linear):
                moments.append(h.square().mean().item())
                variances.append(h.var().item())
    losses = smooth(train(net, x, y, steps=STEPS, rate=RATE, seed=seed), WINDOW)
    return {"passes": passes, "moments": moments, "variances": variances, "losses": losses}


def lsuv(net: nn.Sequential, batch: Tensor, seed: int) -> None:
    """Orthogonal weights, then for each layer: measure, rescale, until its variance is near 1.

    Source: Mishkin & Matas 2016, algorithm 1.
    """
    import torch
    from torch import nn

    import isometry.torch as it

    layers = [(n, m) for n, m in net.named_modules() if isinstance(m, nn.Linear)]
    with torch.no_grad():
        for name, layer in layers:
            it.orthogonal_(layer.weight, seed=seed, name=f"{name}.weight")
            it.zeros_(layer.bias)
        for _, layer in layers:
            seen: list[float] = []
            hook = layer.register_forward_hook(lambda m, a, out, s=seen: s.append(out.var().item()))
            for _ in range(MOST):
                net(batch)
                if abs(seen[-1] - 1.0) < TOLERANCE:
                    break
                layer.weight /= seen[-1] ** 0.5
            hook.remove()


def _claims(runs: dict[str, Any]) -> tuple[Claim, ...]:
    def worst(way: str, what: str) -> float:
        return max(abs(float(v) - 1.0) for run in runs[way] for v in run[what])

    def most(way: str) -> int:
        return max(int(run["passes"]) for run in runs[way])

    ends = {way: [run["losses"][-1] for run in found] for way, found in runs.items()}
    starts = {way: [run["losses"][0] for run in found] for way, found in runs.items()}
    least = min(run["passes"] for run in runs["LSUV"])
    exact, near = worst("calibrated", "moments"), worst("LSUV", "variances")
    return (
        Claim(
            f"calibrated: the second moment of each of {DEPTH} layers on the batch",
            f"1 within {ROUNDING:g}, float32's rounding",
            f"at most {number(exact, 2)} from 1", exact < ROUNDING,
        ),
        Claim(
            "calibrated: batches run forward", "1: each weight is rescaled as it is used",
            f"{most('calibrated')}", most("calibrated") == 1,
        ),
        Claim(
            f"LSUV: the variance of each of {DEPTH} layers on the batch",
            f"1 within {TOLERANCE:g}: Mishkin & Matas 2016, algorithm 1",
            f"at most {number(near, 2)} from 1", near < TOLERANCE,
        ),
        Claim(
            "LSUV: batches run forward", f"{DEPTH} or more, one a layer at least",
            f"{least} to {most('LSUV')}", least >= DEPTH,
        ),
        Claim(
            "planned: the second moment of the first layer, whose input is not what was assumed",
            f"more than twice off: the input's second moment is {EXTENT**2:g} and not 1",
            f"{number(min(r['moments'][0] for r in runs['planned']), 3)} or more",
            min(r["moments"][0] for r in runs["planned"]) > 2,
        ),
        *(
            Claim(
                f"{way}: learns", f"loss below {LEARNT:g} after {STEPS} steps, in every run",
                f"at most {number(max(ends[way]), 3)}", max(ends[way]) < LEARNT,
            )
            for way in WAYS[1:]
        ),
        Claim(
            f"the mean loss of the first {WINDOW} steps",
            f"planned: above {1.2 * LN_C:.2f}, worse than guessing, in every run; LSUV and calibrated: below",
            ", ".join(f"{way}: {number(min(v), 3)} to {number(max(v), 3)}" for way, v in starts.items()),
            min(starts["planned"]) > 1.2 * LN_C
            and max(*starts["LSUV"], *starts["calibrated"]) < 1.2 * LN_C,
        ),
    )  # fmt: skip


def _figures(runs: dict[str, Any]) -> tuple[Figure, ...]:
    colour = by("way", WAYS)
    moments = [
        {"layer": layer + 1, "way": way, "q": q, "run": run}
        for way, found in runs.items()
        for run, each in enumerate(found)
        for layer, q in enumerate(each["moments"])
    ]
    losses = [
        {"step": WINDOW * (at + 1), "way": way, "loss": min(loss, 4.0), "run": run}
        for way, found in runs.items()
        for run, each in enumerate(found)
        for at, loss in enumerate(each["losses"])
    ]
    passes = [{"way": way, "passes": run["passes"]} for way in WAYS for run in runs[way][:1]]
    layer = axis("layer", "layer", padding=10, tickMinStep=1, tickCount=8, format="d")
    drawn = []
    for title, caption, about, x, y, rows, level in (
        ("How large each layer's output is",
         "The second moment on the batch that was measured; a line is a seed. Calibrated lies on 1; LSUV "
         "holds the variance near 1, and what is left is the mean.",
         "Second moments by layer: planned far off, LSUV near one, calibrated on it.",
         layer, decades("q", "second moment", [row["q"] for row in moments]), moments, 1.0),
        ("What it means for learning",
         "The training loss on the same unscaled digits; a line is a seed, the dotted line ln 10, "
         "where guessing is. Planned starts far above the picture, and a hundred steps go into undoing that.",
         "Training loss: LSUV and calibrated learn alike, planned starts high and lags.",
         axis("step", "training step", domain=[0, STEPS]),
         axis("loss", "training loss", domain=[0, 3.5]), losses, LN_C),
    ):  # fmt: skip
        curves = lines(x, y, colour, points=False)
        curves["encoding"]["detail"] = {"field": "run"}
        rule = {"data": {"values": [{}]}, "mark": RULE, "encoding": {"y": {"datum": level}}}
        drawn.append(Figure(title, caption, picture(about, [rule, curves], rows)))
    bars = {
        "mark": {"type": "bar", "height": {"band": 0.6}},
        "encoding": {
            "x": axis("passes", "batches run forward", zero=True),
            "y": {"field": "way", "type": "nominal", "sort": list(WAYS), "axis": {"title": None}},
            "color": {**colour, "legend": None},
        },
    }
    drawn.append(
        Figure(
            "What it costs",
            "Forward passes on data until the weights are there, in the first run.",
            picture("Forward passes: none, dozens, one.", [bars], passes, height=130),
        )
    )
    return tuple(drawn)
