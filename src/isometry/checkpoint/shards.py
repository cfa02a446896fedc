"""Which tensor goes into which file, by the rules of the Hugging Face hub.

In the order of the state dict, a file is closed where the next tensor would make it larger than the
limit; a tensor that is larger on its own has a file of its own, numbered when it is met.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from isometry.checkpoint.safetensors_header import header
from isometry.entry import Entry
from isometry.errors import ArgumentError

__all__ = ["HUB_FILES", "INDEX", "Shard", "bytes_of", "index_text", "shards"]

INDEX = "model.safetensors.index.json"
# What a checkpoint of this layout is made of; a folder holds one at a time.
HUB_FILES = re.compile(r"model(-\d{5}-of-\d{5})?\.safetensors(\.index\.json)?")

_UNITS = {"": 1, "B": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12,
          "KIB": 2**10, "MIB": 2**20, "GIB": 2**30, "TIB": 2**40}  # fmt: skip


@dataclass(frozen=True, slots=True, eq=False)
class Shard:
    """One file: its name, its header, and where each of its tensors begins."""

    name: str
    header: bytes
    tensors: tuple[tuple[Entry, int], ...]  # (tensor, offset in the file), in order

    @property
    def size(self) -> int:
        """Bytes in all."""
        return len(self.header) + sum(e.nbytes for e, _ in self.tensors)


def bytes_of(size: int | str) -> int:
    """A size in bytes: 5000000000, "5GB", "500 MB", "2GiB". Raises ArgumentError on another.

    Example:
        >>> bytes_of("5GB"), bytes_of("1.5 KB"), bytes_of(7)
        (5000000000, 1500, 7)
    """
    found = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([a-zA-Z]*)\s*", str(size))
    unit = found and _UNITS.get(found[2].upper())
    if type(size) not in (int, str) or not found or not unit or float(found[1]) * unit < 1:
        raise ArgumentError(
            f"max_shard_size={size!r}: expected a size such as '5GB', '500MB' or a number of bytes"
        )
    return int(float(found[1]) * unit)


def shards(entries: Iterable[Entry], limit: int, metadata: Mapping[str, str]) -> tuple[Shard, ...]:
    """The files that hold these tensors, none with more than `limit` bytes of them if it can be."""
    groups: list[list[Entry]] = []
    current: list[Entry] = []
    filled = 0
    for entry in entries:
        if entry.nbytes > limit:
            groups.append([entry])
            continue
        if filled + entry.nbytes > limit:
            groups.append(current)
            current, filled = [], 0
        current.append(entry)
        filled += entry.nbytes
    if current:
        groups.append(current)
    count = len(groups)
    names = [f"model-{i + 1:05d}-of-{count:05d}.safetensors" for i in range(count)]
    if count == 1:
        names = ["model.safetensors"]
    return tuple(Shard(n, *header(g, metadata)) for n, g in zip(names, groups, strict=True))


def index_text(layout: Iterable[Shard]) -> str:
    """The text of model.safetensors.index.json."""
    places = {e.name: (s.name, e) for s in layout for e, _ in s.tensors}
    index = {
        "metadata": {
            "total_parameters": sum(e.size for _, e in places.values()),
            "total_size": sum(e.nbytes for _, e in places.values()),
        },
        "weight_map": {name: places[name][0] for name in sorted(places)},
    }
    return json.dumps(index, indent=2) + "\n"
