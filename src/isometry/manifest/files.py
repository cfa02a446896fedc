"""Where the tensors of a checkpoint lie: the headers of its safetensors files, and no more of them.

    8 bytes, little-endian: N | N bytes of JSON | the tensors, without gaps

Read here and not by the safetensors library, which gives a whole tensor in a framework's own dtype.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from isometry.entry import CODES, STORAGE
from isometry.errors import ArgumentError
from isometry.stream.index import shape_of

__all__ = ["Stretch", "tensors_in"]

ONE_FILE, INDEX = "model.safetensors", "model.safetensors.index.json"
LONGEST = 100_000_000  # bytes of JSON: more, and the library refuses a file

_NAMES = {code: name for name, code in CODES.items()}


@dataclass(frozen=True, slots=True)
class Stretch:
    """The bytes of a tensor: from `start` on in a file."""

    file: Path
    dtype: str  # one of STORAGE, or what the file calls it
    shape: tuple[int, ...]
    start: int
    nbytes: int


def tensors_in(checkpoint: Path) -> dict[str, Stretch]:
    """The tensors of a .safetensors file; of a folder those that its index lists, or of
    model.safetensors, or of the one such file that is in it.

    Raises:
        ArgumentError: there is no checkpoint, a file of it is missing, or is not whole.
    """
    found: dict[str, Stretch] = {}
    for file in _files(checkpoint):
        for name, stretch in _header(file).items():
            if name in found:
                raise ArgumentError(
                    f"{name!r} is in {found[name].file.name} and in {file.name}; expected a "
                    "checkpoint that has every tensor once"
                )
            found[name] = stretch
    return found


def _files(checkpoint: Path) -> Sequence[Path]:
    if not checkpoint.is_dir():
        return [checkpoint]
    if (checkpoint / INDEX).is_file():
        return _indexed(checkpoint / INDEX)
    if (checkpoint / ONE_FILE).is_file():
        return [checkpoint / ONE_FILE]
    files = sorted(checkpoint.glob("*.safetensors"))
    if len(files) != 1:
        has = f"{len(files)}: {', '.join(f.name for f in files[:3])}" if files else "none"
        raise ArgumentError(
            f"{checkpoint}: expected {INDEX}, {ONE_FILE} or one .safetensors file in it, and there "
            f"is {has}; write the path of a file"
        )
    return files


def _indexed(index: Path) -> Sequence[Path]:
    try:
        names = set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values())
        files = [index.parent / name for name in sorted(names)]
        there = [file.parent == index.parent and file.is_file() for file in files]
    except (OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
        raise ArgumentError(f"{index} is not the index of a checkpoint: {error!r}") from None
    if not all(there):
        name = files[there.index(False)].name
        raise ArgumentError(f"{index} lists {name}, and there is no such file beside it")
    return files


def _header(file: Path) -> dict[str, Stretch]:
    try:
        with open(file, "rb") as opened:
            size = os.fstat(opened.fileno()).st_size
            length = int.from_bytes(opened.read(8), "little")
            if not 2 <= length <= min(LONGEST, size - 8):
                raise ValueError(f"a header of {length} bytes in a file of {size}")
            table = json.loads(opened.read(length))
        table.pop("__metadata__", None)
        return {name: _stretch(file, item, 8 + length, size) for name, item in table.items()}
    except OSError as error:
        raise ArgumentError(
            f"the checkpoint {file} cannot be read: {error.strerror or error}; expected a "
            ".safetensors file, or the folder of a checkpoint"
        ) from None
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
        raise ArgumentError(
            f"{file} is not a whole safetensors file: {error!s:.200}; expected one that "
            "safetensors or isometry init wrote"
        ) from None


def _stretch(file: Path, item: Any, data: int, size: int) -> Stretch:
    first, last = item["data_offsets"]
    shape, code = shape_of(item["shape"]), str(item["dtype"])
    dtype = _NAMES.get(code, code)
    if not (type(first) is int and type(last) is int and 0 <= first <= last <= size - data):
        raise ValueError(f"a tensor from byte {first!r} to {last!r} in a file of {size}")
    if dtype in STORAGE and last - first != math.prod(shape) * STORAGE[dtype].itemsize:
        raise ValueError(f"{last - first} bytes for the shape {shape} of {dtype}")
    return Stretch(file, dtype, shape, data + first, last - first)
