"""Judge what was measured: rules, each a file, and one report of what they find."""

from isometry.checker.judge import judge, parse_ignore, start_of
from isometry.checker.rules import RULES, Rule
from isometry.checker.seeds import SEEDS, affordable, over_seeds

__all__ = [
    "RULES",
    "SEEDS",
    "Rule",
    "affordable",
    "judge",
    "over_seeds",
    "parse_ignore",
    "start_of",
]
