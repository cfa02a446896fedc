"""model, inputs -> Graph: on meta where that works, with real tensors where it does not."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from isometry.errors import TraceError
from isometry.graph import Graph
from isometry.measuring.losses import kind_of
from isometry.torch.guard import as_if_never_run
from isometry.torch.inputs import Call, as_call, draw_inputs
from isometry.torch.leaves import OwnedTensor, check_parameters, leaves_of, owned_tensors
from isometry.torch.trace import Tracer, float_outputs, module_scopes

__all__ = ["failed_run", "loss_kind", "read_graph", "trace_call"]

# How transformers names the classes whose loss is a softmax cross-entropy of their logits.
CLASSIFIERS = (
    "ForCausalLM", "ForMaskedLM", "LMHeadModel", "ForConditionalGeneration",
    "ForSequenceClassification", "ForImageClassification", "ForTokenClassification",
    "ForQuestionAnswering", "ForVideoClassification", "ForSemanticSegmentation",
)  # fmt: skip
ASSUMED = "the model branches {} times on a value that meta does not have: taken as true"


def loss_kind(model: nn.Module, loss: Any) -> str | None:
    """ "classification" where the loss given, or declared by the model's class, is a softmax
    cross-entropy; "other" where another loss was given; None where nothing is known.

    Raises:
        ArgumentError: a loss that is neither a known name nor callable.
    """
    if loss is None:
        declared = hasattr(model, "loss_function") and type(model).__name__.endswith(CLASSIFIERS)
        return "classification" if declared else None
    return kind_of(loss)


def read_graph(model: nn.Module, inputs: Any = None, loss: Any = None) -> Graph:
    """The graph of one call of the model.

    The model's forward runs once on the meta device, so that nothing is computed and nothing is
    allocated; where meta cannot run it (a `.item()`, a data-dependent shape) it runs with the
    real tensors. Where no input is given and none can be made up, there is no graph of
    operations: the leaves stand alone and the plan rests on the module types.

    Raises:
        ArgumentError: the loss or the inputs are not such.
        ModelError: no parameters, or of a kind that cannot be initialised.
        TraceError: the model's own forward failed on the inputs given.
    """
    owned = owned_tensors(model)
    check_parameters(owned, model)
    loss_kind(model, loss)  # a loss of no known kind is refused before anything runs
    call = as_call(inputs) if inputs is not None else draw_inputs(model)
    if call is None:
        return modules_only(model, owned, loss, "no inputs were given and none could be made up")
    try:
        return trace_call(model, owned, call, loss, meta=True)
    except Exception as meta_error:  # a model may raise anything
        if any(entry.tensor.is_meta for entry in owned):
            return _without_values(model, owned, call, loss, meta_error, made_up=inputs is None)
    try:
        return trace_call(model, owned, call, loss, meta=False)
    except Exception as error:
        if inputs is None:
            return modules_only(
                model, owned, loss, f"inputs {call.origin} do not fit: {_line(error)}"
            )
        raise failed_run(model, call, error) from error


def _without_values(
    model: nn.Module,
    owned: list[OwnedTensor],
    call: Call,
    loss: Any,
    error: Exception,
    *,
    made_up: bool,
) -> Graph:
    """The graph of a model on meta whose forward branches on a value: take the branch of true."""
    try:
        return trace_call(model, owned, call, loss, meta=True, assume_true=True)
    except Exception:
        if made_up:
            return modules_only(model, owned, loss, f"meta could not run it: {_line(error)}")
        raise failed_run(model, call, error) from error


def trace_call(
    model: nn.Module, owned: list[OwnedTensor], call: Call, loss: Any, *, meta: bool,
    assume_true: bool = False,
) -> Graph:  # fmt: skip
    """Run the forward once under the tracer."""
    tracer = Tracer(assume_true=assume_true)
    swapped = {id(e.tensor): e.tensor.to("meta") if meta else e.tensor for e in owned}
    with as_if_never_run(model), torch.no_grad():
        model.eval()  # without dropout and skipped layers; the flags are put back with the rest
        if meta:
            call = call.map(lambda t: t.to("meta"))
            _swap(model, swapped)
        values = adopt_leaves(tracer, owned, swapped)
        inputs: list[int] = []
        call.map(lambda t: inputs.append(tracer.adopt(t)) or t)  # type: ignore[func-returns-value]
        names = {id(m): n for n, m in model.named_modules()}
        device = torch.device("meta") if meta else owned[0].tensor.device
        with batched_experts(model), module_scopes(model, tracer, names), device, tracer:
            output = model(*call.args, **call.kwargs)
        outputs = {k: tracer.value_of(t) for k, t in float_outputs(output).items()}
    return Graph(
        model=type(model).__name__,
        nodes=tuple(tracer.nodes),
        values=tracer.values,
        leaves=leaves_of(owned, values),
        inputs=tuple(inputs),
        outputs=outputs,
        loss=loss_kind(model, loss),
        how="meta" if meta else "real",
        notes=(ASSUMED.format(tracer.assumed),) if tracer.assumed else (),
    )


def adopt_leaves(
    tracer: Tracer, owned: list[OwnedTensor], swapped: dict[int, Tensor]
) -> dict[int, int]:
    """Make every parameter a value with an owner, and every buffer a constant."""
    values = {}
    for entry in owned:
        is_parameter = entry.kind == "parameter"
        values[id(entry.tensor)] = tracer.adopt(
            swapped[id(entry.tensor)],
            owner=entry.module_name if is_parameter else None,
            constant=not is_parameter,
        )
    return values


def modules_only(model: nn.Module, owned: list[OwnedTensor], loss: Any, why: str) -> Graph:
    """A graph without operations: the leaves, and why there is no more."""
    tracer = Tracer()
    values = {id(e.tensor): tracer.adopt(e.tensor) for e in owned}
    return Graph(
        model=type(model).__name__,
        nodes=(),
        values=tracer.values,
        leaves=leaves_of(owned, values),
        loss=loss_kind(model, loss),
        how="modules",
        notes=(f"planned from the module types alone: {why}; pass inputs for a plan by graph",),
    )


def _swap(model: nn.Module, replacement: dict[int, Tensor]) -> None:
    """Put meta tensors where the model's own are, plain attributes that are tensors included;
    `as_if_never_run` puts the model's own back."""
    for module in model.modules():
        for table in (module._parameters, module._buffers):
            for slot, tensor in table.items():
                if tensor is not None:
                    table[slot] = replacement[id(tensor)]  # type: ignore[assignment]
        for name, value in list(module.__dict__.items()):
            if isinstance(value, Tensor):
                module.__dict__[name] = value.to("meta")


@contextmanager
def batched_experts(model: nn.Module) -> Iterator[None]:
    """Let transformers' mixtures of experts run as one batched product, which has fixed shapes."""
    config = getattr(model, "config", None)
    before = getattr(config, "_experts_implementation", None)
    choose: Any = getattr(model, "set_experts_implementation", None)
    if before is None or choose is None:
        yield
        return
    choose("batched_mm")
    try:
        yield
    finally:
        choose(before)


def _line(error: Exception) -> str:
    text = str(error).strip().splitlines()
    return f"{type(error).__name__}: {text[0] if text else ''}"


def failed_run(model: nn.Module, call: Call, error: Exception) -> TraceError:
    shapes: list[str] = []
    call.map(lambda t: shapes.append(f"{tuple(t.shape)} {t.dtype}") or t)  # type: ignore[func-returns-value]
    return TraceError(
        f"{type(model).__name__} could not be run on the inputs {call.origin} "
        f"({', '.join(shapes) or 'no tensor'}): {_line(error).rstrip('.')}. Pass inputs that the model's own "
        "forward accepts: a tensor, a tuple of positional or a dict of keyword arguments"
    )
