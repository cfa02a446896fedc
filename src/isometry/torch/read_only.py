"""Memory that this process may not write."""

from __future__ import annotations

from pathlib import Path

__all__ = ["read_only_memory"]


def read_only_memory() -> list[tuple[int, int]]:
    """Address ranges that this process may not write, such as a file mapped for reading: a write
    there ends the process. Known on Linux; empty elsewhere."""
    try:
        lines = Path("/proc/self/maps").read_text().splitlines()
    except OSError:
        return []
    ranges = []
    for line in lines:
        addresses, permissions = line.split()[:2]
        if "w" not in permissions:
            first, _, last = addresses.partition("-")
            ranges.append((int(first, 16), int(last, 16)))
    return ranges
