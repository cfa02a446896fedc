"""The report at a terminal: what a person reads, at 100 columns."""

from dataclasses import replace

from isometry.report import terminal
from isometry.types import Report

from .examples import located, measured, mlp, report

SHORT = """\
✗ MLP is not healthy: 1 error, 1 info in 6 operations, initial loss 2.5

error ISO201 vanishing-signal  layers.0 … layers.4
  evidence  signal x 0.41 a layer over 5 layers
  cause     nn.Linear's default under ReLU
  fix       iso.initialize(model, x, seed=0)

info ISO901 zero-by-design  layers.4.bias
  evidence  moves at step 1
  cause     it is zero
  fix       nothing

not checked (which is not passed)
  loss: no loss was given

 module                operation  output        q        c      std    grad²
 ─────────────────────────────────────────────────────────────────────────────────────
 └─ layers
    ├─ 0               linear     8x16          1     0.25        1    0.001  ◀ ISO201
    ├─ 1               relu       8x16          1     0.25        1    0.001  ◀ ISO201
    ├─ 2               linear     8x16       0.25     0.25      0.5    0.001  ◀ ISO201
    ├─ 3               relu       8x16       0.25     0.25      0.5    0.001  ◀ ISO201
    ├─ 4               linear     8x16     0.0625     0.25     0.25    0.001  ◀ ISO201
    └─ 5               relu       8x16     0.0625     0.25     0.25    0.001

q: mean square of the output. c: mean cosine between samples. std: spread over samples. grad²: mean
square of the gradient that comes back to it.
"""


def test_a_short_report_in_full() -> None:
    assert terminal.render(report()) == SHORT


def test_healthy_is_said_first() -> None:
    healthy = replace(report(), findings=(), not_checked=())
    first = terminal.render(healthy).splitlines()[0]
    assert first == "✓ MLP is healthy: nothing found in 6 operations, initial loss 2.5"


def test_no_line_is_wider_than_asked_and_no_escape_codes_without_colour() -> None:
    for width in (80, 100, 140):
        text = terminal.render(report(40), width=width)
        assert max(map(len, text.splitlines())) <= width
        assert "\x1b" not in text


def test_colour_is_written_when_asked_for() -> None:
    assert "\x1b[1;31m" in terminal.render(report(), color=True)


def test_a_long_model_is_folded_and_its_worst_layers_come_first() -> None:
    text = terminal.render(report(40))
    assert "76 alike" in text
    worst, tree = text.index("worst layers"), text.index("76 alike")
    assert worst < tree
    # layers 0 to 4 are named; the faintest of them leads
    rows = text[worst:].splitlines()[2:]
    assert rows[0].split()[0] == "layers.4"


def test_blocks_fold_to_the_first_and_the_last() -> None:
    layers = []
    for block in range(12):
        for op in ("norm", "linear", "", "gelu", "out", ""):  # "" is the block's own addition
            layer = f"h.{block}.{op}".rstrip(".")
            layers.append(measured(layer, op or "add", len(layers)))
    text = terminal.render(Report("GPT", (), tuple(layers), (), ()))
    labels = [line.split()[:-6][-1] for line in text.splitlines() if " 8x16 " in line]
    assert labels == 2 * ["norm", "linear", "·", "gelu", "out", "·"]
    assert "1 … 10" in text
    assert "10 alike" in text


def test_a_tree_that_does_not_repeat_is_cut_by_depth() -> None:
    layers = tuple(
        measured(f"part{i}.inner{j}.op{i}{j}", f"op{i}{j}", 10 * i + j)
        for i in range(10)
        for j in range(10)
    )
    text = terminal.render(Report("Net", (), layers, (), ()), max_rows=40)
    assert text.count("(10 operations)") == 10
    assert "op99" in text  # a module shows what it puts out
    assert "op50" not in text


def test_a_value_that_was_not_measured_is_a_dash_and_not_a_zero() -> None:
    unknown = replace(measured("fc", "linear", 0), c=None, std=None, grad=None, q=float("nan"))
    row = next(
        line
        for line in terminal.render(Report("Net", (), (unknown,), (), ())).splitlines()
        if "fc" in line
    )
    assert row.split()[-4:] == ["nan", "–", "–", "–"]


def test_markup_in_a_name_is_text() -> None:
    odd = replace(report(), model="Net[red]", layers=mlp(1))
    assert "Net[red] is not healthy" in terminal.render(odd, color=True)


def test_the_line_of_source_stands_under_the_fix() -> None:
    lines = terminal.render(located()).splitlines()
    fix = lines.index("  fix       iso.initialize(model, x, seed=0)")
    assert lines[fix + 1] == "  at        src/my nets/mlp.py:12"
    assert sum(line.startswith("  at ") for line in lines) == 1


def test_a_verdict_over_several_builds_says_so() -> None:
    first = terminal.render(replace(report(), seeds=20)).splitlines()[0]
    assert first.endswith("in 6 operations, initial loss 2.5, judged over 20 more seeds")
    assert terminal.render(replace(report(), seeds=1)).splitlines()[0].endswith("1 more seed")


def test_a_trained_model_is_not_called_healthy() -> None:
    trained = replace(report(), findings=(), judged=False)
    first = terminal.render(trained).splitlines()[0]
    assert first == "– MLP was not judged: its weights look trained; 6 operations measured"


def test_the_tree_can_be_left_out() -> None:
    text = terminal.render(report(), layers=False)
    assert SHORT.startswith(text)
    assert text.endswith("loss: no loss was given\n")


def test_the_theory_stands_beside_what_was_measured() -> None:
    seen = replace(measured("fc", "linear", 0, q=1.2), predicted=0.6, predicted_c=0.3,
                   predicted_grad=1e-5)  # fmt: skip
    text = terminal.render(Report("MLP", (), (seen,), (), ()), width=100)
    head, row = (next(s for s in text.splitlines() if w in s) for w in ("grad²", "fc"))
    assert head.split()[3:] == ["q", "÷th", "c", "th", "std", "grad²", "÷th"]
    assert row.split()[4:] == ["1.2", "2.00", "0.25", "0.30", "1.1", "0.001", "1e+02"]
    assert "÷th: measured, over that" in text
