"""A Keras model's variables, each once, and what they are called.

A name is the path by which the structure reaches a layer, then PyTorch's word for the variable:

    Sequential, functional     a layer's name where you gave it one ("fc1.weight"), else its class and
                               its place among those of its class: "dense.weight", "dense_1.weight"
    an attribute               the attribute: "blocks.0.fc1.weight"
    inside a layer of Keras    what Keras calls the part: "attention.query.weight"
    a recurrent layer          PyTorch's: "lstm.weight_ih_l0", "lstm.bias_ih_l0_reverse"

The model's own name is no part of it. Keras counts the names that it gives by itself through the
whole session, so that the second model built has other ones than the first; counted here in the
model alone they are the same in every process. Two paths to one variable are aliases, as are the
path with slashes and Keras's own ("fc1/kernel") where all of it was given by hand.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import keras

from isometry.errors import ModelError
from isometry.keras.layers import Layout, is_norm, layout_of, library_names, recurrent_slot
from isometry.types.names import canonical

__all__ = ["Owned", "check_parameters", "layer_paths", "owned_variables", "parts_of", "snake_case"]

# What a layer keeps for its own books: lists of what is found elsewhere, metrics, the optimiser.
BOOKS = frozenset(
    "_layers _metrics _trainable_variables _non_trainable_variables _losses _seed_generators _tracker "
    "_functional _operations _nodes _parameters _buffers _modules _torch_params _compile_metrics "
    "_compile_loss _loss_tracker optimizer _inbound_nodes _outbound_nodes _obj_type".split()
)


@dataclass(slots=True)
class Owned:
    """A variable, the layer that holds it, and every name it has."""

    variable: Any
    kind: str  # "parameter" | "buffer"
    layer: Any
    owner: str  # the path of the layer
    slot: str  # Keras's own word for it
    suffix: str  # of a recurrent layer: which layer and direction
    names: list[str] = field(default_factory=list)

    @property
    def layout(self) -> Layout:
        """The variable in PyTorch's layout, as its layer has it."""
        if self.kind == "buffer":
            return Layout(tuple(self.variable.shape))
        return layout_of(self.layer, self.slot, tuple(self.variable.shape))


@dataclass(slots=True)
class _Place:
    """A layer, the path to it, and whether every name in Keras's own path was given by hand."""

    layer: Any
    path: str
    suffix: str = ""
    given: bool = True
    spelt: str = ""  # the path with slashes, and with the cells of a recurrent layer


def owned_variables(model: Any) -> list[Owned]:
    """Every parameter, then every buffer, in the order of `model.weights`; ties are one entry."""
    order = {id(v): i for i, v in enumerate(model.weights)}
    trained = _trained(model)
    found: dict[int, Owned] = {}
    for place in _walk(_Place(model, ""), ()):
        for slot, variable in _variables(place.layer):
            if id(variable) not in order:
                continue  # the state of a generator or a metric
            kind = "parameter" if id(variable) in trained else "buffer"
            names = _names(place, slot, variable, model.name, kind)
            mine = Owned(variable, kind, place.layer, place.path, slot, place.suffix, names)
            entry = found.setdefault(id(variable), mine)
            if entry.layout.hint is None and mine.layout.hint is not None:
                # Seen first in a wrapper, which holds what is its layer's.
                names, entry = entry.names, mine
                found[id(variable)] = mine
            entry.names += [n for n in names if n not in entry.names]
    return sorted(found.values(), key=lambda o: (o.kind == "buffer", order[id(o.variable)]))


def layer_paths(model: Any) -> dict[int, str]:
    """id(layer) -> the first path to it."""
    found: dict[int, str] = {}
    for place in _walk(_Place(model, ""), ()):
        found.setdefault(id(place.layer), place.path)
    return found


def parts_of(layer: Any) -> dict[str, Any]:
    """A layer's attributes in which layers or variables may lie. (On PyTorch, layers lie
    apart; TensorFlow keeps books of its own.)"""
    own = vars(layer)
    every = {**own, **(own.get("_modules") or {})}
    return {k: v for k, v in every.items() if k not in BOOKS and not k.startswith("_self_")}


def check_parameters(owned: list[Owned], model: Any) -> None:
    """Raise ModelError where a parameter is of a kind that cannot be initialised."""
    parameters = [o for o in owned if o.kind == "parameter"]
    if not parameters:
        why = "is it the right object?" if model.built else (
            "it is not built yet: pass inputs, or call model.build(input_shape)"
        )  # fmt: skip
        raise ModelError(f"{type(model).__name__} has no parameters; {why}")
    for entry in parameters:
        dtype = keras.backend.standardize_dtype(entry.variable._dtype)
        if not dtype.startswith(("float", "bfloat")):
            raise ModelError(
                f"{entry.names[0]} is {'complex' if 'complex' in dtype else 'quantised or integer'} "
                f"({dtype}); isometry initialises floating-point parameters: initialise before "
                "quantising, or hold it as a weight that does not train"
            )


def _trained(model: Any) -> set[int]:
    """The variables made as parameters, frozen or not: a layer keeps those apart from its state."""
    found: set[int] = set()
    for place in _walk(_Place(model, ""), ()):
        found |= {id(v) for v in vars(place.layer).get("_trainable_variables", ())}
    return found


