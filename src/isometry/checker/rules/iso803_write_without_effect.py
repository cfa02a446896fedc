"""write-without-effect: values written to a weight that is computed from others

What it does
    Looks for weights that are computed from other parameters (weight norm, spectral norm, a
    parametrisation of your own) and were written to as they stand: the values are gone at the next
    forward pass. Under the older weight_norm a model shows it; under torch's parametrisations it
    shows while the model is built, so that a factory is needed.

Why it is bad
    The initialisation that is written in the code does not happen, and nothing says so.

Example
    layer = nn.utils.parametrizations.weight_norm(nn.Linear(8, 8))
    nn.init.orthogonal_(layer.weight)       # fills a tensor that nobody reads

Use instead
    with torch.no_grad(): layer.weight = nn.init.orthogonal_(torch.empty(8, 8))
    isometry.initialize(net, x, seed=0)     # sets direction and magnitude

References
    PyTorch, torch.nn.utils.parametrize.register_parametrization: assign, do not write in place.
"""

from __future__ import annotations

from collections.abc import Iterator

from isometry.checker.reading import Reading
from isometry.checker.wording import stretch
from isometry.types import Finding

CODE, NAME = "ISO803", "write-without-effect"
EXPLAINS: tuple[str, ...] = ()
DOWNSTREAM = False


def check(reading: Reading) -> Iterator[Finding]:
    """One finding for all weights that were written to in vain."""
    lost = {p.name: p.ineffective for p in reading.measurements.parameters if p.ineffective}
    if not lost:
        return
    weights = list(dict.fromkeys(lost.values()))
    owner, _, slot = weights[0].rpartition(".")
    yield Finding(
        CODE,
        NAME,
        "warning",
        stretch(weights),
        f"{len(weights)} {'weight was' if len(weights) == 1 else 'weights were'} written to and "
        "computed anew since: the values are lost",
        f"{weights[0]} is computed from {' and '.join(n for n in lost if lost[n] == weights[0])}",
        f"iso.initialize(model, inputs, seed=0), or assign: with torch.no_grad(): "
        f"model.get_submodule({owner!r}).{slot} = values",
        {
            "first": min(reading.place(n) for n in lost),
            "last": max(reading.place(n) for n in lost),
            "weights": len(weights),
        },
        tuple(lost),
    )
