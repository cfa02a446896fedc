"""The page in headless Chromium: offline, without complaint, readable, and alive."""

from pathlib import Path

import pytest
import torch
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from torch import nn

import isometry as iso
from isometry.report.html import FOLD_FROM, render

from . import audits, browser
from .test_html import EVIL, evil

pytestmark = pytest.mark.skipif(bool(browser.WHY_NOT), reason=browser.WHY_NOT or "-")

FOCUSED = "return document.activeElement.id"
OUTLINE = "return getComputedStyle(document.activeElement).outlineStyle"
MARKED = "return views.map((view) => view.signal('at'))"


def plain(depth: int, width: int) -> iso.Report:
    """An MLP of nn.Linear's default and ReLU: sick where it is deep."""
    torch.manual_seed(0)
    layers = [m for _ in range(depth) for m in (nn.Linear(width, width), nn.ReLU())]
    return iso.check(nn.Sequential(*layers), torch.randn(64, width))


def healthy() -> iso.Report:
    model, x = nn.Sequential(nn.Linear(32, 64), nn.ReLU(), nn.Linear(64, 10)), torch.randn(64, 32)
    iso.initialize(model, x, seed=0)
    return iso.check(model, x)


def broken() -> iso.Report:
    """A zero, a constant, an overflow and a NaN in one network."""
    torch.manual_seed(0)
    model = nn.Sequential(*[m for _ in range(30) for m in (nn.Linear(64, 64), nn.ReLU())])
    with torch.no_grad():
        model[4].weight.zero_()
        model[10].weight.fill_(0.5)
        model[20].bias.fill_(1e30)
        model[40].weight[0, 0] = float("nan")
    return iso.check(model, torch.randn(64, 64))


def transformer() -> iso.Report:
    torch.manual_seed(0)
    layer = nn.TransformerEncoderLayer(32, 4, 64, batch_first=True, norm_first=True)
    model = nn.TransformerEncoder(layer, 4, enable_nested_tensor=False)
    return iso.check(model, torch.randn(32, 8, 32))


PAGES = {
    "healthy": healthy,
    "sick": lambda: plain(20, 256),
    "broken": broken,
    "transformer": transformer,
    "evil": evil,
}


