"""Does it matter whether weights are drawn from a Gaussian or from an interval?"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

from isometry.lab.evidence import Estimate, agrees, interval, number
from isometry.lab.experiment import Claim, Figure, Lab, Result, experiment
from isometry.lab.learning import PIXELS, accuracy, held_out, smooth, train
from isometry.lab.networks import mlp
from isometry.lab.pictures import RULE, axis, by, dots, picture

if TYPE_CHECKING:
    from torch import nn

LAWS = ("normal", "uniform")
WINDOW = 20  # steps whose mean is the final loss
# What would be a difference: a factor of the loss, and percentage points of accuracy.
FACTOR, POINTS = 1.25, 1.0


@experiment(
    title="Normal or uniform: it makes no difference",
    teaches="""Every framework offers each law twice, as a bell curve and as a flat interval. What a layer
    passes on is a sum of many weighted inputs, and such a sum does not remember what its terms looked like,
    only their variance. So the two should train alike. A single pair of runs cannot show that: two seeds differ
    as well. Here each pair shares its seed, its batches and even its random words, so that every weight
    has the same sign in both networks; and the answer is an interval, which says how large a
    difference there can still be. Of every twenty such intervals one leaves out 0 by chance alone; more pairs
    make it narrower.""",
    source="He et al. 2015 and Glorot & Bengio 2010 use one each; neither claims that it matters",
)
def normal_or_uniform(lab: Lab) -> Result:
    """He's law as a Gaussian and as a uniform law of the same variance, in pairs of training runs."""
    pairs = 60 if lab.full else 20
    numbers: dict[str, Any] = {"pairs": pairs, "networks": {}}
    lab.cells.expect(1 + len(networks()) * pairs)
    claims = []
    for name, (build, steps) in networks().items():
        runs = [
            lab.cells.get(f"{name}/{seed}", partial(_pair, build, steps, seed))
            for seed in range(pairs)
        ]
        losses = [math.log(run["uniform"][0] / run["normal"][0]) for run in runs]
        points = [100 * (run["uniform"][1] - run["normal"][1]) for run in runs]
        numbers["networks"][name] = {
            "log of the ratio of the losses": losses,
            "difference in accuracy": points,
            "loss interval": interval(losses),
            "accuracy interval": interval(points),
            "accuracy": {law: sum(run[law][1] for run in runs) / pairs for law in LAWS},
        }
        claims += _claims(name, numbers["networks"][name], pairs)
    shared = lab.cells.get("shared words", _correlation)
    numbers["correlation"] = shared
    claims.append(
        agrees(
            "correlation of a normal weight and a uniform one from the same seed",
            math.sqrt(1.5 / math.pi),
            "√(3/2π): one word gives both the same sign, and sizes that do not hang together",
            Estimate(shared[0], (1 - shared[0] ** 2) / math.sqrt(shared[1]), int(shared[1])),
        )
    )
    return Result(tuple(claims), _figures(numbers), numbers)


def networks() -> dict[str, tuple[Callable[[], nn.Module], int]]:
    """How each network is built, and for how many steps it is trained."""
    from torch import nn

    def convolutional() -> nn.Module:
        return nn.Sequential(
            nn.Unflatten(1, (1, 8, 8)),
            nn.Conv2d(1, 8, 3, padding=1), nn.ReLU(),
            nn.Conv2d(8, 16, 3, stride=2, padding=1), nn.ReLU(),
            nn.Flatten(), nn.Linear(256, 10),
        )  # fmt: skip

    return {"MLP": (lambda: mlp([PIXELS, 64, 64, 64], "relu"), 300), "CNN": (convolutional, 300)}


