"""Nodes and weights of an ONNX graph, read without the onnx package: a Jetson has none.

Field numbers are those of onnx.proto.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from litestereo.errors import EngineError
from litestereo.runtime.protobuf import fields, varint

__all__ = ["OnnxGraph", "OnnxNode", "read_graph"]

_MODEL_GRAPH = 7
_GRAPH_NODE, _GRAPH_INITIALIZER = 1, 5
_NODE_INPUT, _NODE_OUTPUT, _NODE_NAME, _NODE_TYPE, _NODE_ATTRIBUTE = 1, 2, 3, 4, 5
_ATTRIBUTE_NAME, _ATTRIBUTE_FLOAT, _ATTRIBUTE_INT, _ATTRIBUTE_TEXT, _ATTRIBUTE_INTS = 1, 2, 3, 4, 8
_TENSOR_DIMS, _TENSOR_TYPE, _TENSOR_NAME, _TENSOR_RAW = 1, 2, 8, 9
# FLOAT, INT64 and FLOAT16 of TensorProto.DataType.
_DTYPES: dict[int, np.dtype[Any]] = {1: np.dtype("<f4"), 7: np.dtype("<i8"), 10: np.dtype("<f2")}


@dataclass(slots=True, eq=False)
class OnnxNode:
    """A node.

    Attributes:
        kind: its operator.
        name: unique, or empty, in a graph that stereo-export wrote.
        inputs: names of the tensors that it reads.
        outputs: names of the tensors that it writes.
        attributes: those that are a number, integers (a tuple of one, too) or a text.
    """

    kind: str = ""
    name: str = ""
    inputs: list[str] = field(default_factory=list)
    outputs: list[str] = field(default_factory=list)
    attributes: dict[str, float | tuple[int, ...] | str] = field(default_factory=dict)


@dataclass(slots=True, eq=False)
class OnnxGraph:
    """A graph without what is not needed here.

    Attributes:
        nodes: in the order that they are computed.
        weights: floating ones and whole numbers, by name.
        producers: the node that writes a tensor, by its name.
    """

    nodes: list[OnnxNode]
    weights: dict[str, NDArray[Any]]
    producers: dict[str, OnnxNode]


def read_graph(content: bytes) -> OnnxGraph:
    """Read a model's main graph.

    Args:
        content: an ONNX file's bytes.

    Raises:
        EngineError: they are no ONNX model, or a part of one.
    """
    try:
        return _read(content)
    except (IndexError, UnicodeDecodeError, ValueError, struct.error) as error:
        raise EngineError(f"the graph cannot be read: {error}; export it again") from error


def _read(content: bytes) -> OnnxGraph:
    nodes: list[OnnxNode] = []
    weights: dict[str, NDArray[Any]] = {}
    for number, _, model_value in fields(memoryview(content)):
        if number != _MODEL_GRAPH:
            continue
        for part, _, value in fields(model_value):
            if part == _GRAPH_NODE:
                nodes.append(_node(value))
            elif part == _GRAPH_INITIALIZER:
                weights.update(_weights(value))
    producers = {name: node for node in nodes for name in node.outputs}
    return OnnxGraph(nodes, weights, producers)


def _node(message: memoryview) -> OnnxNode:
    node = OnnxNode()
    for number, _, value in fields(message):
        if number == _NODE_INPUT:
            node.inputs.append(_text(value))
        elif number == _NODE_OUTPUT:
            node.outputs.append(_text(value))
        elif number == _NODE_NAME:
            node.name = _text(value)
        elif number == _NODE_TYPE:
            node.kind = _text(value)
        elif number == _NODE_ATTRIBUTE:
            node.attributes.update(_attribute(value))
    return node


def _attribute(message: memoryview) -> dict[str, float | tuple[int, ...] | str]:
    name = ""
    found: float | str | None = None
    integers: list[int] = []
    for number, _, value in fields(message):
        if number == _ATTRIBUTE_NAME:
            name = _text(value)
        elif number == _ATTRIBUTE_FLOAT:
            found = float(struct.unpack("<f", value)[0])
        elif number == _ATTRIBUTE_TEXT:
            found = _text(value)
        elif number in (_ATTRIBUTE_INT, _ATTRIBUTE_INTS):
            integers += _integers(value)
    if integers:
        return {name: tuple(integers)}
    return {} if found is None else {name: found}


def _weights(message: memoryview) -> dict[str, NDArray[Any]]:
    """Return a tensor by name, if it is of a type used here and kept in one piece."""
    name, kind, shape, raw = "", 0, [], None
    for number, _, value in fields(message):
        if number == _TENSOR_DIMS:
            shape += _integers(value)
        elif number == _TENSOR_TYPE:
            kind = _integers(value)[0]
        elif number == _TENSOR_NAME:
            name = _text(value)
        elif number == _TENSOR_RAW:
            raw = value
    if raw is None or kind not in _DTYPES:
        return {}
    return {name: np.frombuffer(raw, _DTYPES[kind]).reshape(shape)}


def _integers(value: memoryview) -> list[int]:
    """Return the signed integers of a field, packed or not."""
    found, position = [], 0
    while position < len(value):
        number, position = varint(value, position)
        found.append(number - (1 << 64) if number >> 63 else number)
    return found


def _text(value: memoryview) -> str:
    return bytes(value).decode()
