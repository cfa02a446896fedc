"""Every real fault is found and mended, every trap stays quiet: what confusion.py counts."""

from __future__ import annotations

from dataclasses import replace

import pytest
from torch import Tensor

from .case import Case, Trap
from .tables import FAULTS, TRAPS
from .verdict import diagnose, listen, look
from .zoo import DEFENDED, ZOO

CASES = [case for cases in FAULTS.values() for case in cases]
TRAPPED = [trap for traps in TRAPS.values() for trap in traps]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_a_real_fault_is_found_where_it_is_and_gone_after_the_fix(case: Case) -> None:
    faults = diagnose(case).faults
    assert not faults, "\n".join(faults)


@pytest.mark.parametrize("trap", TRAPPED, ids=lambda trap: trap.name)
def test_a_trap_is_no_error_and_every_warning_is_defended(trap: Trap) -> None:
    faults = listen(trap).faults
    assert not faults, "\n".join(faults)


@pytest.mark.parametrize("factor", [1e-4, 1e4])
@pytest.mark.parametrize(
    "name", ["He, depth 30", "the last batch norm zero", "nanoGPT: small residual projections"]
)
def test_the_scale_of_the_loss_changes_nothing(name: str, factor: float) -> None:
    def loss(output: Tensor, target: object) -> Tensor:
        return factor * output.square().mean()

    (trap,) = (trap for trap in TRAPPED if trap.name == name)
    faults = listen(replace(trap, loss=loss)).faults
    assert not faults, "\n".join(faults)


@pytest.mark.parametrize("name", ZOO)
def test_what_authors_do_is_no_error_or_the_error_is_defended(name: str) -> None:
    faults = look(name).faults
    assert not faults, "\n".join(faults)


def test_at_most_one_class_in_fifty_gets_an_error() -> None:
    assert set(DEFENDED) <= set(ZOO)
    assert len(ZOO) >= 40
    assert len(DEFENDED) <= 0.02 * len(ZOO)


def test_every_case_has_a_name_of_its_own_and_a_source() -> None:
    names = [c.name for c in (*CASES, *TRAPPED)]
    assert len(names) == len(set(names))
    assert all(case.source.startswith("http") for case in CASES)
    assert all(trap.source for trap in TRAPPED)
    assert all(bool(case.mend) <= bool(case.why) for case in CASES)
