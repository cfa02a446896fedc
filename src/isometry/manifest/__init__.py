"""A manifest: a few kilobytes from which every weight of a checkpoint is made anew, and checked."""

from isometry.manifest.manifest import NAME, Manifest
from isometry.manifest.record import Record

__all__ = ["NAME", "Manifest", "Record"]
