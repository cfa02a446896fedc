"""The verdict in a few words, and the figures that come first: for the page and the notebook."""

from __future__ import annotations

from dataclasses import dataclass

from isometry.report import _lines as lines
from isometry.report._layer_rows import gradient, mean_square
from isometry.report._text import count, number
from isometry.types import Report

__all__ = ["Verdict", "key_figures", "verdict"]


@dataclass(frozen=True, slots=True)
class Verdict:
    """`tone` is "ok", "error" or "info" (not judged); `sentence` says what it rests on."""

    tone: str
    headline: str
    sentence: str


def verdict(report: Report) -> Verdict:
    """What the report comes to.

    Example:
        >>> verdict(Report("MLP", (), (), (), ())).headline
        'Healthy'
    """
    _, rests_on = lines.verdict(report)
    sentence = f"{rests_on[:1].upper()}{rests_on[1:]}."
    if not report.judged:
        return Verdict("info", "Not judged", sentence)
    if report.not_checked:
        sentence += f" {count(len(report.not_checked), 'thing')} could not be checked."
    if report.ok:
        return Verdict("ok", "Healthy", sentence)
    return Verdict("error", "Not healthy", sentence)


def key_figures(report: Report) -> list[tuple[str, str]]:
    """What a reader asks first: how far the signal and the gradient travel, and the loss."""
    layers = report.layers
    grads = [gradient(m) for m in reversed(layers)]
    figures = [
        (name, f"{number(seen[0])} → {number(seen[-1])}")
        for name, values in (
            ("mean square q, first → last", [mean_square(m) for m in layers]),
            ("std over samples, first → last", [m.std for m in layers]),
            ("gradient², last → first", grads),
        )
        if (seen := [v for v in values if v is not None])
    ]
    if report.loss is not None:
        figures.append(("initial loss", number(report.loss)))
    if report.parameters:
        figures.append(("parameters", str(len(report.parameters))))
    return figures
