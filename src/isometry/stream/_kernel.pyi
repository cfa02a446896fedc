"""The compiled kernel, of native/: present where it could be built."""

from typing import Any

Key = tuple[int, int, int, int]  # k0, k1, h0, h1
How = tuple[int, float, float, int]  # kind (0 normal, 1 uniform), scale, mean, low
Position = tuple[int, Any]  # between neighbours' numbers, or an int64 array of them

def kernels() -> list[str]: ...
def fill(
    kernel: str,
    key: Key,
    how: How,
    dtype: int,
    first: int,
    positions: list[Position],
    out: Any,
    threads: int,
) -> None: ...
def fill_whole(
    kernel: str,
    digest: bytes,
    seed: int,
    how: How,
    dtype: int,
    address: int,
    count: int,
    threads: int,
) -> None: ...
def words(kernel: str, key: Key, first: int, out: Any) -> None: ...
def map(kernel: str, words: Any, how: How, dtype: int, out: Any) -> None: ...
def advise_huge_pages(memory: Any) -> bool: ...
def standard_environment() -> int: ...
def restore_environment(found: int) -> None: ...
