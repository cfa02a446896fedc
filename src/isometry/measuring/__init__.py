"""Measure any framework's model: a `Runner` runs it on one batch, all the rest is here.

    Runner --run--> Pass --measure_layers, measure_parameters, probe--> Measurements

PyTorch measures as its operations run (`isometry.torch.recorder`) and shares the definitions.
"""

from isometry.measuring.measure import measured
from isometry.measuring.rebuild import compare_builds
from isometry.measuring.runner import Goal, Pass, Runner

__all__ = ["Goal", "Pass", "Runner", "compare_builds", "measured"]
