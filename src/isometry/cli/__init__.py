"""The command line: `isometry check | plan | init | gain | rule | lab | info`."""

from isometry.cli.app import main

__all__ = ["main"]
