"""Writes native/src/table.hpp, the quantile's coefficients as the kernel has them.

python tools/kernel_table.py
"""

from __future__ import annotations

from pathlib import Path

from isometry.stream.quantile import COEFFICIENTS

HEADER = Path(__file__).parent.parent / "native" / "src" / "table.hpp"


def text() -> str:
    """The header, from the table in `isometry.stream.quantile`."""
    rows = "\n".join(f"    {{{', '.join(map(str, row))}}}," for row in COEFFICIENTS)
    return (
        "// Written by tools/kernel_table.py from src/isometry/stream/quantile.py.\n"
        "#pragma once\n\n#include <cstdint>\n\nnamespace isometry {\n\n"
        f"constexpr std::int32_t table[{len(COEFFICIENTS)}][{len(COEFFICIENTS[0])}] = {{\n{rows}\n"
        "};\n\n}  // namespace isometry\n"
    )


if __name__ == "__main__":
    HEADER.write_text(text(), encoding="utf-8")
    print(f"wrote {HEADER}")
