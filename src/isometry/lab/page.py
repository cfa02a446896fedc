"""The lab as one HTML page that needs nothing else: no network, no other file.

An experiment is a section: what it teaches, its figures, its claims, and the command that makes it
again. Text and claims are there without JavaScript; with it come the figures.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from isometry.lab.experiment import EXPERIMENTS, Result
from isometry.lab.text import duration, tally
from isometry.lab.theme import themed
from isometry.report._web import embedded, environment, page_file, script_hash, vega

__all__ = ["render"]

PACKAGE = "isometry.lab"
EARLY = "document.documentElement.classList.add('js')"
FEW = 6  # claims that are shown without being asked for


def render(results: Sequence[Result]) -> str:
    """The results as a page.

    Args:
        results: of experiments, in the order in which they are shown.

    Returns:
        One HTML document. The same results give the same bytes.

    Raises:
        BackendError: jinja2 or vl-convert-python is missing; `pip install 'isometry[html]'`.

    Example:
        >>> page = render([])
        >>> page.startswith("<!doctype html>"), "https://" in page.partition("<script")[0]
        (True, False)
    """
    sections = [_section(result) for result in results]
    specs = {f["id"]: themed(f["figure"].spec) for s in sections for f in s["figures"]}
    script = page_file("lab.js", PACKAGE)
    claims = [claim for result in results for claim in result.claims]
    page: str = (
        environment(PACKAGE)
        .get_template("lab.html.j2")
        .render(
            sections=sections,
            held=sum(claim.holds for claim in claims),
            claims=len(claims),
            data=embedded(specs),
            early=EARLY,
            vega=vega(),
            script=script,
            style=page_file("page.css") + page_file("lab.css", PACKAGE),
            hashes=[script_hash(text) for text in (EARLY, vega(), script)],
        )
    )
    return page


def _section(result: Result) -> dict[str, Any]:
    experiment = EXPERIMENTS[result.name]
    return {
        "id": result.name.replace("_", "-"),
        "experiment": experiment,
        "result": result,
        "command": experiment.command + (" --full" if result.full else ""),
        "tally": tally(result),
        "took": duration(result.seconds),
        "open": len(result.claims) <= FEW or not result.holds,
        "figures": [
            {"id": f"{result.name}-{i}", "figure": figure}
            for i, figure in enumerate(result.figures, 1)
        ],
    }
