"""A pytest plugin: the fixture `assert_healthy`, and a page for every check that fails.

    def test_my_network(assert_healthy):
        assert_healthy(Net(), torch.randn(64, 8), loss="cross_entropy")

It stands beside the package and not in it: every run of pytest loads its plugins, and importing
anything from `isometry` imports NumPy. Here that waits until a test asks for the fixture.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from isometry import Report

__all__ = ["assert_healthy", "pytest_addoption"]

LONGEST = 150  # characters of a test's name in the name of its page


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add --isometry-html."""
    parser.getgroup("isometry").addoption(
        "--isometry-html",
        metavar="DIR",
        help="write an HTML page for every failing assert_healthy into this folder",
    )


@pytest.fixture
def assert_healthy(request: pytest.FixtureRequest) -> Callable[..., None]:
    """`isometry.assert_healthy`, with what [tool.isometry] selects and ignores.

    Takes model, inputs, loss, target, build and ignore; the test fails with the report's text.
    """
    import isometry
    from isometry import config

    try:
        settings = config.load(request.config.rootpath)
    except isometry.ArgumentError as error:
        pytest.fail(str(error), pytrace=False)

    def assert_healthy(
        model: Any,
        inputs: Any = None,
        *,
        loss: Any = None,
        target: Any = None,
        build: Callable[[], Any] | None = None,
        ignore: Iterable[str] = (),
    ) -> None:
        __tracebackhide__ = True
        ignored = (ignore,) if isinstance(ignore, str) else tuple(ignore)
        report = isometry.check(
            model, inputs, loss=loss, target=target, build=build,
            select=settings.select, ignore=ignored + settings.ignore,
        )  # fmt: skip
        if not report.ok:
            raise isometry.UnhealthyError(f"{report}{_saved(report, request)}")

    return assert_healthy


def _saved(report: Report, request: pytest.FixtureRequest) -> str:
    """Write the page that --isometry-html asks for; a line that says where it is."""
    folder = request.config.getoption("isometry_html")
    if folder is None:
        return ""
    page: Path = request.config.invocation_params.dir / folder / _page(request.node.nodeid)
    try:
        page.parent.mkdir(parents=True, exist_ok=True)
        report.save(page)
    except (OSError, ValueError) as error:  # the verdict matters more than its page
        return f"\n  no page: {error}"
    return f"\n  page: {page}"


def _page(nodeid: str) -> str:
    """A file name of a test: its id, whatever is no letter, digit, dot or dash turned to a dash.

    Example:
        >>> _page("tests/test_nets.py::test_depth[20-relu]")
        'tests-test_nets.py-test_depth-20-relu.html'
    """
    name = re.sub(r"[^\w.]+", "-", nodeid).strip("-")
    if len(name) > LONGEST:
        digest = hashlib.sha256(nodeid.encode()).hexdigest()[:8]
        name = f"{name[:LONGEST]}-{digest}"
    return f"{name}.html"
