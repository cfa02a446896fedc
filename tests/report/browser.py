"""A page in headless Chromium: what it asks the network for, what it complains of, how it looks."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from selenium import webdriver
from selenium.webdriver.chrome.options import Options
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.remote.webdriver import WebDriver
from selenium.webdriver.remote.webelement import WebElement
from selenium.webdriver.support.wait import WebDriverWait

__all__ = [
    "WHY_NOT",
    "complaints",
    "drawn_after",
    "opened",
    "point_at",
    "requests",
    "show",
    "until",
]

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
DRIVER = shutil.which("chromedriver")
WHY_NOT = "" if CHROMIUM and DRIVER else "needs chromium and chromedriver on the PATH"

ARGUMENTS = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--disable-dev-shm-usage",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--hide-scrollbars",
)
DRAWN = "return performance.getEntriesByName('charts-drawn').length > 0"


@contextmanager
def opened(profile: Path) -> Iterator[WebDriver]:
    """A browser with a fresh profile, which notes every request and every message."""
    options = Options()
    options.binary_location = CHROMIUM or ""
    for argument in (*ARGUMENTS, f"--user-data-dir={profile}"):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    driver = webdriver.Chrome(options=options, service=Service(DRIVER))
    try:
        yield driver
    finally:
        driver.quit()


def show(
    driver: WebDriver, page: Path, width: int = 1280, dark: bool = False, anchor: str = ""
) -> None:
    """Open a file at a width, in a colour scheme, and wait until its charts are drawn."""
    driver.get("about:blank")
    driver.get_log("performance")
    driver.get_log("browser")
    driver.execute_cdp_cmd(
        "Emulation.setDeviceMetricsOverride",
        {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 600},
    )
    scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
    still = {"name": "prefers-reduced-motion", "value": "reduce"}
    driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [scheme, still]})
    driver.get(page.as_uri() + anchor)
    until(driver, DRAWN)


def requests(driver: WebDriver) -> list[str]:
    """The addresses that were asked for since `show` began, without about:blank."""
    messages = [json.loads(entry["message"])["message"] for entry in driver.get_log("performance")]
    asked = [m["params"] for m in messages if m["method"] == "Network.requestWillBeSent"]
    return [p["request"]["url"] for p in asked]


def complaints(driver: WebDriver) -> list[str]:
    """What stands in the console."""
    return [f"{entry['level']}: {entry['message']}" for entry in driver.get_log("browser")]


def until(driver: WebDriver, script: str) -> None:
    """Wait until a script returns true."""
    WebDriverWait(driver, 30).until(lambda d: d.execute_script(script))


def point_at(driver: WebDriver, element: WebElement) -> None:
    """Bring an element into view and the pointer to its middle."""
    driver.execute_script("arguments[0].scrollIntoView({block: 'center'})", element)
    ActionChains(driver).move_to_element(element).perform()


def drawn_after(driver: WebDriver) -> float:
    """Milliseconds from the start of the navigation until all charts were drawn."""
    script = "return performance.getEntriesByName('charts-drawn')[0].startTime"
    return float(driver.execute_script(script))