def _walk(place: _Place, above: tuple[int, ...]) -> Iterator[_Place]:
    yield place
    for child in _children(place):
        if id(child.layer) not in above:
            yield from _walk(child, (*above, id(place.layer)))


def _children(place: _Place) -> list[_Place]:
    layer, found = place.layer, []
    seen: set[int] = set()
    if isinstance(layer, (keras.Sequential, keras.Model)) and _is_container(layer):
        inner = [x for x in layer.layers if not isinstance(x, keras.layers.InputLayer)]
        for child, (name, given) in zip(inner, _container_names(inner), strict=True):
            seen.add(id(child))
            found.append(_place(place, child, name, place.given and given))
    order = {id(x): i for i, x in enumerate(vars(layer).get("_layers", ()))}
    named = [(path, x) for path, x in _inside(layer) if isinstance(x, keras.layers.Layer)]
    for path, child in sorted(named, key=lambda pair: order.get(id(pair[1]), len(order))):
        if id(child) in seen:
            continue
        found.append(_part(place, path, child))
    return found


def _part(place: _Place, attribute: str, child: Any) -> _Place:
    """A layer by the attribute that holds it; the cells of a recurrent layer are part of it."""
    given = place.given and not _is_automatic(child)
    inner = recurrent_slot(place.layer, attribute, child, place.suffix)
    if inner is not None:
        return _Place(child, place.path, inner, False, _spelt(place, attribute))
    if library_names(place.layer)[:1] and attribute.startswith("_") and _is_keras(place.layer):
        attribute = child.name if not _is_automatic(child) else attribute.lstrip("_")
    return _place(place, child, attribute, given)


def _place(above: _Place, child: Any, name: str, given: bool) -> _Place:
    return _Place(child, _join(above.path, name), "", given, _spelt(above, name))


def _spelt(place: _Place, name: str) -> str:
    return "/".join(p for p in (place.spelt, name.replace(".", "/")) if p)


def _inside(layer: Any) -> Iterator[tuple[str, Any]]:
    """Layers and variables among a layer's attributes, with the path to them."""
    for name, value in parts_of(layer).items():
        yield from _held(name, value)


def _held(path: str, value: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(value, (keras.layers.Layer, keras.Variable)):
        yield path, value
    elif isinstance(value, (list, tuple)):
        for i, item in enumerate(value):
            yield from _held(f"{path}.{i}", item)
    elif isinstance(value, dict):
        for key, item in value.items():
            yield from _held(f"{path}.{key}", item)


def _variables(layer: Any) -> Iterator[tuple[str, Any]]:
    """A layer's own variables, by Keras's word for them where Keras made the layer."""
    for path, value in _inside(layer):
        if isinstance(value, keras.Variable):
            # A class of the user's own that is a Dense still has its `_kernel`.
            inherited = path.lstrip("_") == value.name and bool(library_names(layer))
            yield (value.name if _is_keras(layer) or inherited else path), value


def _names(place: _Place, slot: str, variable: Any, model: str, kind: str) -> list[str]:
    """PyTorch's form of a path; the path with slashes; Keras's own where it was given by hand."""
    layer = place.layer
    word = layout_of(layer, slot, tuple(variable.shape)).slot or slot
    word += place.suffix if place.suffix and kind == "parameter" else ""
    name = canonical(_join(place.path, word), norm=is_norm(layer))
    spelt = _spelt(place, slot)
    own = variable.path.removeprefix(f"{model}/")
    return list(dict.fromkeys((name, spelt, *([own] if place.given else []))))


def _is_container(model: Any) -> bool:
    """Does the model say its layers in order: a Sequential, or made by inputs and outputs?"""
    return isinstance(model, keras.Sequential) or hasattr(model, "_nodes_by_depth")


def _is_keras(layer: Any) -> bool:
    return type(layer).__module__.partition(".")[0] == "keras"


def _container_names(layers: list[Any]) -> list[tuple[str, bool]]:
    """(name, was it given by hand?) of each layer of a container."""
    taken = {x.name for x in layers if not _is_automatic(x)}
    counts: dict[str, int] = {}
    names = []
    for layer in layers:
        if not _is_automatic(layer):
            names.append((layer.name.replace(".", "_"), True))
            continue
        base = snake_case(type(layer).__name__)
        while True:
            count = counts[base] = counts.get(base, -1) + 1
            name = f"{base}_{count}" if count else base
            if name not in taken:
                break
        names.append((name, False))
    return names


def _is_automatic(layer: Any) -> bool:
    """Has it the name that Keras gives by itself?"""
    return (
        re.fullmatch(rf"{re.escape(snake_case(type(layer).__name__))}(_\d+)?", layer.name)
        is not None
    )


def snake_case(name: str) -> str:
    """As Keras makes a name of a class."""
    name = re.sub(r"(.)([A-Z][a-z]+)", r"\1_\2", re.sub(r"\W+", "", name))
    return re.sub(r"([a-z])([A-Z])", r"\1_\2", name).lower()


def _join(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name
