"""A jaxpr as one flat list of steps: calls inlined, scans over layers unrolled.

A step is one equation that runs. What must run as a whole (a function with a derivative of its own,
a long loop) is one step, and `inside` holds its equations, to be read and not to be run. Values are
numbered, so that what was read and what is run speak of the same values.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import jax
import jax.numpy as jnp
from jax.extend import core

__all__ = ["MARK", "Program", "Step", "flattened"]

MARK = "isometry:"  # how the name of a module's scope begins
UNROLLED = 64  # iterations of a scan, at most
INLINED = frozenset(
    "jit pjit closed_call core_call remat remat2 checkpoint custom_lin xla_call named_call".split()
)
DERIVED = frozenset("custom_jvp_call custom_vjp_call custom_vjp_call_jaxpr".split())
_INNER = ("jaxpr", "call_jaxpr", "fun_jaxpr")


@dataclass(slots=True, eq=False)
class Step:
    """One equation. `scope` are the module calls it ran in; `name` is the called function's, where
    the equation is a call."""

    op: str
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    scope: tuple[str, ...]
    params: Mapping[str, Any]
    run: Callable[..., Sequence[Any]]
    name: str = ""
    inside: tuple[Body, ...] = ()


@dataclass(slots=True, eq=False)
class Body:
    """The equations of a step: of a loop one iteration, of a choice one branch."""

    steps: list[Step]
    outputs: tuple[int, ...]


@dataclass(slots=True, eq=False)
class Program:
    """The steps of one call, the shapes of its values, and the values known beforehand."""

    inputs: tuple[int, ...] = ()
    outputs: tuple[int, ...] = ()
    steps: list[Step] = field(default_factory=list)
    shapes: list[Any] = field(default_factory=list)  # value -> shape and dtype
    known: dict[int, Any] = field(default_factory=dict)

    def run(
        self, inputs: Sequence[Any], seen: Callable[[int, Any], Any] | None = None
    ) -> list[Any]:
        """Run the steps; `seen` is given each output and answers with what takes its place."""
        env: dict[int, Any] = {**self.known, **dict(zip(self.inputs, inputs, strict=True))}
        last: dict[int, int] = {v: i for i, s in enumerate(self.steps) for v in s.inputs}
        kept = {*self.outputs, *self.known}
        for place, step in enumerate(self.steps):
            for value, made in zip(
                step.outputs, step.run(*(env[v] for v in step.inputs)), strict=True
            ):
                env[value] = made if seen is None else seen(value, made)
            for value in {*step.inputs, *step.outputs}:
                if last.get(value, -1) <= place and value not in kept:
                    env.pop(value, None)
        return [env[v] for v in self.outputs]


def flattened(closed: Any, whole: Callable[[str], bool] = lambda name: False) -> Program:
    """The program of a closed jaxpr.

    Args:
        closed: what `jax.make_jaxpr` returned.
        whole: whether a jitted function of that name stays one step.
    """
    flattener = _Flattener(whole)
    program = flattener.program
    program.inputs = tuple(flattener.new(v.aval) for v in closed.jaxpr.invars)
    program.outputs = flattener.walk(closed.jaxpr, closed.consts, program.inputs, (), program.steps)
    return program


class _Flattener:
    def __init__(self, whole: Callable[[str], bool]) -> None:
        self.program = Program()
        self.whole = whole
        self.frames = 0  # calls inlined so far: one body inlined twice is two calls of its modules

    def new(self, aval: Any) -> int:
        self.program.shapes.append(aval)
        return len(self.program.shapes) - 1

    def constant(self, value: Any) -> int:
        found = self.new(jax.typeof(value))
        self.program.known[found] = value
        return found

    def walk(
        self, jaxpr: Any, consts: Sequence[Any], inputs: Sequence[int], scope: tuple[str, ...],
        steps: list[Step],
    ) -> tuple[int, ...]:  # fmt: skip
        """Append the steps of a jaxpr; the values of its outputs."""
        self.frames += 1
        frame = f"#{self.frames}"
        env: dict[Any, int] = dict(zip(jaxpr.invars, inputs, strict=True))
        env.update({v: self.constant(c) for v, c in zip(jaxpr.constvars, consts, strict=True)})

        def read(atom: Any) -> int:
            return self.constant(atom.val) if isinstance(atom, core.Literal) else env[atom]

        for eqn in jaxpr.eqns:
            marks = (s.name for s in eqn.source_info.name_stack.stack if s.name.startswith(MARK))
            inner = (*scope, *(f"{m}{frame}" for m in marks))
            if not eqn.outvars:
                continue
            outs = self.equation(eqn, tuple(read(a) for a in eqn.invars), inner, steps)
            env.update(zip(eqn.outvars, outs, strict=True))
        return tuple(read(a) for a in jaxpr.outvars)

    def equation(
        self, eqn: Any, inputs: tuple[int, ...], scope: tuple[str, ...], steps: list[Step]
    ) -> tuple[int, ...]:
        op, params = eqn.primitive.name, eqn.params
        inner = next((params[k] for k in _INNER if k in params), None)
        name = str(params.get("name", ""))
        if op in INLINED and inner is not None and not self.whole(name):
            return self.walk(*_opened(inner), inputs, scope, steps)
        if op == "scan" and params["length"] <= UNROLLED:
            return self.scan(params, inputs, scope, steps)
        outputs = tuple(self.new(v.aval) for v in eqn.outvars)
        step = Step(op, inputs, outputs, scope, params, _runner(eqn), name)
        if op in ("scan", "while", "cond"):
            step.inside = self.loop(op, params, inputs, scope)
        elif inner is not None and not self.whole(name):
            step.inside = (self.body(*_opened(inner), inputs, scope),)
        steps.append(step)
        return outputs

    def body(
        self, jaxpr: Any, consts: Sequence[Any], inputs: Sequence[int], scope: tuple[str, ...]
    ) -> Body:
        steps: list[Step] = []
        return Body(steps, self.walk(jaxpr, consts, inputs, scope, steps))

    def scan(
        self, params: Mapping[str, Any], inputs: tuple[int, ...], scope: tuple[str, ...],
        steps: list[Step],
    ) -> tuple[int, ...]:  # fmt: skip
        """One iteration after the other, each on its slice."""
        fixed, carried = params["num_consts"], params["num_consts"] + params["num_carry"]
        consts, carry, xs = inputs[:fixed], inputs[fixed:carried], inputs[carried:]
        jaxpr, held = _opened(params["jaxpr"])
        rows: list[tuple[int, ...]] = []
        order = range(params["length"])
        for i in reversed(order) if params["reverse"] else order:
            slices = tuple(self.at(x, i, scope, steps) for x in xs)
            outs = self.walk(jaxpr, held, (*consts, *carry, *slices), scope, steps)
            carry = outs[: len(carry)]
            rows.append(outs[len(carry) :])
        if params["reverse"]:
            rows.reverse()
        return (*carry, *(self.stacked(column, scope, steps) for column in zip(*rows, strict=True)))

    def at(self, x: int, i: int, scope: tuple[str, ...], steps: list[Step]) -> int:
        aval = self.program.shapes[x]
        out = self.new(aval.update(shape=aval.shape[1:]))
        steps.append(Step("at", (x,), (out,), scope, {"index": i}, lambda a: (a[i],)))
        return out

    def stacked(self, column: Sequence[int], scope: tuple[str, ...], steps: list[Step]) -> int:
        aval = self.program.shapes[column[0]]
        out = self.new(aval.update(shape=(len(column), *aval.shape)))
        steps.append(Step("stack", tuple(column), (out,), scope, {}, lambda *a: (jnp.stack(a),)))
        return out

    def loop(
        self, op: str, params: Mapping[str, Any], inputs: tuple[int, ...], scope: tuple[str, ...]
    ) -> tuple[Body, ...]:
        """What a loop or a choice does, once: a scan at its first slice."""
        if op == "cond":
            return tuple(self.body(*_opened(b), inputs[1:], scope) for b in params["branches"])
        if op == "while":
            skipped = params["cond_nconsts"]
            return (self.body(*_opened(params["body_jaxpr"]), inputs[skipped:], scope),)
        carried = params["num_consts"] + params["num_carry"]
        before: list[Step] = []
        slices = tuple(self.at(x, 0, scope, before) for x in inputs[carried:])
        body = self.body(*_opened(params["jaxpr"]), (*inputs[:carried], *slices), scope)
        body.steps[:0] = before
        return (body,)


def _opened(jaxpr: Any) -> tuple[Any, Sequence[Any]]:
    """A jaxpr and its constants, whether closed or not."""
    return (jaxpr.jaxpr, jaxpr.consts) if hasattr(jaxpr, "consts") else (jaxpr, ())


def _runner(eqn: Any) -> Callable[..., Sequence[Any]]:
    """The equation as a function of its inputs."""

    def run(*inputs: Any) -> Sequence[Any]:
        params = eqn.primitive.get_bind_params(eqn.params)
        functions: Sequence[Any] = ()
        if isinstance(params, tuple):  # as JAX had it before 0.9
            functions, params = params
        out = eqn.primitive.bind(*functions, *inputs, **params)
        return tuple(out) if eqn.primitive.multiple_results else (out,)

    return run