@pytest.fixture(scope="module")
def pages(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pages")
    for name, make in PAGES.items():
        (folder / f"{name}.html").write_text(render(make()), encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def driver(tmp_path_factory):
    with browser.opened(tmp_path_factory.mktemp("profile")) as opened:
        yield opened


@pytest.fixture
def sick(driver, pages):
    browser.show(driver, pages / "sick.html")
    return driver


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("width", [1280, 390])
@pytest.mark.parametrize("name", PAGES)
def test_it_opens_offline_without_complaint_and_can_be_read(driver, pages, name, width, dark):
    page = pages / f"{name}.html"
    browser.show(driver, page, width, dark)
    assert browser.requests(driver) == [page.as_uri()]
    assert browser.complaints(driver) == []
    assert driver.execute_script("return document.documentElement.scrollWidth") == width
    for chart in driver.find_elements(By.CSS_SELECTOR, ".chart"):
        assert chart.find_elements(By.CSS_SELECTOR, "svg path"), chart.get_attribute("id")
    assert audits.low_contrast(driver) == []
    assert audits.overlapping_labels(driver) == []


@pytest.mark.parametrize("name", PAGES)
def test_a_screen_reader_finds_names_and_levels(driver, pages, name):
    browser.show(driver, pages / f"{name}.html")
    assert audits.nameless(driver) == []
    assert audits.skipped_headings(driver) == []
    for svg in driver.find_elements(By.CSS_SELECTOR, ".chart"):
        assert svg.get_attribute("role")
        assert svg.get_attribute("aria-label")


def test_a_name_is_shown_and_not_run(driver, pages):
    browser.show(driver, pages / "evil.html")
    assert driver.execute_script("return window.hacked") is None
    assert EVIL in driver.find_element(By.CSS_SELECTOR, "#op-1 th").text


def click(driver, selector: str) -> None:
    """Point at an element, away from what sticks to the edge, and click."""
    element = driver.find_element(By.CSS_SELECTOR, selector)
    browser.point_at(driver, element)
    element.click()


def test_a_click_on_a_finding_leads_to_its_layer(sick):
    click(sick, ".finding a.to-layer")
    browser.until(sick, "return document.activeElement.matches('tr')")
    assert sick.execute_script(FOCUSED) == "op-1"
    row = sick.find_element(By.ID, "op-1")
    assert "chosen" in row.get_attribute("class")
    assert sick.execute_script(
        "const b = arguments[0].getBoundingClientRect(); return b.top >= 0 && b.bottom <= innerHeight",
        row,
    )
    assert set(sick.execute_script(MARKED)) == {1}
    assert sick.find_element(By.CSS_SELECTOR, "#chart-q svg").is_displayed()


def test_the_keyboard_alone_leads_from_a_finding_to_its_layer_and_back(sick):
    keys = sick.switch_to.active_element
    for _ in range(20):
        keys.send_keys(Keys.TAB)
        keys = sick.switch_to.active_element
        if keys.get_attribute("class") == "to-layer":
            break
    assert sick.execute_script("return document.activeElement.matches(':focus-visible')")
    assert sick.execute_script(OUTLINE) == "solid"
    keys.send_keys(Keys.ENTER)
    browser.until(sick, "return document.activeElement.matches('tr')")
    assert sick.execute_script(FOCUSED) == "op-1"
    assert sick.execute_script(OUTLINE) == "solid"
    sick.switch_to.active_element.send_keys(Keys.TAB)
    sick.switch_to.active_element.send_keys(Keys.ENTER)
    browser.until(sick, "return document.activeElement.matches('article')")
    assert sick.execute_script(FOCUSED) == "finding-1"


def test_a_click_on_a_pin_leads_to_its_finding(sick):
    click(sick, "#chart-lanes .mark-symbol path")
    browser.until(sick, "return document.activeElement.matches('article')")
    assert sick.execute_script(FOCUSED) == "finding-1"


def test_the_slider_walks_through_the_network(sick):
    slider = sick.find_element(By.ID, "walk")
    slider.send_keys(Keys.ARROW_RIGHT, Keys.ARROW_RIGHT)
    assert set(sick.execute_script(MARKED)) == {3}
    reading = sick.find_element(By.ID, "reading").text
    cells = [c.text for c in sick.find_elements(By.CSS_SELECTOR, "#op-3 td.r")]
    assert len(cells) > 5
    assert [c for c in cells if c not in reading] == ["–"]  # a linear layer has no dead units
    assert "linear" in slider.get_attribute("aria-valuetext")


def test_the_pointer_reads_a_chart_and_leaves_what_was_chosen(sick):
    sick.execute_script("location.hash = '#op-7'")
    browser.until(sick, "return chosen === 7")
    browser.point_at(sick, sick.find_element(By.CSS_SELECTOR, "#chart-q svg"))
    assert set(sick.execute_script(MARKED)) <= {19, 20, 21}
    browser.point_at(sick, sick.find_element(By.ID, "depth-title"))
    assert set(sick.execute_script(MARKED)) == {7}


def column(driver, head: str) -> list[str]:
    """The cells that are shown below a head of the table of layers."""
    return driver.execute_script(
        "const t = document.getElementById('layers-table');"
        "const i = [...t.tHead.rows[0].cells].findIndex((h) => h.textContent === arguments[0]);"
        "return [...t.tBodies[0].rows].filter((r) => r.offsetParent).map((r) => r.cells[i].textContent)",
        head,
    )


def test_a_column_of_numbers_is_sorted_as_numbers_and_says_so(sick):
    head = sick.find_element(By.XPATH, "//table[@id='layers-table']//th[.='grad²']")
    button = head.find_element(By.TAG_NAME, "button")
    button.send_keys(Keys.ENTER)
    assert head.get_attribute("aria-sort") == "ascending"
    rising = [float(v) for v in column(sick, "grad²")]
    assert rising == sorted(rising)
    assert len(set(rising)) > 20
    button.send_keys(Keys.ENTER)
    assert head.get_attribute("aria-sort") == "descending"
    assert [float(v) for v in column(sick, "grad²")] == rising[::-1]


def test_search_shows_the_rows_that_have_all_words(sick):
    sick.find_element(By.ID, "plan-search").send_keys("weight HE_normal")
    rows = sick.find_elements(By.CSS_SELECTOR, "#plan-table tbody tr")
    shown = [row.text for row in rows if row.is_displayed()]
    assert len(shown) == 19
    assert all("he_normal" in text for text in shown)
    assert sick.find_element(By.ID, "plan-found").text == "19 of 40 rows"


def test_a_row_that_the_search_hides_is_shown_when_a_finding_leads_to_it(sick):
    sick.find_element(By.ID, "layers-search").send_keys("relu")
    assert not sick.find_element(By.ID, "op-1").is_displayed()
    click(sick, ".finding a.to-layer")
    browser.until(sick, "return document.activeElement.matches('tr')")
    assert sick.find_element(By.ID, "op-1").is_displayed()


def test_a_fix_is_copied(sick):
    sick.execute_cdp_cmd("Browser.grantPermissions", {"permissions": ["clipboardReadWrite"]})
    sick.find_element(By.CSS_SELECTOR, ".copy").click()
    browser.until(sick, "return document.getElementById('said').textContent === 'Copied'")
    copied = sick.execute_async_script("navigator.clipboard.readText().then(arguments[0])")
    assert copied == "iso.initialize(model, inputs, seed=0)"


def test_a_thousand_layers_make_few_charts_and_a_folded_table(driver, tmp_path):
    page = tmp_path / "deep.html"
    page.write_text(render(plain(1000, 8)), encoding="utf-8")
    assert page.stat().st_size < 3_000_000
    browser.show(driver, page)
    print(f"drawn after {browser.drawn_after(driver):.0f} ms")
    assert len(driver.find_elements(By.CSS_SELECTOR, ".chart")) <= 16
    assert len(driver.find_elements(By.CSS_SELECTOR, ".chart svg *")) < 1000
    assert len(column(driver, "#")) == FOLD_FROM
    driver.find_element(By.CSS_SELECTOR, "[data-unfold=layers-table]").click()
    assert len(column(driver, "#")) == 2000


def test_a_link_into_the_folded_part_opens_it(driver, tmp_path):
    page = tmp_path / "deep.html"
    page.write_text(render(plain(200, 8)), encoding="utf-8")
    browser.show(driver, page, anchor="#op-333")
    assert driver.execute_script(FOCUSED) == "op-333"
    assert driver.find_element(By.ID, "op-333").is_displayed()


def test_without_scripts_the_text_and_the_tables_are_there(driver, pages: Path):
    driver.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": True})
    try:
        driver.get((pages / "sick.html").as_uri())
        assert driver.find_element(By.TAG_NAME, "h1").text == "Not healthy"
        assert driver.find_element(By.ID, "op-40").is_displayed()
        assert "Normal(" in driver.find_element(By.ID, "plan-table").text
        for useless in ("walk", "layers-search"):
            assert not driver.find_element(By.ID, useless).is_displayed()
        driver.find_element(By.CSS_SELECTOR, ".finding a.to-layer").click()
        assert driver.current_url.endswith("#op-1")
    finally:
        driver.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": False})
