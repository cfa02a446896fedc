"""What every experiment has to keep, whatever it shows."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
import vl_convert

from isometry.lab.experiment import EXPERIMENTS, Result, Run

WIDTHS = (390, 1280)  # a telephone, a desk
COLOURS = ("range", "scheme", "stroke", "fill", "background", "config")  # the page has them


def checked(experiment: Run, store: Path) -> Result:
    """Run an experiment small, hold it to all that experiments promise, and give its result."""
    name = experiment.__name__
    torch.manual_seed(1)  # what a caller did before must not matter
    result = experiment(store=store)
    failed = [f"{c.what}: {c.expected}, got {c.measured}" for c in result.claims if not c.holds]
    assert not failed, "\n".join(failed)
    assert len(result.claims) >= 2
    assert result.figures

    known = EXPERIMENTS[name]
    assert 60 <= len(known.teaches.split()) <= 160
    assert all(text.strip() for text in (known.title, known.source))

    written = json.dumps(result.numbers, allow_nan=False)
    assert json.loads(written) == json.loads(json.dumps(_plain(result.numbers)))
    for figure in result.figures:
        _check_figure(figure.title, dict(figure.spec))
        assert figure.caption.strip().endswith(".")

    _interrupt(store / f"{name}.json")
    torch.manual_seed(2)
    again = experiment(store=store)
    assert json.dumps(again.numbers) == written
    assert again.claims == result.claims
    return result


def _interrupt(path: Path) -> None:
    """Forget the last cell, as a run that was cut off before it."""
    cells = json.loads(path.read_text())
    cells.popitem()
    path.write_text(json.dumps(cells))


def _check_figure(title: str, spec: dict[str, Any]) -> None:
    """It compiles at either width without a complaint, and leaves width and colours to the page."""
    assert spec["width"] == "container", title
    assert "facet" not in spec, f"{title}: a row of views does not follow the page's width"
    assert spec["description"].strip(), title
    found = [key for key, _ in _items(spec) if key in COLOURS]
    assert not found, f"{title} has colours of its own: {found}"
    kinds = ("axis", "legend")
    named = [value.get("title") for key, value in _items(spec) if key in kinds and value]
    assert any(named), f"{title} says nowhere what is drawn"
    for width in WIDTHS:
        svg = vl_convert.vegalite_to_svg({**spec, "width": width})
        assert svg.startswith("<svg"), title
        assert "NaN" not in svg, f"{title} draws what is no number"


def _items(node: Any) -> Iterator[tuple[str, Any]]:
    """Every key and value of a specification but its data."""
    if isinstance(node, dict):
        for key, value in node.items():
            if key == "data":
                continue
            yield key, value
            yield from _items(value)
    elif isinstance(node, list):
        for value in node:
            yield from _items(value)


def _plain(node: Any) -> Any:
    """The same, of dicts, lists, text and numbers alone; fails on anything else."""
    if isinstance(node, dict):
        assert all(isinstance(key, str) for key in node), f"keys that are no text: {list(node)[:3]}"
        return {key: _plain(value) for key, value in node.items()}
    if isinstance(node, (list, tuple)):
        return [_plain(value) for value in node]
    assert node is None or type(node) in (str, int, float, bool), type(node)
    return node
