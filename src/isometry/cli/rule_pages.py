"""What `isometry rule` prints: a rule's page, which is its module's docstring, or a list."""

from __future__ import annotations

import difflib
import re
import textwrap
from collections.abc import Iterable, Iterator

from isometry.checker.rules import RULES, Rule
from isometry.cli.screen import heading
from isometry.errors import ArgumentError

__all__ = ["explain"]

FAMILIES = {
    "ISO1": "symmetry and constants",
    "ISO2": "the signal forward",
    "ISO3": "the gradient backward",
    "ISO4": "dead and saturated units",
    "ISO5": "geometry: what tells samples and tokens apart",
    "ISO6": "scheme and fans",
    "ISO7": "loss, head and input",
    "ISO8": "what is never set, set in vain, or not by the seed",
    "ISO9": "for your information",
}


def explain(code: str | None, width: int, color: bool) -> str:
    """The page of one rule, or a list of those whose code begins so; of all for None.

    Raises:
        ArgumentError: no rule has that code or name.
    """
    rules = dict(sorted(RULES.items()))
    asked = (code or "ISO").strip()
    for rule in rules.values():
        if asked.upper() == rule.CODE or asked.lower() == rule.NAME:
            return _page(rule, color)
    chosen = [rule for c, rule in rules.items() if asked and c.startswith(asked.upper())]
    if not chosen:
        names = {n.lower(): n for rule in rules.values() for n in (rule.CODE, rule.NAME)}
        close = [names[n] for n in names if asked and asked.lower() in n]
        close = close or [names[n] for n in difflib.get_close_matches(asked.lower(), names, n=3)]
        hint = f"did you mean {' or '.join(close)}?" if close else "isometry rule lists them all"
        raise ArgumentError(
            f"there is no rule {code!r}; expected a code such as ISO201, the beginning of some "
            f"such as ISO2, or a name such as vanishing-signal; {hint}"
        )
    lines = _list(chosen, width, color)
    return "\n".join([*lines, "", "isometry rule CODE says more of one."]) + "\n"


def _page(rule: Rule, color: bool) -> str:
    """The docstring, its headings in bold."""
    body = (rule.__doc__ or "").strip().partition("\n")[2].strip("\n")
    lines = [heading(x, color) if re.match(r"\w", x) else x for x in body.splitlines()]
    title = f"{heading(f'{rule.CODE} {rule.NAME}', color)}: {_summary(rule)}"
    return "\n".join([title, "", *lines]) + "\n"


def _list(rules: Iterable[Rule], width: int, color: bool) -> Iterator[str]:
    """The rules by family: code, name, and the line that its docstring begins with."""
    family = ""
    for rule in rules:
        if rule.CODE[:4] != family:
            if family:
                yield ""
            family = rule.CODE[:4]
            yield heading(f"{family}xx {FAMILIES[family]}", color)
        label = f"  {rule.CODE}  {rule.NAME:<22}"
        for line in textwrap.wrap(_summary(rule), max(20, width - len(label))):
            yield label + line
            label = " " * len(label)


def _summary(rule: Rule) -> str:
    return (rule.__doc__ or "").partition("\n")[0].partition(": ")[2]
