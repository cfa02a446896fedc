"""What a page must be for eyes, keyboards and screen readers, measured in a browser."""

from __future__ import annotations

from itertools import pairwise

from selenium.webdriver.remote.webdriver import WebDriver

__all__ = ["low_contrast", "nameless", "overlapping_labels", "skipped_headings"]

ROLES = {"button", "link", "searchbox", "textbox", "slider", "table", "image", "region", "article"}

# WCAG 2: (lighter + .05) / (darker + .05) of the relative luminances; 4.5, or 3 for large text.
CONTRAST = """
const light = (rgb) => rgb.map((v) => v / 255)
  .map((v) => (v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4))
  .reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
const read = (colour) => (colour.match(/[\\d.]+/g) || []).map(Number);
function behind(element) {
  for (let e = element; e; e = e.parentElement) {
    const [r, g, b, a = 1] = read(getComputedStyle(e).backgroundColor);
    if (a > 0) return [r, g, b];
  }
  throw new Error("nothing is behind");
}
const found = [];
for (const element of document.querySelectorAll("body *")) {
  const own = [...element.childNodes].some((n) => n.nodeType === 3 && n.textContent.trim());
  const box = element.getBoundingClientRect();
  if (!own || !box.width || element.closest("script, style, .unseen, .skip")) continue;
  const style = getComputedStyle(element);
  const svg = element.closest("svg");
  const text = read(svg ? style.fill : style.color).slice(0, 3);
  const [a, b] = [light(text), light(behind(svg ? svg.parentElement : element))].sort((x, y) => y - x);
  const size = parseFloat(style.fontSize);
  const large = size >= 24 || (size >= 18.66 && style.fontWeight >= 600);
  const ratio = (a + 0.05) / (b + 0.05);
  if (!(ratio >= (large ? 3 : 4.5))) found.push(`${element.textContent.trim().slice(0, 40)}: ${ratio.toFixed(2)}`);
}
return found;
"""

OVERLAP = """
const found = [];
for (const svg of document.querySelectorAll(".chart svg")) {
  const labels = [...svg.querySelectorAll("text")].filter((t) => t.textContent && t.getBoundingClientRect().width && getComputedStyle(t).opacity > 0);
  const boxes = labels.map((t) => [t.textContent, t.getBoundingClientRect()]);
  boxes.forEach(([a, p], i) => boxes.slice(i + 1).forEach(([b, q]) => {
    const wide = Math.min(p.right, q.right) - Math.max(p.left, q.left);
    const high = Math.min(p.bottom, q.bottom) - Math.max(p.top, q.top);
    if (wide > 1 && high > 4) found.push(`${a} and ${b}`);
  }));
}
return found;
"""

HEADINGS = """
return [...document.querySelectorAll("h1, h2, h3, h4, h5, h6")].map((h) => Number(h.tagName[1]));
"""


def low_contrast(driver: WebDriver) -> list[str]:
    """Visible text, in HTML and SVG, that does not stand out enough from what is behind it."""
    return list(driver.execute_script(CONTRAST))


def overlapping_labels(driver: WebDriver) -> list[str]:
    """Labels within one chart that lie upon each other."""
    return list(driver.execute_script(OVERLAP))


def skipped_headings(driver: WebDriver) -> list[tuple[int, int]]:
    """Pairs of headings of which the second is more than one level below the first."""
    levels = [0, *driver.execute_script(HEADINGS)]
    return [(a, b) for a, b in pairwise(levels) if b > a + 1]


def nameless(driver: WebDriver) -> list[str]:
    """What a screen reader meets and has no name for, in the browser's accessibility tree."""
    driver.execute_cdp_cmd("Accessibility.enable", {})
    nodes = driver.execute_cdp_cmd("Accessibility.getFullAXTree", {})["nodes"]
    met = [n for n in nodes if not n["ignored"] and n["role"]["value"] in ROLES]
    assert len(met) > 5, "the accessibility tree is empty"
    return [
        f"{n['role']['value']} {n['nodeId']}"
        for n in met
        if not n.get("name", {}).get("value", "").strip()
    ]
