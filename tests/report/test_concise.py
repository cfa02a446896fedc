"""The concise report is one line a finding, whatever the findings say."""

from dataclasses import replace

from isometry.report import concise

from .examples import FAINT, report


def test_every_line_starts_with_what_it_is() -> None:
    assert concise.render(report()).splitlines() == [
        "error ISO201 vanishing-signal layers.0 … layers.4: signal x 0.41 a layer over 5 layers",
        "info ISO901 zero-by-design layers.4.bias: moves at step 1",
        "not-checked loss: no loss was given",
    ]


def test_ok_is_said_only_where_nothing_is_wrong() -> None:
    healthy = replace(report(), findings=())
    assert concise.render(healthy).splitlines()[-1] == "ok MLP: no error in 6 operations"
    for wrong in (report(), replace(healthy, judged=False)):
        assert not any(line.startswith("ok") for line in concise.render(wrong).splitlines())


def test_a_finding_of_several_lines_is_one() -> None:
    broken = replace(report(), findings=(replace(FAINT, evidence="a\n  b\nc"),), not_checked=())
    assert concise.render(broken) == "error ISO201 vanishing-signal layers.0 … layers.4: a b c"
