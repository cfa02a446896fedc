"""The command line: `isometry check | plan | init | gain | rule | info`."""

from isometry.cli.app import main

__all__ = ["main"]
