"""Products with a weight and attention, as Keras says them."""

from __future__ import annotations

import string
from collections.abc import Sequence
from typing import TYPE_CHECKING

from isometry.keras.trace import Step
from isometry.views import View

if TYPE_CHECKING:
    from isometry.keras.reader import Reader

__all__ = ["PRODUCTS"]

Terms = tuple[str, str, str]  # a letter an axis: of the first factor, the second, the output


def product(reader: Reader, step: Step, terms: Terms) -> View:
    """A product of two tensors summed over shared letters. The node's axes are those in common,
    then the signal's, then the weight's; the output is a view of it."""
    recording, out = reader.recording, step.outputs[0]
    first, second, wanted = terms
    a, b = (reader.view(x) for x in step.args[:2])
    if recording.is_weight(a) and not recording.is_weight(b) and not recording.is_constant(b):
        a, b, first, second = b, a, second, first
    both = [c for c in first if c in second]
    summed = [c for c in both if c not in wanted]
    batch = [c for c in both if c in wanted]
    made = [*batch, *(c for c in first if c in wanted and c not in batch)]
    made += [c for c in second if c in wanted and c not in made]
    # Only one axis of the signal's can be the last: units of the weight come last of all.
    natural = wanted if _keeps(wanted, first, second, batch) else "".join(made)
    sizes = [out.shape[wanted.index(c)] for c in natural]
    before = len(recording.nodes)
    view = recording.product(
        a, b,
        ([first.index(c) for c in summed], [second.index(c) for c in summed]),
        ([first.index(c) for c in batch], [second.index(c) for c in batch]),
        sizes, out.dtype,
    )  # fmt: skip
    if natural != wanted:
        if len(recording.nodes) > before:
            reader.orders[len(recording.nodes) - 1] = tuple(wanted.index(c) for c in natural)
        view = view.transpose([natural.index(c) for c in wanted])
    return reader.noted(before, out, view)


def _keeps(wanted: str, first: str, second: str, batch: Sequence[str]) -> bool:
    """Do the units that the second factor gives come after everything else already?"""
    units = [c for c in second if c in wanted and c not in batch]
    return list(wanted[len(wanted) - len(units) :]) == units


def _letters(count: int, start: int = 0) -> str:
    return (string.ascii_letters)[start : start + count]


def matmul(reader: Reader, step: Step) -> View | Sequence[View]:
    n, m = (len(reader.view(x).sizes) for x in step.args[:2])
    if n == 0 or m == 0:
        return reader.opaque(step)
    shared = max(n, m, 2) - 2
    lead = _letters(shared)
    row, inner, column = list(_letters(3, shared))
    first = lead[shared - max(n - 2, 0) :] + ((row if n > 1 else "") + inner)
    second = lead[shared - max(m - 2, 0) :] + (inner + (column if m > 1 else ""))
    wanted = lead + (row if n > 1 else "") + (column if m > 1 else "")
    return product(reader, step, _squeezed(reader, step, (first, second, wanted)))


def _squeezed(reader: Reader, step: Step, terms: Terms) -> Terms:
    """An axis of one that is broadcast against the other's is an axis of its own."""
    first, second, wanted = terms
    sizes = [dict(zip(t, reader.view(x).sizes, strict=True)) for t, x in zip(terms, step.args, strict=False)]  # fmt: skip
    spare = iter(string.ascii_letters[::-1])
    for letter in [c for c in first if c in second and c in wanted]:
        one, two = (s[letter] for s in sizes)
        if one != two:
            if one == 1:
                first = first.replace(letter, next(spare))
            else:
                second = second.replace(letter, next(spare))
    return first, second, wanted


def dot(reader: Reader, step: Step) -> View | Sequence[View]:
    """As NumPy's: over the last axis of the first and the last but one of the second."""
    n, m = (len(reader.view(x).sizes) for x in step.args[:2])
    if not n or not m:
        return reader.opaque(step)
    first = _letters(n)
    second = _letters(m, n)
    inner = max(m - 2, 0)
    second = second[:inner] + first[-1] + second[inner + 1 :]
    return product(reader, step, (first, second, first[:-1] + second.replace(first[-1], "")))


def tensordot(reader: Reader, step: Step) -> View | Sequence[View]:
    axes = step.operation.axes
    n, m = (len(reader.view(x).sizes) for x in step.args[:2])
    if isinstance(axes, int):
        over = [list(range(n - axes, n)), list(range(axes))]
    else:
        over = [list(a) if isinstance(a, (tuple, list)) else [a] for a in axes]
    first = _letters(n)
    second = list(_letters(m, n))
    for i, j in zip(*over, strict=True):
        second[j % m] = first[i % n]
    wanted = "".join(c for c in first if c not in second)
    wanted += "".join(c for c in second if c not in first)
    return product(reader, step, (first, "".join(second), wanted))


def einsum(reader: Reader, step: Step) -> View | Sequence[View]:
    equation = step.operation.subscripts.replace(" ", "")
    if equation.count(",") != 1 or "->" not in equation or len(step.args) != 2:
        return reader.opaque(step)
    left, _, wanted = equation.partition("->")
    terms = [*left.split(","), wanted]
    views = [reader.view(x) for x in step.args]
    counts = [len(v.sizes) - len(t.replace("...", "")) for v, t in zip(views, terms, strict=False)]
    spare = [c for c in string.ascii_letters if c not in equation][: max(counts)]
    for i, count in enumerate([*counts, max(counts)]):
        terms[i] = terms[i].replace("...", "".join(spare[len(spare) - count :]))
    if any(len(set(t)) != len(t) for t in terms):
        return reader.opaque(step)
    alone = [c for c in terms[0] + terms[1] if terms[0].count(c) + terms[1].count(c) == 1]
    if any(c not in terms[2] for c in alone):
        return reader.opaque(step)
    found: Terms = (terms[0], terms[1], terms[2])
    return product(reader, step, _squeezed(reader, step, found))


def attention(reader: Reader, step: Step) -> View:
    """Fused attention over (batch, positions, heads, size), as PyTorch has it: heads first."""
    names = ("query", "key", "value", "bias", "mask", "scale")
    given = {**dict(zip(names, step.args, strict=False)), **step.kwargs}
    query, key, value = (reader.view(given[n]) for n in names[:3])
    mask = given.get("mask")
    square = False
    if mask is not None:
        shown = reader.view(mask)
        n, m = shown.sizes[-2:]
        square = n == m and n > 1
    scale = reader.number(given.get("scale"))
    attrs = {
        "size": query.sizes[-1], "count": key.sizes[1], "scale": scale,
        "causal": bool(step.operation.is_causal) or square,
    }  # fmt: skip
    out, order = step.outputs[0], (0, 2, 1, 3)
    before = len(reader.recording.nodes)
    view = reader.recording.apply(
        "attention", [v.transpose(order) for v in (query, key, value)], attrs,
        [out.shape[a] for a in order], out.dtype,
    )  # fmt: skip
    if len(reader.recording.nodes) > before:
        reader.orders[len(reader.recording.nodes) - 1] = order
    return reader.noted(before, out, view.transpose(order))


PRODUCTS = {
    "Matmul": matmul, "Dot": dot, "Tensordot": tensordot, "Einsum": einsum,
    "DotProductAttention": attention,
}  # fmt: skip
