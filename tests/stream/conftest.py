"""Every implementation of the stream that this machine has."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from isometry.stream import backend as backends
from isometry.stream._native import kernels

ALL = ("avx512", "avx2", "portable", "numpy")


@pytest.fixture(params=ALL)
def isa(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The stream, drawn by each implementation in turn."""
    name: str = request.param
    if name not in (*kernels, "numpy"):
        pytest.skip(f"this processor cannot run {name}")
    monkeypatch.setenv("ISOMETRY_ISA", name)
    backends.chosen.cache_clear()
    yield name
    backends.chosen.cache_clear()
