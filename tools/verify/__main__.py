"""The evidence for the stream: `make verify`, or a part of it: `python tools/verify words streams`.

    kernel      the kernel's own tests under the address and undefined-behaviour sanitizers, and the
                fuzz tests of Python with the kernel built that way
    emulated    AVX-512 on SIMDe, where this processor has none: tests, and every word with `words`
    arm         the portable kernel's tests on 64-bit ARM, under QEMU
    words       all 2^32 words through every kernel and NumPy, three dtypes: one hash each
    streams     moments and correlations of 10,000 streams, neighbouring seeds, similar names
    dieharder   the words of 10,000 interleaved streams (an hour; `--quick` a few minutes)

Every part prints what it found and exits with 1 where it is not what it should be.
"""

from __future__ import annotations

import argparse
import sys

import battery
import builds
import enumerate_words
import streams

PARTS = {
    "kernel": builds.sanitized,
    "emulated": builds.emulated,
    "arm": builds.arm,
    "words": enumerate_words.main,
    "streams": streams.main,
    "dieharder": battery.main,
}


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("parts", nargs="*", choices=[*PARTS, []], help="all, where none is named")
    parser.add_argument("--quick", action="store_true", help="a few of dieharder's tests")
    options = parser.parse_args()
    failed = []
    for name in options.parts or PARTS:
        print(f"\n== {name}", flush=True)
        if not PARTS[name](options.quick):
            failed.append(name)
    print(f"\nfailed: {', '.join(failed)}" if failed else "\nall as it should be")
    return len(failed) > 0


if __name__ == "__main__":
    sys.exit(main())
