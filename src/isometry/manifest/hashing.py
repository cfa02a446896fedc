"""The hashes in a manifest: of the bytes of its tensors, and of the model's configuration."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from isometry.entry import Entry, new_hash, piece_bytes, pieces
from isometry.progress import transferring
from isometry.stream.backend import thread_count

__all__ = ["config_hash", "tensor_hashes"]

# What a configuration says of the run that wrote it, and not of the model.
PASSING = ("_name_or_path", "dtype", "torch_dtype", "transformers_version")


def tensor_hashes(entries: Sequence[Entry], seed: int) -> dict[str, str]:
    """Name -> BLAKE2b-128 of the bytes, made piece by piece: several tensors at once, the largest
    first."""
    with transferring("hashing", sum(e.nbytes for e in entries)) as advance:

        def hashed(entry: Entry) -> tuple[str, str]:
            digest = new_hash()
            for box in pieces(entry):
                data = piece_bytes(entry, box, seed)
                digest.update(data)
                advance(data.size)
            return entry.name, digest.hexdigest()

        with ThreadPoolExecutor(thread_count(None), thread_name_prefix="isometry") as pool:
            return dict(pool.map(hashed, sorted(entries, key=lambda e: -e.nbytes)))


def config_hash(model: Any) -> str | None:
    """Sixteen hexadecimal digits for `model.config`, as transformers has it; None where there is none."""
    to_dict = getattr(getattr(model, "config", None), "to_dict", None)
    if not callable(to_dict):
        return None
    config = {k: v for k, v in to_dict().items() if k not in PASSING}
    text = json.dumps(config, sort_keys=True, default=str)
    return hashlib.blake2b(text.encode(), digest_size=8).hexdigest()
