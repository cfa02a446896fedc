"""A manifest as JSON, as docs/manifest.md has it. What is read is checked, and nothing made for it."""

from __future__ import annotations

import base64
import json
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from isometry.entry import STORAGE, Entry
from isometry.errors import ArgumentError, IsometryError
from isometry.manifest.record import Record, drawn
from isometry.stream.index import shape_of
from isometry.stream.keys import check_name, check_seed
from isometry.stream.request import validate
from isometry.types import Axes, Block, law_from_dict

__all__ = ["FORMAT", "read", "written"]

FORMAT = 1
STREAMS = (1,)  # the versions of the stream that this version of isometry draws
HASH = re.compile("[0-9a-f]{32}")


def written(head: Mapping[str, object], records: Sequence[Record]) -> str:
    """The JSON text. What tensors have in common stands in a table, `kinds`, and a tensor is a line."""
    kinds: dict[str, int] = {}
    lines = []
    for item in records:
        kind = kinds.setdefault(_compact(_kind(item.entry)), len(kinds))
        more = _more(item.entry)
        lines.append(_compact([item.entry.name, kind, item.hash, *([more] if more else [])]))
    parts = [f'"{key}": {json.dumps(value)}' for key, value in {"format": FORMAT, **head}.items()]
    parts += [f'"kinds": {_table([*kinds])}', f'"tensors": {_table(lines)}']
    return "{\n" + ",\n".join(parts) + "\n}\n"


def read(text: str) -> tuple[dict[str, Any], tuple[Record, ...]]:
    """The head and the tensors in a JSON text.

    Raises:
        ArgumentError: it is not a manifest, or of a format or stream that this version does not know.
    """
    try:
        data = json.loads(text)
        found = _is(int, data["format"]), _is(int, data["stream"])
        if found[0] != FORMAT or found[1] not in STREAMS:
            raise ArgumentError(
                f"format {found[0]}, stream {found[1]}; this version of isometry reads format "
                f"{FORMAT} and draws stream {', '.join(map(str, STREAMS))}"
            )
        head = {key: _is(str, data[key]) for key in ("isometry", "model", "plan")}
        head |= {key: _is(int, data[key]) for key in ("stream", "parameters")}
        head["seed"] = check_seed(_is(int, data["seed"]))
        head["config"] = None if data["config"] is None else _is(str, data["config"])
        kinds = [_entry_of(kind) for kind in _is(list, data["kinds"])]
        records = tuple(_record(line, kinds) for line in _is(list, data["tensors"]))
        names = Counter(n for r in records for n in (r.entry.name, *r.entry.aliases))
        twice = [name for name, count in names.items() if count > 1]
        if twice:
            raise ValueError(f"{twice[0]!r} is the name of two tensors")
    except IsometryError as error:
        raise ArgumentError(f"not a manifest that can be read: {error}") from None
    except (ArithmeticError, LookupError, RecursionError, TypeError, ValueError) as error:
        raise ArgumentError(
            f"not a manifest that isometry wrote ({type(error).__name__}: {error!s:.200}); expected "
            "a file of Manifest.save or isometry init"
        ) from None
    return head, records


def _kind(entry: Entry) -> dict[str, Any]:
    """What tensors of one sort have in common."""
    kind: dict[str, Any] = {"dtype": entry.dtype, "shape": entry.shape}
    how = entry.decision
    if how is not None:
        kind["law"] = how.law.to_dict()
        if how.axes is not None:
            kind["axes"] = [how.axes.in_axis, how.axes.out_axis, how.axes.batch_axis]
        if how.blocks:
            kind["blocks"] = [[b.axis, b.start, b.stop, b.law.to_dict()] for b in how.blocks]
    return kind


def _entry_of(kind: Any) -> Entry:
    """A tensor of this kind that has no name yet."""
    dtype, shape = _is(str, kind["dtype"]), shape_of(_is(list, kind["shape"]))
    if dtype not in STORAGE:
        raise ValueError(f"dtype {dtype!r} is not one of {', '.join(STORAGE)}")
    if "law" not in kind:
        return Entry("", (), shape, dtype)
    axes = kind.get("axes")
    if axes is not None:
        axes = Axes(*(tuple(_is(int, n) for n in _is(list, part)) for part in _is(list, axes)))
    blocks = tuple(
        Block(str(place), _is(int, axis), _is(int, start), _is(int, stop), _law(law))
        for place, (axis, start, stop, law) in enumerate(_is(list, kind.get("blocks", [])))
    )
    law = _law(kind["law"])
    validate(law, shape, 0, "", dtype, None, axes, blocks)
    return Entry("", (), shape, dtype, drawn("", shape, dtype, law, axes, blocks))


def _law(data: Any) -> Any:
    return law_from_dict(_is(dict, data))


def _more(entry: Entry) -> dict[str, Any]:
    """What most tensors have not: further names, another name in the stream, a value of their own."""
    more: dict[str, Any] = {}
    if entry.aliases:
        more["aliases"] = entry.aliases
    if entry.decision is not None and entry.decision.name != entry.name:
        more["stream"] = entry.decision.name
    if entry.value is not None:
        one_for_all = entry.value.size and not any(entry.value.strides)
        held = entry.value[(0,) * entry.value.ndim] if one_for_all else entry.value
        little = np.asarray(held).astype(entry.value.dtype.newbyteorder("<"))
        more["value"] = base64.b64encode(little.tobytes()).decode()
    return more


def _record(line: Any, kinds: Sequence[Entry]) -> Record:
    name, number, digest, *rest = _is(list, line)
    check_name("name", name)
    if not 0 <= _is(int, number) < len(kinds) or len(rest) > 1:
        raise ValueError(f"the line of {name!r} refers to no kind")
    if digest is not None and not HASH.fullmatch(_is(str, digest)):
        raise ValueError(f"the hash of {name!r} is not 32 hexadecimal digits")
    more = _is(dict, rest[0]) if rest else {}
    aliases = tuple(_is(list, more.get("aliases", [])))
    stream = more.get("stream", name)
    for other in (*aliases, stream):
        check_name("name", other)
    like = kinds[number]
    how, value = like.decision, None
    if how is not None:
        how = drawn(stream, how.shape, how.dtype, how.law, how.axes, how.blocks)
    elif "value" in more:
        value = _value(_is(str, more["value"]), like)
    return Record(Entry(name, aliases, like.shape, like.dtype, how, value), digest)


def _value(text: str, like: Entry) -> NDArray[Any]:
    """A value from its bytes, or from those of one number that all are."""
    storage = STORAGE[like.dtype]
    data = base64.b64decode(text, validate=True)
    held = np.frombuffer(data, storage.newbyteorder("<")).astype(storage)
    if held.size == 1 and like.size:
        return np.broadcast_to(held.reshape(()), like.shape)
    if held.size != like.size:
        raise ValueError(f"a value of {held.size} numbers for the shape {like.shape}")
    return held.reshape(like.shape)


def _is(kind: type, value: Any) -> Any:
    if not isinstance(value, kind) or isinstance(value, bool):
        raise TypeError(f"{value!r:.100} where {kind.__name__} is expected")
    return value


def _compact(value: object) -> str:
    return json.dumps(value, separators=(",", ":"))


def _table(lines: Sequence[str]) -> str:
    return "[\n" + ",\n".join(lines) + "\n]"
