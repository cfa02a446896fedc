"""What `isometry gain` and `isometry info` print."""

from __future__ import annotations

import platform
import textwrap
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec

import isometry
from isometry import gains, stream
from isometry.errors import ArgumentError
from isometry.stream.backend import backend, thread_count

__all__ = ["gain", "info", "parameters"]

FRAMEWORKS = ("torch", "triton", "keras", "jax", "tensorflow", "transformers")


def parameters(texts: list[str]) -> dict[str, float]:
    """{"negative_slope": 0.2} from ["negative_slope=0.2"]."""
    values = {}
    for text in texts:
        key, _, value = text.partition("=")
        try:
            values[key] = float(value)
        except ValueError:
            raise ArgumentError(
                f"received {text!r}; expected KEY=NUMBER, such as negative_slope=0.2"
            ) from None
    return values


def gain(name: str, values: dict[str, float]) -> str:
    """The gain of an activation, the formula, and its Gaussian moments."""
    number, m = gains.gain(name, **values), gains.moments(name, **values)
    given = ", ".join(f"{k}={v:g}" for k, v in values.items())
    known = gains.canonical(name) or name
    phi = "x phi(g)" if known in gains.GATES else "phi(z)"
    rows = [
        ("gain", number, f"1/sqrt(E[{phi}²]), z ~ N(0, 1): std W = gain/sqrt(fan_in)"),
        ("E[phi]", m.mean, "the mean that the next layer reads"),
        ("E[phi²]", m.second, "the second moment that it reads"),
        ("E[phi'²]", m.slope_second, "what a squared gradient is multiplied by, times gain²"),
        ("chi1", m.chi1, _gradient(m.chi1)),
        ("S", m.S, _fixed_point(m.S)),
        (
            "kappa",
            m.kappa,
            "at width n, the squared norm's variance grows by (1 + kappa/n) a layer",
        ),
    ]
    lines = [f"{known}{f' ({given})' if given else ''}"]
    lines += [f"  {label:9}{value:>12.6g}   {meaning}" for label, value, meaning in rows]
    return "\n".join(lines) + "\n"


def _gradient(chi: float) -> str:
    if abs(chi - 1) < 5e-3:
        return "E[phi'²]/E[phi²]: the gradient keeps its size"
    verb = "grows" if chi > 1 else "shrinks"
    return f"E[phi'²]/E[phi²]: the squared gradient {verb} x {chi:.3g} a layer going back"


def _fixed_point(slope: float) -> str:
    if abs(slope - 1) < 5e-3:
        return "log-slope of q' at 1: a departure from 1 stays as it is"
    if slope > 1:
        return f"log-slope of q' at 1: a departure grows x {slope:.3g} a layer; normalise at depth"
    return f"log-slope of q' at 1: a departure shrinks x {slope:.3g} a layer"


def info() -> str:
    """Versions, the stream and its backend, the recipes, and the frameworks that are installed."""
    rows = [
        ("isometry", version("isometry")),
        ("python", f"{platform.python_version()} on {platform.system()} {platform.machine()}"),
        ("numpy", version("numpy")),
        ("stream", f"version {stream.STREAM_VERSION}"),
        ("backend", _backend()),
        ("cuda", _cuda()),
        *((name, _installed(name)) for name in FRAMEWORKS),
    ]
    lines = [f"{label:13}{value}" for label, value in rows]
    for name, what in isometry.recipes().items():
        lines += ["", *textwrap.wrap(f"recipe {name}: {what}", 88, subsequent_indent=" " * 4)]
    return "\n".join(lines) + "\n"


def _backend() -> str:
    """Who draws the stream, why, and on how many threads."""
    found = backend()
    if found.kernel is None:
        return f"numpy, the reference: {found.why}"
    count = thread_count(None)
    threads = f"{count} thread" + "s" * (count != 1)
    return f"native, {found.kernel}: {found.why}; {threads}"


def _cuda() -> str:
    """What fills CUDA tensors, and why."""
    if find_spec("torch") is None:
        return "PyTorch is not installed"
    from isometry.torch.on_cuda import described

    return described()


def _installed(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"
