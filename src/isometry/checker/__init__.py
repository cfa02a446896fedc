"""Judge what was measured: rules, each a file, and one report of what they find."""

from isometry.checker.judge import judge
from isometry.checker.rules import RULES, Rule

__all__ = ["RULES", "Rule", "judge"]
