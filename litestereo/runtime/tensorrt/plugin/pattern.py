"""Find nodes of a graph by the expression that they compute.

A pattern is an `Op` of patterns. Leaves are names, which stand for any tensor, and `Array`, which
stands for weights. The same name is the same tensor wherever it stands.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import permutations
from typing import Any

import numpy as np
from numpy.typing import NDArray

from litestereo.runtime.tensorrt.plugin.onnx_graph import OnnxGraph

__all__ = ["Array", "Found", "Op", "Pattern", "match"]

_COMMUTATIVE = ("Add", "Mul")
# What ONNX takes where an attribute is not given, as far as patterns name it.
_DEFAULTS: dict[str, object] = {
    "dilations": (1, 1),
    "group": (1,),
    "pads": (0, 0, 0, 0),
    "strides": (1, 1),
}
_RELATIVE_ERROR = 1e-3  # constants of half precision are as good as those in float


@dataclass(frozen=True, slots=True, eq=False)
class Op:
    """A node that computes `kind` of `inputs`.

    Attributes:
        kind: the operator.
        inputs: a pattern for each input; the node may have no others but empty ones.
        attributes: what it must have; None: must not be given.
        name: what to call the tensor that it gives; "" for no name.
        output: which of what it gives.
    """

    kind: str
    inputs: tuple[Pattern, ...]
    attributes: Mapping[str, object] = field(default_factory=dict)
    name: str = ""
    output: int = 0


@dataclass(frozen=True, slots=True, eq=False)
class Array:
    """Weights, by what they are or by their shape.

    Attributes:
        values: what they must be, if that is known.
        shape: what they must have, None for any length, if `values` are not known.
        name: what to call them; "" for no name.
    """

    values: object = None
    shape: tuple[int | None, ...] = ()
    name: str = ""


Pattern = Op | Array | str
"""A name stands for any tensor, and "" for one that is not looked at."""


@dataclass(slots=True, eq=False)
class Found:
    """What the names of a pattern stand for.

    Attributes:
        tensors: the graph's names of tensors.
        arrays: weights.
    """

    tensors: dict[str, str] = field(default_factory=dict)
    arrays: dict[str, NDArray[Any]] = field(default_factory=dict)


def match(graph: OnnxGraph, tensor: str, pattern: Pattern) -> Found | None:
    """Return what a pattern's names stand for where a tensor is what it says, else None.

    Casts are looked through: typed graphs have them where precisions meet.

    Args:
        graph: the tensor's.
        tensor: its name.
        pattern: of the nodes that lead to it.
    """
    return _match(graph, tensor, pattern, Found())


def _match(graph: OnnxGraph, tensor: str, pattern: Pattern, found: Found) -> Found | None:
    tensor = _uncast(graph, tensor)
    if isinstance(pattern, Array):
        return _with_array(graph.weights.get(tensor), pattern, found)
    name = pattern if isinstance(pattern, str) else pattern.name
    if name in found.tensors:
        return found if found.tensors[name] == tensor else None
    if isinstance(pattern, Op):
        inside = _match_node(graph, tensor, pattern, found)
        if inside is None:
            return None
        found = inside
    return Found({**found.tensors, name: tensor}, found.arrays) if name else found


def _match_node(graph: OnnxGraph, tensor: str, pattern: Op, found: Found) -> Found | None:
    node = graph.producers.get(tensor)
    if node is None or node.kind != pattern.kind or node.outputs.index(tensor) != pattern.output:
        return None
    for name, value in pattern.attributes.items():
        if not _same(node.attributes.get(name, _DEFAULTS.get(name)), value):
            return None
    count = len(pattern.inputs)
    if len(node.inputs) < count or any(node.inputs[count:]):
        return None
    orders = permutations(pattern.inputs) if node.kind in _COMMUTATIVE else [pattern.inputs]
    for order in orders:
        inside: Found | None = found
        for given, part in zip(node.inputs, order, strict=False):
            inside = None if inside is None else _match(graph, given, part, inside)
        if inside is not None:
            return inside
    return None


def _with_array(array: NDArray[Any] | None, pattern: Array, found: Found) -> Found | None:
    if array is None:
        return None
    if pattern.values is not None:
        wanted = np.asarray(pattern.values)
        same = array.size == wanted.size and np.allclose(
            array.ravel(), wanted.ravel(), rtol=_RELATIVE_ERROR
        )
        return found if same else None
    fits = array.ndim == len(pattern.shape) and all(
        wanted in (None, length) for length, wanted in zip(array.shape, pattern.shape, strict=True)
    )
    return Found(found.tensors, {**found.arrays, pattern.name: array}) if fits else None


def _uncast(graph: OnnxGraph, tensor: str) -> str:
    """Return what a tensor was before casts."""
    node = graph.producers.get(tensor)
    while node is not None and node.kind == "Cast":
        tensor = node.inputs[0]
        node = graph.producers.get(tensor)
    return tensor


def _same(value: object, wanted: object) -> bool:
    if isinstance(value, float) and isinstance(wanted, float):
        return bool(np.isclose(value, wanted, rtol=_RELATIVE_ERROR, atol=0))
    return value == wanted
