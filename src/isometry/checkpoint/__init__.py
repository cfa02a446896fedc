"""Weights on disk, as safetensors: written whole or not at all."""

from isometry.checkpoint.whole import save, writable

__all__ = ["save", "writable"]
