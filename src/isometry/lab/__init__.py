"""Experiments that show what initialisation does, each a claim that is run, measured and drawn.

    iso.lab.glorot2010()                     # a Result: print it
    iso.lab.trainability_map(full=True, store="cells")
    isometry lab --html lab.html             # all of them, on one page

They are imported here, one and all, and in the order of the page: a module of the same name then
stays out of the function's place. None of them loads a framework before it runs.
"""

# isort: off
from isometry.lab.zero_and_constant import zero_and_constant
from isometry.lab.too_small_too_large import too_small_too_large
from isometry.lab.glorot2010 import glorot2010
from isometry.lab.he2015 import he2015
from isometry.lab.normal_or_uniform import normal_or_uniform
from isometry.lab.finite_width import finite_width
from isometry.lab.jacobian_spectrum import jacobian_spectrum
from isometry.lab.calibrate_against_lsuv import calibrate_against_lsuv
from isometry.lab.mup_coordinates import mup_coordinates
from isometry.lab.depth_scale import depth_scale
from isometry.lab.thousand_layers import thousand_layers
from isometry.lab.trainability_map import trainability_map
# isort: on

__all__ = [
    "calibrate_against_lsuv",
    "depth_scale",
    "finite_width",
    "glorot2010",
    "he2015",
    "jacobian_spectrum",
    "mup_coordinates",
    "normal_or_uniform",
    "thousand_layers",
    "too_small_too_large",
    "trainability_map",
    "zero_and_constant",
]
