"""The header of a safetensors file, and with it the place of every tensor: from shapes alone.

    8 bytes, little-endian: N | N bytes of JSON, padded with spaces | the tensors, without gaps

As the safetensors library writes it: the widest dtype first, so that every tensor is aligned, and by
name within a dtype.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping

from isometry.entry import CODES, Entry
from isometry.errors import ArgumentError

__all__ = ["header"]

METADATA = "__metadata__"
_WIDTH = {name: place for place, name in enumerate(CODES)}
LONGEST = 100_000_000  # bytes of JSON: readers refuse more


def header(
    entries: Iterable[Entry], metadata: Mapping[str, str]
) -> tuple[bytes, tuple[tuple[Entry, int], ...]]:
    """The bytes before the tensors, and where in the file each tensor begins.

    Args:
        entries: the tensors of one file.
        metadata: strings for `__metadata__`; a further name of a tied tensor is added as a key whose
            value is the first name, where `safetensors.torch.load_model` looks for it.

    Returns:
        The header; (tensor, offset from the start of the file) in the order of the file.
    """
    ordered = sorted(entries, key=lambda e: (-_WIDTH[e.dtype], e.name.encode()))
    aliases = {alias: e.name for e in ordered for alias in e.aliases}
    if any(e.name == METADATA for e in ordered):
        raise ArgumentError(
            f"a tensor is called {METADATA}, which is the name of a safetensors header's own strings; "
            "rename it"
        )
    table: dict[str, object] = {METADATA: {**aliases, **metadata}}
    offsets, end = [], 0
    for entry in ordered:
        offsets.append(end)
        end += entry.nbytes
        table[entry.name] = {
            "dtype": CODES[entry.dtype],
            "shape": list(entry.shape),
            "data_offsets": [offsets[-1], end],
        }
    text = json.dumps(table, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)
    if len(text) > LONGEST:
        raise ArgumentError(
            f"the header of a file of {len(ordered)} tensors has {len(text)} bytes, and safetensors "
            f"takes {LONGEST}; write smaller files: max_shard_size='1GB'"
        )
    start = len(text) + 8
    head = len(text).to_bytes(8, "little") + text
    return head, tuple((e, start + o) for e, o in zip(ordered, offsets, strict=True))
