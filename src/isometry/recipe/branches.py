"""Residual branches and the stacks they form, with what each skip is multiplied by.

    x' = a x + f(x),    x'' = norm(x') where it is post-norm

`streams` knows the additions whose skip is passed on as it is; the recipes that bound an update in
depth (Fixup, T-Fixup, DeepNorm) also need the factor a, the matrices inside f, and the number of
blocks from one end of a stack to the other, whether or not a normalisation stands between them.
"""

from __future__ import annotations

from dataclasses import dataclass

from isometry.graph import Graph, Node
from isometry.recipe.base import Survey
from isometry.roles.search import is_normalised, leaf_behind
from isometry.streams import CARRIERS, SCALARS

__all__ = ["Branch", "is_matrix", "normalisations", "read_branches"]


@dataclass(frozen=True, slots=True)
class Branch:
    """One f of x' = a x + f(x). `layers` is the number of matrices on its longest path, `last` the
    parameters nearest to the addition; `crosses` where it reads another stack (cross-attention);
    `post_norm` where the sum is normalised before anything else reads it."""

    addition: int
    stack: int
    factor: float
    matrices: frozenset[str]
    last: frozenset[str]
    layers: int
    attends: bool
    crosses: bool
    post_norm: bool


def is_matrix(node: Node) -> bool:
    """Is the operation a product with a weight?"""
    return node.op in ("linear", "conv", "bilinear")


def normalisations(survey: Survey) -> list[str]:
    """Where the model normalises, by module; hand-written ones by their gain's name."""
    found = [n.scope or n.attrs["kind"] for n in survey.graph if n.op == "norm"]
    if not found:
        found = [u.leaf.name for u in survey.usages.values() if u.role == "norm_gain" and u.node]
    return list(dict.fromkeys(found))


def read_branches(survey: Survey) -> tuple[Branch, ...]:
    """Every residual branch of a model, in execution order; steps of a recurrent layer are none."""
    recurrent = {n for n, u in survey.usages.items() if u.role in ("recurrent", "gates")}
    return tuple(b for b in _Reader(survey).read() if not b.matrices & recurrent)