def _pair(build: Callable[[], nn.Module], steps: int, seed: int) -> dict[str, list[float]]:
    """The final training loss and the held-out accuracy under either law, from one seed."""
    import isometry as iso

    learn, test = held_out()
    out = {}
    for law in LAWS:
        net = build()
        plan = iso.plan(net, learn[0], recipe="he")
        if law == "uniform":
            flat = {
                d.name: iso.Uniform(math.sqrt(3) * d.law.std)
                for d in plan
                if isinstance(d.law, iso.Normal)
            }
            plan = plan.override(flat, "the same variance, uniform")
        plan.apply(net, seed=seed)
        losses = smooth(train(net, *learn, steps=steps, rate=0.01, seed=seed), WINDOW)
        out[law] = [losses[-1], accuracy(net, *test)]
    return out


def _correlation() -> list[float]:
    """Of 64 x 64 weights under either law, and how many weights that is."""
    import numpy as np

    import isometry as iso

    normal = iso.he_normal((64, 64), seed=0, name="0.weight")
    uniform = iso.he_uniform((64, 64), seed=0, name="0.weight")
    return [float(np.corrcoef(normal.ravel(), uniform.ravel())[0, 1]), normal.size]


def _claims(name: str, found: dict[str, Any], pairs: int) -> list[Claim]:
    mean, low, high = found["loss interval"]
    _, worse, better = found["accuracy interval"]
    return [
        Claim(
            f"{name}: ln of the final training loss, uniform over normal",
            f"the 95 % confidence interval (Student's t over paired seeds) lies within ±ln {FACTOR:g} = "
            f"{math.log(FACTOR):.3f}",
            f"{number(mean, 2)}, from {number(low, 2)} to {number(high, 2)}, over {pairs} pairs; "
            f"0 lies {'in' if low <= 0.0 <= high else 'out'}side",
            max(-low, high) <= math.log(FACTOR),
        ),
        Claim(
            f"{name}: held-out accuracy, uniform less normal",
            f"the 95 % confidence interval lies within ±{POINTS:g} percentage point",
            f"from {number(worse, 2)} to {number(better, 2)} points, over {pairs} pairs, at "
            f"{100 * found['accuracy']['normal']:.1f} %; 0 lies {'in' if worse <= 0.0 <= better else 'out'}side",
            max(-worse, better) <= POINTS,
        ),
    ]


def _figures(numbers: dict[str, Any]) -> tuple[Figure, ...]:
    drawn = []
    for title, key, interval_key, about in (
        ("The losses, pair by pair", "log of the ratio of the losses", "loss interval",
         "ln of the final training loss, uniform over normal"),
        ("The accuracies, pair by pair", "difference in accuracy", "accuracy interval",
         "held-out accuracy, uniform less normal, in percentage points"),
    ):  # fmt: skip
        pairs, means = [], []
        for name, found in numbers["networks"].items():
            pairs += [{"network": name, "value": round(v, 4)} for v in found[key]]
            mean, low, high = found[interval_key]
            means.append({"network": name, "value": mean, "low": low, "high": high})
        y = {"field": "network", "type": "nominal", "axis": {"title": None, "grid": False}}
        x = axis("value", about, padding=10, tickCount=6)
        colour = by("network", list(numbers["networks"]))
        colour["legend"] = None
        rows: dict[str, Any] = {"data": {"values": means}}
        drawn.append(
            Figure(
                title,
                "A small dot is a pair of runs from one seed. The large one is their mean, and the bar its 95 % "
                "confidence interval. At 0 both laws are alike.",
                picture(
                    f"{about}: pairs scatter on both sides of zero, and the intervals are narrow.",
                    [
                        {"data": {"values": [{}]}, "mark": RULE, "encoding": {"x": {"datum": 0}}},
                        dots(x, {**y, "bandPosition": 0.3}, colour, opacity=0.5),
                        {"mark": {"type": "rule", "strokeWidth": 3}, **rows,
                         "encoding": {"x": {**x, "field": "low"}, "x2": {"field": "high"},
                                      "y": {**y, "bandPosition": 0.65}, "color": colour}},
                        dots(x, {**y, "bandPosition": 0.65}, colour, size=130, **rows),
                    ],
                    pairs, height=200,
                ),
            )
        )  # fmt: skip
    return tuple(drawn)
