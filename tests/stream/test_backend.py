"""Which implementation draws, and what is said where the kernel could not be built."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from isometry.errors import BackendError
from isometry.stream import backend as backends
from isometry.stream import sample
from isometry.stream._native import kernels
from isometry.types import Normal, Orthogonal

WITHOUT = """
import sys, warnings
sys.modules["isometry.stream._kernel"] = None  # what an installation without a compiler has
import numpy as np
import isometry as iso
with warnings.catch_warnings(record=True) as said:
    warnings.simplefilter("always")
    for _ in range(3):
        drawn = [iso.sample(law, (40, 50), seed=0, name="w").tobytes().hex()
                 for law in (iso.Normal(std=0.02), iso.Orthogonal())]
print(len(said), *drawn)
print(said[0].message if said else "")
try:
    iso.sample(iso.Normal(), (4,), seed=0, name="w", backend="native")
except iso.errors.BackendError as error:
    print(error)
"""


def run(code: str, **environment: str) -> list[str]:
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True,
        env={"OMP_NUM_THREADS": "1", **environment},
    )  # fmt: skip
    return done.stdout.splitlines()


def test_without_a_kernel_numpy_draws_and_one_warning_says_so() -> None:
    first, warning, error = run(WITHOUT)
    count, *drawn = first.split()
    assert count == "1"
    assert "pip install --force-reinstall" in warning
    assert 'write backend="numpy"' in error
    for law, values in zip((Normal(std=0.02), Orthogonal()), drawn, strict=True):
        assert sample(law, (40, 50), seed=0, name="w").tobytes().hex() == values


def test_without_a_kernel_numpy_can_be_meant() -> None:
    first, warning, *_ = run(WITHOUT, ISOMETRY_ISA="numpy")
    assert first.split()[0] == "0"
    assert warning == ""


def test_the_variable_forces_a_kernel(isa: str) -> None:
    assert (backends.backend().kernel or "numpy") == isa
    assert backends.backend().why == f"ISOMETRY_ISA={isa}"


def test_a_kernel_that_this_processor_has_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ISOMETRY_ISA", "mmx")
    backends.chosen.cache_clear()
    with pytest.raises(BackendError, match=f"runs {', '.join(kernels)} and numpy"):
        sample(Normal(), (4,), seed=0, name="w")
    backends.chosen.cache_clear()


@pytest.mark.parametrize(("told", "count"), [("1", 1), ("3,2", 3), ("100000", 256)])
def test_the_number_of_threads(monkeypatch: pytest.MonkeyPatch, told: str, count: int) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", told)
    assert backends.thread_count(None) == count
    assert backends.thread_count(7) == 7


@pytest.mark.parametrize("told", ["", "many", "0", "-2"])
def test_without_a_number_every_processor(monkeypatch: pytest.MonkeyPatch, told: str) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", told)
    assert backends.thread_count(None) >= 1


def test_huge_pages_are_asked_for_unless_told(monkeypatch: pytest.MonkeyPatch) -> None:
    memory = np.empty(1 << 23, dtype=np.float32)
    monkeypatch.delenv("ISOMETRY_HUGE_PAGES", raising=False)
    offered = Path("/sys/kernel/mm/transparent_hugepage/enabled")
    assert backends.advise_huge_pages(memory) == offered.exists()
    assert not backends.advise_huge_pages(memory[:1000])  # less than a page of them
    monkeypatch.setenv("ISOMETRY_HUGE_PAGES", "0")
    assert not backends.advise_huge_pages(memory)
