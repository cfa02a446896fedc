"""What a page is made with: jinja2 for the HTML, Vega-Lite's JavaScript for the charts."""

from __future__ import annotations

import json
from base64 import b64encode
from functools import cache
from hashlib import sha256
from importlib import import_module, resources
from typing import TYPE_CHECKING, Any

from isometry.errors import BackendError

if TYPE_CHECKING:
    from jinja2 import Environment

__all__ = ["embedded", "environment", "page_file", "script_hash", "vega"]

PACKAGE = "isometry.report"
LIBRARY = "window.vegaEmbed=vegaEmbed;"
INSIDE_SCRIPT = str.maketrans({c: f"\\u{ord(c):04x}" for c in "<>&\u2028\u2029"})


def _needed(module: str) -> Any:
    try:
        return import_module(module)
    except ImportError as error:
        raise BackendError(
            f"an HTML page needs {module}, which is not installed here: "
            "pip install 'isometry[html]'"
        ) from error


@cache
def vega() -> str:
    """Vega-Embed, Vega-Lite and Vega as one script, without anything that it would have to load."""
    text: str = _needed("vl_convert").javascript_bundle(LIBRARY)
    return text


@cache
def environment(package: str = PACKAGE) -> Environment:
    """The templates of a package's `page/`. Everything that is put into them is escaped."""
    jinja2 = _needed("jinja2")
    made: Environment = jinja2.Environment(
        loader=jinja2.FunctionLoader(lambda name: page_file(name, package)),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return made


@cache
def page_file(name: str, package: str = PACKAGE) -> str:
    """A file of a package's `page/`."""
    return resources.files(package).joinpath("page", name).read_text(encoding="utf-8")


def embedded(value: object) -> str:
    """JSON that can stand inside a script element: no name in it can end the element."""
    text = json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return text.translate(INSIDE_SCRIPT)


def script_hash(text: str) -> str:
    """What a content security policy calls this script, and no other."""
    return "sha256-" + b64encode(sha256(text.encode()).digest()).decode()
