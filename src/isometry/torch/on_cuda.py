"""Tensors on a CUDA device: filled there by Triton, which is tried out on each device before use.

ISOMETRY_TRITON=0 leaves it alone. The values are then drawn on the host and copied: the same bits.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from isometry.stream import sample
from isometry.stream.draws import Draw, draw_of
from isometry.stream.index import Dim
from isometry.stream.keys import StreamKey, key
from isometry.types import Normal

__all__ = ["Way", "described", "way_of"]

SWITCH = "ISOMETRY_TRITON"

_TRIED = Normal(std=0.02), (5, 1003)  # odd rows: none but the first begins a block

Fill = Callable[[Draw, StreamKey, Sequence[Dim], Sequence[int], str, torch.Tensor], None]


@dataclass(frozen=True, slots=True)
class Way:
    """How elementwise laws come to a device, and why."""

    fill: Fill | None  # a kernel on the device; None: through the host
    why: str


@cache
def way_of(device: torch.device) -> Way:
    """The way to a CUDA device: Triton, if it works there. Found out once, with a warning if not."""
    if os.environ.get(SWITCH) == "0":
        return Way(None, f"{SWITCH}=0")
    fill, why = _kernel()
    if fill is not None:
        try:
            if _agrees(fill, device):
                return Way(fill, why)
            why = f"{why} gives other bits on {device}"
        except Exception as error:  # its compiler, a C compiler or the driver: whatever is missing
            first = str(error).strip().partition("\n")[0]
            why = f"{why} does not work on {device} ({type(error).__name__}: {first})"
    warnings.warn(
        f"{why}: tensors on {device} are drawn on the host and copied, the same bits, many times "
        f"slower; {SWITCH}=0 says that this is meant",
        RuntimeWarning,
        stacklevel=3,
    )
    return Way(None, why)


def _kernel() -> tuple[Fill | None, str]:
    """The fill of a CUDA tensor, and the name of what does it; or why there is none."""
    try:
        from isometry.stream import _triton
    except ImportError as error:
        if find_spec("triton") is None:
            return None, "Triton is not installed"
        return None, f"Triton does not load ({error})"

    def fill(
        how: Draw,
        stream: StreamKey,
        dims: Sequence[Dim],
        shape: Sequence[int],
        dtype: str,
        out: torch.Tensor,
    ) -> None:
        with torch.cuda.device(out.device):  # where Triton launches, on its current stream
            table = _table(out.device)
            _triton.elementwise(
                how, stream, dims, shape, dtype, out, table, lambda a: _upload(a, out.device)
            )

    @cache
    def _table(device: torch.device) -> torch.Tensor:
        return _upload(_triton.TABLE, device)

    return fill, f"Triton {_triton.VERSION}"


def _upload(array: NDArray[Any], device: torch.device) -> torch.Tensor:
    return torch.from_numpy(array).to(device)


def _agrees(fill: Fill, device: torch.device) -> bool:
    """Does the kernel give the reference's bits there? Compiles it, and waits for it."""
    law, shape = _TRIED
    how = draw_of(law)
    assert how is not None
    out = torch.empty(shape, device=device)
    fill(how, key(0, "trial"), [range(n) for n in shape], shape, "float32", out)
    found = out.cpu().numpy()
    return np.array_equal(found, sample(law, shape, seed=0, name="trial", backend="numpy"))


def described() -> str:
    """What fills CUDA tensors on this machine, and why."""
    if torch.cuda.is_available():
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)  # it is said here
            way = way_of(torch.device("cuda", torch.cuda.current_device()))
        if way.fill is None:
            return f"filled on the host and copied: {way.why}"
        return f"filled on the device by {way.why}: tried there, the same bits"
    fill, why = _kernel()
    would = f"{why} would fill its tensors" if fill else f"{why}, to fill its tensors with"
    return f"no CUDA device here; {would}"
