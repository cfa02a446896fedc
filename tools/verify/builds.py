"""The kernel built for its tests: under the sanitizers, with AVX-512 emulated, and for ARM."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
FUZZ = ["tests/stream/test_native.py", "tests/stream/test_slices.py", "tests/torch/test_fill.py"]


def sanitized(quick: bool = False) -> bool:
    """The C++ tests, and the fuzz tests through Python, under both sanitizers."""
    if not _own_tests("sanitized", "ISOMETRY_SANITIZE"):
        return False
    where = extension("sanitized", "ISOMETRY_SANITIZE")
    # The sanitizer looks for C++'s exceptions when it is loaded, so that their library goes with it.
    runtimes = " ".join(
        subprocess.run(
            [os.environ.get("CXX", "c++"), f"-print-file-name={library}"],
            capture_output=True, text=True, check=True,
        ).stdout.strip()
        for library in ("libasan.so", "libstdc++.so")
    )  # fmt: skip
    # Python's own allocations look like leaks.
    return _pytest(where, FUZZ, LD_PRELOAD=runtimes, ASAN_OPTIONS="detect_leaks=0")


def emulated(quick: bool = False) -> bool:
    """The tests with the AVX-512 kernel on SIMDe; nothing to do where the processor has it."""
    from isometry.stream._native import kernels

    if "avx512" in kernels:
        print("this processor runs AVX-512 itself: the tests and `words` cover it")
        return True
    if not Path("/usr/include/simde/x86/avx512.h").exists():
        print("SIMDe is missing: apt-get install libsimde-dev")
        return False
    if not _own_tests("emulated", "ISOMETRY_EMULATE_AVX512"):
        return False
    where = extension("emulated", "ISOMETRY_EMULATE_AVX512")
    tests = ["tests/stream/test_native.py", "tests/stream/test_known_answers.py"]
    return _pytest(where, tests)


def arm(quick: bool = False) -> bool:
    """The C++ tests of the portable kernel on 64-bit ARM, as NEON machines compile it, under QEMU."""
    compiler, emulator = "aarch64-linux-gnu-g++", "qemu-aarch64-static"
    for program in (compiler, emulator):
        if shutil.which(program) is None:
            print(f"{program} is missing: apt-get install g++-aarch64-linux-gnu qemu-user-static")
            return False
    where = ROOT / "build" / "kernel_test.aarch64"
    where.parent.mkdir(exist_ok=True)
    native = ROOT / "native"
    sources = [
        native / "src" / f"{name}.cpp" for name in ("available", "pages", "portable", "walk")
    ]
    flags = ["-O3", "-std=c++17", "-static", "-pthread", "-ffp-contract=off", "-fno-trapping-math"]
    test = native / "tests" / "kernel_test.cpp"
    command = [compiler, *flags, "-I", native / "src", *sources, test, "-o", where]
    subprocess.run(command, check=True)
    return subprocess.run([emulator, where]).returncode == 0


def extension(name: str, option: str) -> Path:
    """The package with its kernel built another way, in a directory of its own."""
    where = ROOT / "build" / f"{name}-python"
    command = [
        sys.executable, "-m", "pip", "install", "-q", "--disable-pip-version-check", "--no-deps",
        "--upgrade", "--target", str(where), "-C", f"cmake.define.{option}=ON",
        "-C", f"build-dir=build/{name}-wheel", str(ROOT),
    ]  # fmt: skip
    subprocess.run(command, check=True)
    return where


def _own_tests(name: str, option: str) -> bool:
    where, tools = ROOT / "build" / name, Path(sys.executable).parent
    where.mkdir(parents=True, exist_ok=True)
    configure = [
        tools / "cmake", "-S", ROOT / "native", "-B", where, "-G", "Ninja",
        f"-DCMAKE_MAKE_PROGRAM={tools / 'ninja'}", f"-D{option}=ON",
    ]  # fmt: skip
    subprocess.run(configure, check=True, stdout=subprocess.DEVNULL)
    subprocess.run([tools / "cmake", "--build", where], check=True, stdout=subprocess.DEVNULL)
    return subprocess.run([where / "kernel_test"]).returncode == 0


def python(where: Path, code: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run code with the package that was built in `where`, and no other."""
    # An editable installation's finder would come first.
    first = (
        "import sys\n"
        "sys.meta_path[:] = [f for f in sys.meta_path if 'Redirecting' not in type(f).__name__]\n"
        "import isometry.stream._kernel as kernel\n"
        f"assert kernel.__file__.startswith({str(where)!r}), kernel.__file__\n"
        "print('kernels:', *kernel.kernels(), flush=True)\n"
    )
    paths = os.pathsep.join((str(where), str(Path(__file__).parent)))
    told = {**os.environ, **environment, "PYTHONPATH": paths, "PYTHONDONTWRITEBYTECODE": "1"}
    return subprocess.run([sys.executable, "-c", first + code], env=told, cwd=ROOT, text=True)


def _pytest(where: Path, tests: list[str], **environment: str) -> bool:
    arguments = ["-q", "-n", "0", "-p", "no:cacheprovider", *tests]
    code = f"import pytest\nsys.exit(pytest.main({arguments!r}))"
    return python(where, code, **environment).returncode == 0
