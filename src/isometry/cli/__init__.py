"""The command line: `isometry check | plan | init | gain | info`."""

from isometry.cli.app import main

__all__ = ["main"]
