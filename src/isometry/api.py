"""The functions people type: each one is a path through the parts, and no more.

plan        model, inputs --read--> Graph --plan_graph--> Plan
initialize  the same, then fill; before that, --calibrate--> factors --> Plan, where asked for
check       model, inputs --measure--> Measurements --judge--> Report
transfer    two models or plans --corresponding--> Transfer
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from isometry import calibration, gains
from isometry.adapters import adapter_for, on_arrays
from isometry.correspondence import Transfer, corresponding, renamed
from isometry.errors import ArgumentError, DisagreementError, UnhealthyError
from isometry.planner import plan_graph
from isometry.recipe import RECIPES, Recipe
from isometry.stream.keys import check_seed
from isometry.types import Law, Plan, Report
from isometry.types.plan import as_patterns

__all__ = ["assert_healthy", "check", "gain", "initialize", "plan", "recipes", "transfer"]

Patterns = str | Sequence[str] | None


def plan(
    model: Any,
    inputs: Any = None,
    *,
    recipe: str | Recipe = "auto",
    loss: Any = None,
    overrides: Mapping[str, Law] | None = None,
    names: Mapping[str, str] | None = None,
) -> Plan:
    """Decide, for every parameter and buffer of a model, which law it gets and why.

    The model's own forward is traced once, without values, so that the plan rests on what each
    weight reads and writes and not on its shape; nothing is computed and nothing is changed (but
    that a Keras model without weights is built). Shapes and axes in a plan are those of PyTorch's
    layout in every framework: the same model has the same plan.

    Args:
        model: a torch.nn.Module, materialised or on meta; a Keras model; a Flax NNX or Equinox
            module; a Flax Linen module, or (module, variables).
        inputs: a tensor, a tuple (positional arguments) or a dict (keyword arguments); None where
            the model says what it takes (a transformers model, a plain stack of layers, a Keras
            model that is built).
        recipe: a name that `iso.recipes()` lists, or a recipe of your own.
        loss: "cross_entropy", or the loss itself, where the model ends in logits: they are then
            made small. A transformers class declares its own.
        overrides: pattern -> law for parameters you decide yourself.
        names: this model's name of a parameter, or of the module it lies in -> its name in the
            stream, where it should have the values of a model that calls it otherwise. Every
            parameter must be covered.

    Returns:
        A Plan: print, look up by name, save, load, diff, override, apply.

    Raises:
        ArgumentError: the model, inputs or recipe are not such.
        ModelError: no parameters, or of a kind that cannot be initialised.
        TraceError: the model's own forward failed on the inputs.
        PlanError: an override matches nothing, or `names` does not cover the model.

    Example:
        >>> import torch
        >>> mlp = torch.nn.Sequential(torch.nn.Linear(8, 64), torch.nn.ReLU(), torch.nn.Linear(64, 2))
        >>> plan(mlp, torch.randn(4, 8))["2.weight"].reason
        'reads relu, second moment 0.5'

    Source: `iso.recipes()` says it for each recipe.
    """
    made = plan_graph(adapter_for(model).read(model, inputs, loss), recipe, overrides)
    return made if names is None else renamed(made, names)


def initialize(
    model: Any,
    inputs: Any = None,
    *,
    seed: int = 0,
    recipe: str | Recipe = "auto",
    loss: Any = None,
    overrides: Mapping[str, Law] | None = None,
    names: Mapping[str, str] | None = None,
    include: Patterns = None,
    exclude: Patterns = None,
    calibrate: bool = False,
    dry_run: bool = False,
    verify: Any = None,
) -> Plan:
    """Plan a model and write the plan into it, in place.

    A weight is a pure function of (seed, its name, its place in the tensor) and its law: the same
    on every device, at every world size and in every order; a narrower dtype rounds it. On meta,
    memory is given first. A sharded model (DTensors: FSDP2, tensor parallelism) is planned as the
    whole that it is, and each rank fills its own shards. Everything is validated before the first
    byte is written.

    Args:
        model, inputs, recipe, loss, overrides, names: as for `plan`. Models that are values (an
            Equinox module, a tree of JAX arrays) cannot be changed in place: for those write
            model = iso.plan(model, inputs).apply(model, seed=0).
        seed: an integer in [0, 2^64).
        include: only the parameters that match one of these patterns (a new head, an adapter).
        exclude: none of the parameters that match one of these patterns.
        calibrate: rescale each weight on `inputs`, real data, so that what it makes has the second
            moment that the plan aims at. Costs about two forward passes. The factors are part of
            the plan: applied elsewhere, it gives the same weights and needs no data. (A sharded model:
            the same batch on every rank.)
        dry_run: decide and write nothing.
        verify: whether the ranks of a process group compare their plans first: see `Plan.apply`.

    Returns:
        The Plan that was applied.

    Raises:
        IsometryError: as for `plan` and `Plan.apply`; the model is then as it was.

    Example:
        >>> import torch
        >>> mlp = torch.nn.Sequential(torch.nn.Linear(8, 64), torch.nn.ReLU(), torch.nn.Linear(64, 2))
        >>> decided = initialize(mlp, torch.randn(4, 8), seed=0)
        >>> round(decided["0.weight"].law.variance, 3), round(mlp[0].weight.var().item(), 2)
        (0.125, 0.13)

    Source: `iso.recipes()` for each recipe; calibration in one pass, after Mishkin & Matas 2016.
    """
    adapter = adapter_for(model)
    if not (dry_run or adapter.in_place(model)):
        raise ArgumentError(
            f"a {type(model).__name__} is a value and cannot be written in place; write "
            "model = isometry.plan(model, inputs).apply(model, seed=0)"
        )
    try:
        # First: to read a sharded model its ranks may have to meet, and one that has failed would not.
        graph = adapter.read(model, inputs, loss)
        check_seed(seed)
        if calibrate and inputs is None:
            raise ArgumentError(
                "calibrate=True without inputs: it rescales the weights on data; pass a batch that is "
                "like what the model will be trained on, iso.initialize(model, inputs, calibrate=True)"
            )
        made = plan_graph(graph, recipe, overrides)
        if calibrate:
            aims = calibration.aims_of(graph, made)
            factors = adapter.calibrate(
                made, model, inputs, aims.moments, seed=seed,
                include=as_patterns(include), exclude=as_patterns(exclude), verify=verify,
            )  # fmt: skip
            made = calibration.calibrated(made, aims, factors)
        if names is not None:
            made = renamed(made, names)
    except DisagreementError:  # which all ranks have
        raise
    except Exception as error:
        if not dry_run:
            adapter.withdraw(model, verify, error)  # other ranks may wait to compare plans
        raise
    if not dry_run:
        made.apply(model, seed=seed, include=include, exclude=exclude, verify=verify)
    return made


def check(
    model: Any,
    inputs: Any = None,
    *,
    loss: Any = None,
    target: Any = None,
    build: Callable[[], Any] | None = None,
    seeds: int | None = None,
    select: Iterable[str] = (),
    ignore: Iterable[str] = (),
    jacobian: bool = False,
) -> Report:
    """Measure a model at initialisation and say what is wrong with it, if anything.

    One forward and backward on the batch, measured at every operation; then the rules. Leaves no
    trace: parameters, buffers, gradients, random states and flags are as before, to the bit.
    Weights that look trained are recognised, and not judged.

    Args:
        model, inputs: as for `plan`; 32 samples or more judge best.
        loss: a callable loss(output, target), or a name such as "cross_entropy"; None sends
            random unit gradients back from the output.
        target: what the loss takes; drawn where it is None and the loss has a name.
        build: a function that builds the model anew: tells what is never initialised, and judges
            further builds, so that what hangs on the seed is said as such ("in 5 of 20 seeds").
        seeds: how many further builds; None: 20, fewer where the model is large.
        select: only rules whose code begins with one of these ("ISO2").
        ignore: no rule whose code begins with one of these; "ISO401:blocks.3.*" only where it
            concerns those layers or parameters.
        jacobian: also the singular values of the whole model at the first sample, from its first
            input to its first output (`report.jacobian`): one backward pass for each number of
            the output, up to 256 of them. All equal is an isometry.

    Returns:
        A Report: `ok`, `findings`, `layers`, `not_checked`.

    Raises:
        IsometryError: the model or the inputs cannot be used; the model is then as it was.

    Example:
        >>> import torch
        >>> mlp = torch.nn.Sequential(torch.nn.Linear(8, 64), torch.nn.ReLU(), torch.nn.Linear(64, 2))
        >>> check(mlp, torch.randn(64, 8)).ok
        True
    """
    from isometry.checking import checked  # the rules are many small files: read when first used

    return checked(
        model, inputs, loss=loss, target=target, build=build, seeds=seeds,
        select=tuple(select), ignore=tuple(ignore), jacobian=jacobian,
    )  # fmt: skip


def assert_healthy(
    model: Any,
    inputs: Any = None,
    *,
    loss: Any = None,
    target: Any = None,
    build: Callable[[], Any] | None = None,
    ignore: Iterable[str] = (),
) -> None:
    """Raise UnhealthyError, which is an AssertionError, where `check` finds an error.

    Args:
        model, inputs, loss, target, build, ignore: as for `check`.

    Raises:
        UnhealthyError: with the findings as its message.

    Example:
        >>> import torch
        >>> assert_healthy(torch.nn.Linear(8, 8), torch.randn(64, 8))
    """
    report = check(model, inputs, loss=loss, target=target, build=build, ignore=ignore)
    if not report.ok:
        raise UnhealthyError(str(report))


def transfer(source: Any, target: Any, *, names: Mapping[str, str] | None = None) -> Transfer:
    """Say which parameters of two models are the same parameter; nothing is copied.

    Two parameters correspond where their names are one name ("fc1.weight", "fc1/kernel",
    "['fc1']['kernel']") and they have the same elements in PyTorch's layout. Those that correspond
    are equal to the bit once both models have been initialised with one plan's laws and one seed.

    Args:
        source, target: models of any framework that have their parameters, or plans.
        names: the source's name of a parameter, or of the module it lies in -> the target's. Every
            parameter of the source must be covered.

    Returns:
        Transfer: `pairs`, `different`, `only_in_source`, `only_in_target`, `complete`; print it.

    Raises:
        ArgumentError: a model whose parameters can be known from a call alone: pass its plan.
        PlanError: `names` does not cover the source, or names what it has not got.

    Example:
        >>> import torch
        >>> a, b = (torch.nn.Sequential(torch.nn.Linear(8, n)) for n in (4, 4))
        >>> transfer(a, b).complete
        True
    """
    plans = [m if isinstance(m, Plan) else plan(m) for m in (source, target)]
    if names is not None:
        plans[0] = renamed(plans[0], names)
    return corresponding(*plans)


def recipes() -> dict[str, str]:
    """What recipes there are, and what each is for.

    Returns:
        name -> purpose, in the order to consider them.

    Example:
        >>> next(iter(recipes()))
        'auto'
    """
    return {name: f"{r.purpose} ({r.source})" for name, r in RECIPES.items()}


def gain(activation: str | Callable[..., Any], **parameters: float) -> float:
    return gains.gain(
        activation if isinstance(activation, str) else on_arrays(activation), **parameters
    )


gain.__doc__ = gains.gain.__doc__
