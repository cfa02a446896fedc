"""The page as text: what stands in it, that it is whole, and that no name can break out of it."""

import json
import math
import subprocess
import sys
from collections import Counter
from dataclasses import replace
from html.parser import HTMLParser

import pytest

from isometry.errors import BackendError, PlanError
from isometry.report import _web
from isometry.report.html import MOST_ROWS, render
from isometry.types import (
    Decision,
    Finding,
    Histogram,
    Location,
    Measurement,
    Normal,
    NotChecked,
    Plan,
    Report,
)

from . import examples

EVIL = """</script><script>hacked=1</script><img src=x onerror=hacked=1>"'&{{7*7}}"""


class Page(HTMLParser):
    """The tags of a page, the text outside of scripts, and the report's data."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.scripts: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attributes)))
        if tag == "script":
            self.scripts.append("")

    def handle_data(self, data: str) -> None:
        if self.cdata_elem == "script":
            self.scripts[-1] += data
        elif self.cdata_elem is None:
            self.text += data

    @property
    def data(self) -> dict[str, dict[str, list[dict[str, object]]]]:
        return json.loads(self.scripts[1], parse_constant=lambda name: pytest.fail(name))

    @property
    def ids(self) -> list[str]:
        return [a["id"] or "" for _, a in self.tags if "id" in a]


def plan(n: int = 2, name: str = "layers.{}.weight", reason: str = "reads relu") -> Plan:
    decisions = tuple(
        Decision(name.format(i), (), "parameter", (16, 16), "float32", "linear", None, None,
                 "he_normal", 1.4, Normal(0.25), (), reason, "He et al. 2015")
        for i in range(n)
    )  # fmt: skip
    return Plan("MLP", "auto", decisions)


def evil() -> Report:
    """A report in which every text is an attack."""
    layer = examples.measured(EVIL, EVIL, 0)
    finding = Finding("ISO201", EVIL, "error", EVIL, EVIL, EVIL, EVIL, {"first": 0}, (EVIL,),
                      location=Location(EVIL, 3))  # fmt: skip
    counted = Histogram(EVIL, "weight", EVIL, (0.0, 1.0, 2.0), (3, 4))
    decided = plan(1, EVIL.replace("{", "{{").replace("}", "}}"), EVIL)
    return Report(EVIL, (finding,), (layer,), (), (NotChecked(EVIL, EVIL),), None, True, 0,
                  (counted,), planner=lambda: decided)  # fmt: skip


def test_the_verdict_the_findings_the_layers_and_what_was_not_checked_stand_in_the_page():
    text = Page(render(examples.report())).text
    for said in ("Not healthy", "ISO201", "vanishing-signal", "signal x 0.41 a layer over 5 layers",
                 "nn.Linear's default under ReLU", "iso.initialize(model, x, seed=0)",
                 "no loss was given", "layers.5", "relu", "8x16"):  # fmt: skip
        assert said in text


def test_the_verdict_comes_first_and_the_parts_in_their_order():
    page = render(replace(examples.report(), planner=plan))
    parts = [page.index("<h1>Not healthy"), *(page.index(f'id="{part}"') for part in
             ("findings", "depth", "layers", "plan", "not-checked"))]  # fmt: skip
    assert parts == sorted(parts)


def test_no_name_can_break_out_of_the_page_or_of_its_scripts():
    page = Page(render(evil()))
    assert len(page.scripts) == 4
    assert not any("hacked" in script for script in (page.scripts[0], *page.scripts[2:]))
    assert "img" not in {tag for tag, _ in page.tags}
    assert page.text.count(EVIL) >= 10
    assert "49" not in page.text
    assert page.data["data"]["modules"][0]["name"] == EVIL


def test_only_the_scripts_of_the_page_itself_may_run():
    page = Page(render(evil()))
    (policy,) = [a["content"] or "" for tag, a in page.tags if "http-equiv" in a]
    assert "default-src 'none'" in policy
    assert "'unsafe-inline'" not in policy.partition("script-src")[2]
    for script in (page.scripts[0], *page.scripts[2:]):
        assert _web.script_hash(script) in policy


def test_nothing_in_the_page_names_another_file():
    page = Page(render(examples.report()))
    named = [
        a[key] for _, a in page.tags for key in ("src", "href", "action", "poster") if key in a
    ]
    assert {n for n in named if n and not n.startswith("#")} == {"data:,"}
    assert "url(" not in _web.page_file("page.css")
    assert "@import" not in _web.page_file("page.css")


def test_every_link_has_its_target_and_every_name_is_given_once():
    page = Page(render(replace(examples.report(20), planner=plan)))
    assert [i for i, n in Counter(page.ids).items() if n > 1] == []
    links = {a["href"][1:] for tag, a in page.tags if tag == "a" and a["href"]}
    labels = {i for _, a in page.tags for i in (a.get("aria-labelledby") or "").split()}
    assert (links | labels) <= set(page.ids)


def test_a_finding_leads_to_the_layer_at_which_it_starts_and_back():
    late = replace(examples.FAINT, data={"first": 4, "last": 5})
    page = Page(render(replace(examples.report(), findings=(examples.ZERO, late))))
    to_layers = [a["href"] for _, a in page.tags if a.get("class") == "to-layer"]
    assert to_layers == ["#op-5", "#op-5"]  # the error first; the remark is on layers.4.bias
    pins = page.data["data"]["pins"]
    assert [(p["finding"], p["a"], p["l"], p["r"]) for p in pins] == [
        ("finding-1", 5, 4.5, 6.5),
        ("finding-2", 5, 4.5, 5.5),
    ]


def test_a_finding_of_the_whole_model_has_no_link_and_no_pin():
    whole = replace(examples.FAINT, where="the model")
    page = Page(render(replace(examples.report(), findings=(whole,))))
    assert "to-layer" not in [a.get("class") for _, a in page.tags]
    assert page.data["data"]["pins"] == []


def test_zero_infinite_and_not_a_number_lie_on_the_edge_and_say_what_they_are():
    base = examples.measured("a", "linear", 0, q=1e-4)
    layers = (base, replace(base, node=1, q=0.0), replace(base, node=2, q=math.inf),
              replace(base, node=3, q=0.0, nonfinite=1.0), replace(base, node=4, q=math.nan),
              replace(base, node=5, grad=None, c=None))  # fmt: skip
    rows = Page(render(replace(examples.report(), layers=layers))).data["data"]["operations"]
    assert [(r.get("q"), r.get("qx")) for r in rows] == [
        (-4.0, None), (-4, "0"), (0, "inf"), (None, "nan"), (None, "nan"), (-4.0, None)
    ]  # fmt: skip
    assert "g" not in rows[-1]
    assert "c" not in rows[-1]


def test_what_was_not_measured_is_said_instead_of_drawn():
    layers = tuple(replace(m, c=None, grad=None) for m in examples.mlp())
    page = Page(render(replace(examples.report(), layers=layers)))
    assert "it takes two samples or more" in page.text
    assert "No gradient was measured" in page.text
    assert set(page.data["charts"]) == {"lanes", "q"}


def test_a_report_of_nothing_is_a_page():
    page = Page(render(Report("Empty", (), (), (), ())))
    assert "Healthy" in page.text
    assert "Nothing was measured" in page.text


def test_weights_that_look_trained_get_no_verdict():
    text = Page(render(replace(examples.report(), findings=(), judged=False))).text
    assert "Not judged" in text
    assert "No error and no warning" not in text


def test_the_plan_is_a_table_with_laws_reasons_and_sources():
    text = Page(render(replace(examples.report(), planner=plan))).text
    assert "layers.1.weight" in text
    assert "Normal(0.25)" in text
    assert "He et al. 2015" in text


def test_without_a_plan_the_page_says_why():
    def fails() -> Plan:
        raise PlanError("layer <7> cannot be read")

    assert "does not come from isometry.check" in Page(render(examples.report())).text
    told = Page(render(replace(examples.report(), planner=fails))).text
    assert "No plan could be made: layer <7> cannot be read" in told


def test_the_same_report_gives_the_same_bytes_in_another_process():
    program = (
        "import hashlib; from isometry.report.html import render; from isometry.types import Report;"
        f"report = Report({examples.report().model!r}, (), (), (), ());"
        "print(hashlib.sha256(render(report).encode()).hexdigest())"
    )
    seen = {
        subprocess.run(
            [sys.executable, "-c", program],
            env={"PYTHONHASHSEED": seed, "PATH": ""},
            check=True,
            capture_output=True,
        ).stdout
        for seed in ("1", "2")
    }
    assert len(seen) == 1
    assert render(examples.report()) == render(examples.report())


def test_the_page_of_a_huge_network_stays_small_and_keeps_where_findings_start():
    name = "model.decoder.layers.{}.feed_forward.expert_projection.low_rank_adapter"
    layers = tuple(
        Measurement(name.format(i), "pointwise:silu", i, (32, 128, 4096), 32, 1e-3, 1.234e-5, 1e-3,
                    0.1234, 0.5, None, 0.25, 0.0, 1.234e-9, 0.0, 0.1234, 1.234e-5)
        for i in range(20_001)
    )  # fmt: skip
    faint = replace(examples.FAINT, where=name.format(7001), data={"first": 7001, "last": 7002})
    report = replace(examples.report(), layers=layers, findings=(faint,),
                     planner=lambda: plan(20_000, name + ".weight", "reads silu " * 8))  # fmt: skip
    text = render(report)
    assert len(text.encode()) < 3_000_000
    page = Page(text)
    rows = [i for i in page.ids if i.startswith("op-")]
    assert len(rows) <= MOST_ROWS + 5
    assert name.format(7001) in page.text
    assert f"{20_001 - len(rows)} of 20001 are left out" in page.text
    assert f"{20_000 - MOST_ROWS} more are left out" in page.text


@pytest.mark.parametrize("module", ["jinja2", "vl_convert"])
def test_a_missing_dependency_is_named_with_what_to_type(module, monkeypatch):
    monkeypatch.setitem(sys.modules, module, None)
    _web.vega.cache_clear()
    _web.environment.cache_clear()
    with pytest.raises(BackendError, match=rf"needs {module}.*pip install 'isometry\[html\]'"):
        render(examples.report())
