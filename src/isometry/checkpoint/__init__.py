"""Weights on disk, as safetensors: written whole or not at all."""

from isometry.checkpoint.folder import MANIFEST, write_checkpoint
from isometry.checkpoint.shards import bytes_of
from isometry.checkpoint.whole import save, writable
from isometry.entry import dtype_of

__all__ = ["MANIFEST", "bytes_of", "dtype_of", "save", "writable", "write_checkpoint"]
