"""What each parameter does in its model, read off the graph: its role, axes, fans and blocks.

A role is a word of the field's own:

    linear conv conv_transpose bilinear experts recurrent gates    matrices, by how they are used
    embedding            rows looked up by an input
    positions            a table added to another signal; a class or mask token
    query                learned vectors that enter the network as if they were an input
    bias                 added to what a matrix or a normalisation gives
    norm_gain            multiplies what a normalisation gives
    scale                any other factor: LayerScale, ReZero, a gate, a temperature
    attention_bias       added to attention scores: relative positions
    state_space          decay rates and time steps of a state-space model
    magnitude            the length of a weight-normalised weight; `direction` is the weight itself
    special              used in a way that has no law of its own
    unused               not reached by the call that was traced
    buffer               a buffer
"""

from isometry.roles.read import read_usages
from isometry.roles.search import is_normalised
from isometry.roles.usage import MATRICES, Usage

__all__ = ["MATRICES", "Usage", "is_normalised", "read_usages"]