class _Reader:
    def __init__(self, survey: Survey) -> None:
        self.graph: Graph = survey.graph
        self.weights = survey.weights
        self.streams = survey.streams
        self.stack_of: dict[int, int] = {}  # the value of a residual sum -> its stack
        self.base_of: dict[int, int] = {}  # the same -> what its branches are computed from
        self.stacks = 0

    def read(self) -> list[Branch]:
        found = []
        for node in self.graph:
            if node.op != "add" or len(node.inputs) != 2:
                continue
            if any(v in self.weights for v in node.inputs):
                continue
            branch = self._branch(node)
            if branch is not None:
                found.append(branch)
        return found

    def _branch(self, node: Node) -> Branch | None:
        for skip, branch in self._sides(node):
            base, factor = self._unscaled(skip)
            # (x + f(x)) + g(x): the second branch reads what the first one read
            for origin in dict.fromkeys((base, self.base_of.get(base, base))):
                inside, crosses = self._inside(branch, origin)
                if inside is not None:
                    return self._found(node, branch, origin, base, factor, inside, crosses)
        for skip, branch in (node.inputs, node.inputs[::-1]):
            start = self._projected(skip)
            if start is not None:
                inside, crosses = self._inside(branch, start)
                if inside is not None and self._layers(inside) > 1:
                    return self._found(node, branch, start, start, 1.0, inside, crosses)
        return None

    def _found(
        self, node: Node, branch: int, origin: int, base: int, factor: float,
        inside: list[Node], crosses: bool,
    ) -> Branch:  # fmt: skip
        stack = self._stack(base)
        self.stack_of[node.output], self.base_of[node.output] = stack, origin
        matrices = [n for n in inside if is_matrix(n)]
        return Branch(
            node.index, stack, factor,
            frozenset(filter(None, map(self._weight, matrices))),
            frozenset(filter(None, map(self._weight, self._last(branch, inside)))),
            self._layers(inside), any(n.op in ("softmax", "attention") for n in inside),
            crosses, self._normalised(node.output),
        )  # fmt: skip

    def _projected(self, value: int) -> int | None:
        """What a skip that changes its width (W x, and nothing nonlinear) is computed from."""
        matrices = 0
        for _ in range(8):
            node = self.graph.producer(value)
            if node is None or value in self.stack_of:
                break
            if is_matrix(node):
                matrices += 1
            elif node.op not in ("add", "mul", "norm", "view", "pool") or (
                len([v for v in node.inputs if v not in self.weights]) != 1
            ):
                break
            value = next(v for v in node.inputs if v not in self.weights)
        return value if matrices == 1 else None

    def _sides(self, node: Node) -> list[tuple[int, int]]:
        known = self.streams.of_addition.get(node.index)
        if known is not None:
            return [(known[1], known[2])]
        a, b = node.inputs
        return [(a, b), (b, a)]

    def _unscaled(self, value: int) -> tuple[int, float]:
        """What a skip is a multiple of, and the number it is multiplied by."""
        factor = 1.0
        while True:
            node = self.graph.producer(value)
            if node is None or value in self.stack_of:
                return value, factor
            args = node.attrs.get("args", ())
            if node.op == "pointwise" and node.attrs["fn"] in ("mul", "rmul") and args:
                factor *= args[0]
            elif node.op == "pointwise" and node.attrs["fn"] == "div" and args and args[0]:
                factor /= args[0]
            elif node.op not in ("dropout", "view"):
                return value, factor
            value = node.inputs[0]

    def _inside(self, branch: int, base: int) -> tuple[list[Node] | None, bool]:
        """The operations between a base and what is added to it; None where it does not lead there."""
        limit = self.graph.values[base].producer
        inside: dict[int, Node] = {}
        reached = crosses = False
        stack = [branch]
        while stack:
            value = stack.pop()
            if value == base:
                reached = True
                continue
            if value in self.stack_of:  # another stack's result: cross-attention
                crosses = True
                continue
            node = self.graph.producer(value)
            if node is None or node.index in inside:
                continue
            if node.index <= limit:
                behind = self._stack_behind(value)
                crosses = crosses or (behind is not None and behind != self._stack_behind(base))
                continue
            inside[node.index] = node
            stack.extend(node.inputs)
        ordered = [inside[i] for i in sorted(inside)]
        return (ordered if reached and any(map(is_matrix, ordered)) else None), crosses

    def _stack(self, base: int) -> int:
        """The stack a branch belongs to: that of the sum behind its base, or a new one."""
        behind = self._stack_behind(base)
        if behind is None:
            self.stacks += 1
            return self.stacks - 1
        return behind

    def _stack_behind(self, value: int) -> int | None:
        """The stack whose sum a value is, past a normalisation and what leaves it the same."""
        while value not in self.stack_of:
            node = self.graph.producer(value)
            if node is None or node.op not in (*CARRIERS, "norm", "pointwise", "mul", "add", "div"):
                return None
            signals = [v for v in node.inputs if v not in self.weights]
            if len(signals) != 1 and not is_normalised(self.graph, node.output):
                return None
            value = signals[0]
        return self.stack_of[value]

    def _last(self, branch: int, inside: list[Node]) -> list[Node]:
        """The products with a weight that are followed by no other in their branch."""
        known = {n.index for n in inside}
        found: dict[int, Node] = {}
        seen: set[int] = set()
        stack = [branch]
        while stack:
            node = self.graph.producer(stack.pop())
            if node is None or node.index not in known or node.index in seen:
                continue
            seen.add(node.index)
            if is_matrix(node):
                found[node.index] = node
            elif node.op == "pointwise" and node.attrs["fn"] == "sigmoid":
                continue  # a gate on the branch, and not what it writes
            else:
                stack.extend(v for v in node.inputs if v not in self.weights)
        return list(found.values())

    def _layers(self, inside: list[Node]) -> int:
        depth: dict[int, int] = {}
        for node in inside:
            deepest = max((depth.get(v, 0) for v in node.inputs), default=0)
            depth[node.output] = deepest + is_matrix(node)
        return max(depth.values(), default=0)

    def _weight(self, node: Node) -> str | None:
        leaf = leaf_behind(self.graph, node.parts[-1].root)
        return None if leaf is None else leaf.name

    def _normalised(self, value: int) -> bool:
        """Is a sum normalised by everything that reads it? A pre-norm stream is also added to."""
        readers = [n for n, _ in self.graph.readers(value)]
        while len(readers) == 1 and (
            readers[0].op in ("view", "dropout")
            or (readers[0].op == "pointwise" and readers[0].attrs["fn"] in SCALARS)
        ):
            readers = [n for n, _ in self.graph.readers(readers[0].output)]
        return bool(readers) and all(
            n.op in ("norm", "mean", "variance", "sub") or is_normalised(self.graph, n.output)
            for n in readers
        )
