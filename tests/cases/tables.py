"""All cases and traps, by where they are from."""

from __future__ import annotations

from .case import Case, Trap
from .faults_conv import CONV
from .faults_dense import DENSE
from .faults_language import LANGUAGE
from .faults_source import SOURCE
from .injected import INJECTED
from .trained import TRAINED
from .traps_networks import NETWORKS
from .traps_torch import TORCH
from .traps_zeros import ZEROS

__all__ = ["FAMILIES", "FAULTS", "TRAPS"]

FAMILIES = {
    "ISO1": "symmetry",
    "ISO2": "forward",
    "ISO3": "backward",
    "ISO4": "dead, saturated",
    "ISO5": "geometry",
    "ISO6": "scheme, fans",
    "ISO7": "loss, head, input",
    "ISO8": "values and writes",
}

FAULTS: dict[str, tuple[Case, ...]] = {
    "reported": (*DENSE, *CONV, *LANGUAGE, *SOURCE),
    "injected": INJECTED,
}
TRAPS: dict[str, tuple[Trap, ...]] = {
    "zero or tiny on purpose": ZEROS,
    "sound networks": NETWORKS,
    "torch and its users": TORCH,
    "trained": TRAINED,
}
