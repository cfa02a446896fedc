"""The random stream: a weight is a pure function of (seed, name, logical index) and its law."""

from isometry.stream.keys import STREAM_VERSION, StreamKey, key
from isometry.stream.philox import philox
from isometry.stream.quantile import quantile
from isometry.stream.sampling import sample, words, write

__all__ = [
    "STREAM_VERSION",
    "StreamKey",
    "key",
    "philox",
    "quantile",
    "sample",
    "words",
    "write",
]
