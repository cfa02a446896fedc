"""The lab's page in headless Chromium: offline, without complaint, and readable at any width."""

from pathlib import Path

import pytest
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys

import isometry as iso
from isometry.lab.experiment import EXPERIMENTS, Claim, Experiment, Figure, Result
from isometry.lab.page import render
from isometry.lab.pictures import axis, by, decades, dots, errors, lines, picture, ridges
from isometry.lab.theme import CATEGORIES, HEAT
from isometry.lab.trainability_cells import cells
from isometry.lab.trainability_figures import figures

from . import audits, browser

pytestmark = pytest.mark.skipif(bool(browser.WHY_NOT), reason=browser.WHY_NOT or "-")

EVIL = "</script><script>window.hacked = 1</script><b>"
SERIES = [f"series {i}" for i in range(CATEGORIES)]


def kinds() -> tuple[Figure, ...]:
    """One figure of every kind that the experiments draw."""
    rows = [
        {"x": x, "y": 10.0 ** (i - x), "low": 10.0 ** (i - x - 1), "high": 10.0 ** (i - x), "s": s}
        for x in range(6)
        for i, s in enumerate(SERIES)
    ]
    x, y = axis("x", "layer"), decades("y", "size", [row["y"] for row in rows])
    colour = by("s", SERIES)
    layers = [lines(x, y, colour), errors(x, "low", "high", y, colour), dots(x, y, colour)]
    bell = [[1.0, 2.0, 3.0, 2.0, 1.0]] * 4
    about = "Lines that fall."
    return (
        Figure("Lines", "Eight series.", picture(about, layers, rows)),
        Figure(
            "Ridges", "Four.",
            ridges(about, {"a": bell, "b": bell}, [0, 1, 2, 3, 4, 5], "value", ["1", "2", "3", "4"]),
        ),
        *figures({c: (i % 11) / 10 if i % 12 else None for i, c in enumerate(cells())}),
    )  # fmt: skip


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A real experiment, one with every kind of figure, and one whose words are code."""
    claims = (Claim("it holds", "1", "1", True), Claim("it does not", "1", "2", False))
    with pytest.MonkeyPatch.context() as patch:
        for name, words in (("kinds", "All kinds of figure."), ("evil", EVIL)):
            run = iso.lab.glorot2010
            patch.setitem(EXPERIMENTS, name, Experiment(name, words, words, words, run))
        point = [dots(axis("x", EVIL), axis("x", EVIL), by("s", [EVIL]))]
        evil = Figure(EVIL, EVIL, picture(EVIL, point, [{"x": 1, "s": EVIL}]))
        results = [
            iso.lab.glorot2010(),
            Result(claims, kinds(), {}, "kinds"),
            Result((Claim(EVIL, EVIL, EVIL, False),), (evil,), {}, "evil"),
        ]
        text = render(results)
    path = tmp_path_factory.mktemp("lab") / "lab.html"
    path.write_text(text, encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def driver(tmp_path_factory):
    with browser.opened(tmp_path_factory.mktemp("profile")) as opened:
        yield opened


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("width", [1280, 390])
def test_it_opens_offline_without_complaint_and_can_be_read(driver, page, width, dark):
    browser.show(driver, page, width, dark)
    assert page.stat().st_size < 3_000_000
    assert browser.requests(driver) == [page.as_uri()]
    assert browser.complaints(driver) == []
    assert driver.execute_script("return document.documentElement.scrollWidth") == width
    charts = driver.find_elements(By.CSS_SELECTOR, ".chart")
    assert len(charts) == 4 + len(kinds()) + 1
    for chart in charts:
        assert chart.find_elements(By.CSS_SELECTOR, "svg path"), chart.get_attribute("id")
        assert chart.get_attribute("aria-label")
    assert audits.low_contrast(driver) == []
    assert audits.overlapping_labels(driver) == []


def test_a_screen_reader_finds_names_and_levels(driver, page):
    browser.show(driver, page)
    assert audits.nameless(driver) == []
    assert audits.skipped_headings(driver) == []
    assert driver.execute_script("return window.hacked") is None


# WCAG's contrast of two colours of the style sheet, as the browser computes them.
CONTRAST = """
const ink = (name) => {
  const probe = document.body.appendChild(document.createElement("i"));
  probe.style.color = `var(${name})`;
  const rgb = getComputedStyle(probe).color.match(/[\\d.]+/g).map(Number);
  probe.remove();
  return rgb.map((v) => v / 255).map((v) => (v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4))
    .reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
};
const [low, high] = [...arguments].map(ink).sort((x, y) => x - y);
return (high + 0.05) / (low + 0.05);
"""


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_numbers_stand_out_from_their_cells_and_series_from_the_ground(driver, page, dark):
    browser.show(driver, page, dark=dark)
    heat = [driver.execute_script(CONTRAST, "--ink", f"--heat-{i}") for i in range(HEAT)]
    assert min(heat) >= 4.5, heat
    series = [
        driver.execute_script(CONTRAST, "--ground", f"--series-{i + 1}") for i in range(CATEGORIES)
    ]
    assert min(series) >= 3, series


def test_the_heat_of_a_cell_is_a_step_of_the_scale(driver, page):
    browser.show(driver, page)
    used = driver.execute_script(
        "return [...new Set([...document.querySelectorAll('#kinds .mark-rect path')]"
        ".map((p) => p.getAttribute('fill')))]"
    )
    steps = {f"var(--heat-{i})" for i in range(HEAT)}
    assert steps <= set(used)


def test_a_command_is_copied_with_the_keyboard(driver, page):
    browser.show(driver, page)
    driver.execute_cdp_cmd("Browser.grantPermissions", {"permissions": ["clipboardReadWrite"]})
    button = driver.find_element(By.CSS_SELECTOR, "#glorot2010 .copy")
    button.send_keys(Keys.ENTER)
    browser.until(driver, "return document.getElementById('said').textContent === 'Copied'")
    copied = driver.execute_async_script("navigator.clipboard.readText().then(arguments[0])")
    assert copied == "isometry lab glorot2010"


def test_the_pointer_reads_a_figure(driver, page):
    browser.show(driver, page)
    browser.point_at(driver, driver.find_element(By.CSS_SELECTOR, "#chart-kinds-4 .mark-rect path"))
    browser.until(driver, "return !!document.querySelector('#vg-tooltip-element.visible')")
    shown = driver.find_element(By.ID, "vg-tooltip-element")
    assert "recipe" in shown.text
    box = shown.rect
    assert 0 <= box["x"] <= box["x"] + box["width"] <= 1280
    assert browser.complaints(driver) == []


def test_claims_that_fail_are_open_and_said_first(driver, page):
    browser.show(driver, page)
    assert "claims hold" in driver.find_element(By.CSS_SELECTOR, ".tally.error").text
    assert driver.find_element(By.CSS_SELECTOR, "#kinds details").get_attribute("open")
    failed = driver.find_elements(By.CSS_SELECTOR, "#kinds li.error")
    assert ["it does not" in li.text for li in failed] == [True]
    assert not driver.find_element(By.CSS_SELECTOR, "#glorot2010 details").get_attribute("open")


def test_without_scripts_the_text_and_the_claims_are_there(driver, page):
    driver.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": True})
    try:
        driver.get(page.as_uri())
        assert driver.find_element(By.CSS_SELECTOR, "#glorot2010 .teaches").is_displayed()
        assert "it does not" in driver.find_element(By.ID, "kinds").text
        assert not driver.find_element(By.CSS_SELECTOR, ".chart").is_displayed()
    finally:
        driver.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": False})
