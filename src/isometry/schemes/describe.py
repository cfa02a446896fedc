"""Give a function made from a scheme its own signature and docstring.

The equation, the parameters, the source and the differences are the scheme's; the arguments, the
example and what comes back are those of the place it is called in.
"""

from __future__ import annotations

import inspect
import textwrap
from collections.abc import Callable, Mapping
from typing import Any

from isometry.schemes import Scheme

__all__ = ["Arguments", "describe"]

Arguments = Mapping[str, tuple[Any, str, str]]  # name -> (default, annotation, description)


def describe(
    function: Callable[..., Any],
    scheme: Scheme,
    *,
    name: str,
    module: str,
    first: tuple[str, str, str],
    more: Arguments,
    returns: tuple[str, str],
    raises: str,
    example: str,
    note: str = "",
) -> None:
    """Set `function`'s name, signature and docstring.

    Args:
        function: takes (*args, **kwargs) and binds them to the signature set here.
        scheme: where the scheme's own parameters and prose come from.
        name: what the function is called.
        module: where it is found.
        first: name, annotation and description of the first argument.
        more: keyword-only arguments.
        returns: annotation and description.
        raises: when ArgumentError is raised, besides the scheme's own reasons.
        example: doctest lines.
        note: a paragraph after the equation.
    """
    kind = inspect.Parameter
    keywords = [
        kind(key, kind.KEYWORD_ONLY, default=default, annotation=annotation)
        for key, (default, annotation, _) in more.items()
    ]
    own = list(scheme.parameters.values())
    positional = [p for p in own if p.kind is not kind.KEYWORD_ONLY]
    argument = kind(first[0], kind.POSITIONAL_OR_KEYWORD, annotation=first[1])
    chosen = [p for p in own if p.kind is kind.KEYWORD_ONLY]
    function.__signature__ = inspect.Signature(  # type: ignore[attr-defined]
        [argument, *positional, *chosen, *keywords], return_annotation=returns[0]
    )
    lines = [_entry(first[0], first[2]), *_own_entries(scheme)]
    lines += [_entry(key, text) for key, (_, _, text) in more.items()]
    reasons = f"{raises}; {scheme.section('Raises').removeprefix('ArgumentError: ')}"
    paragraphs = [
        scheme.summary,
        f"    {scheme.formula}",
        note,
        "Args:\n" + "\n".join(lines),
        f"Returns:\n    {returns[1]}",
        "Raises:\n" + _wrapped(_entry("ArgumentError", " ".join(reasons.split()).rstrip("; ."))),
        "Example:\n" + "\n".join(f"    {line}" for line in example.splitlines()),
        f"Source: {scheme.source}",
        f"Differs: {differs}" if (differs := scheme.section("Differs")) else "",
    ]
    function.__doc__ = "\n\n".join(p for p in paragraphs if p)
    function.__name__ = function.__qualname__ = name
    function.__module__ = module


def _entry(name: str, text: str) -> str:
    return f"    {name}: {text}"


def _own_entries(scheme: Scheme) -> list[str]:
    """The scheme's Args, less those that the tensor settles, as they are written."""
    entries: list[str] = []
    for line in scheme.section("Args").splitlines():
        if line.startswith("        ") and entries:
            entries[-1] += "\n" + line
        else:
            entries.append(f"    {line.strip()}")
    return [e for e in entries if e.split(":")[0].strip() in scheme.parameters]


def _wrapped(entry: str) -> str:
    return textwrap.fill(f"{entry}.", width=100, subsequent_indent=" " * 8)
