"""Simplify an exported graph without losing the name of a single weight."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

import numpy as np
import onnx
from onnx import ModelProto, TensorProto, ValueInfoProto, helper, numpy_helper

from litestereo.errors import ExportError
from litestereo.export.graph import check_model, constants_to_initializers
from litestereo.export.options import OPSET

__all__ = ["simplify"]

# The oldest IR that holds opset 17, so that the oldest readers (TensorRT 8.6, ONNX Runtime 1.18)
# accept the file; torch and onnxslim would stamp newer ones.
_IR_VERSION = 8

_PICTURES = 2
_PACKED = "litestereo.packed"


def simplify(model: ModelProto) -> ModelProto:
    """Return `model` with its constants folded and its redundant operators removed.

    Graph inputs after `left` and `right` are weights: they stay as they are, because nothing can
    be folded into or merged with an input. Weights that are initializers are folded, BatchNorm
    into the convolutions too.

    Raises:
        ExportError: if the result is not valid ONNX of opset 17, or lost an input.
    """
    import onnxslim

    weights = list(model.graph.input)[_PICTURES:]
    packed = _pack(model, weights)
    constants_to_initializers(packed)
    slim = onnxslim.slim(packed)
    _unpack(slim, weights)
    slim.ir_version = _IR_VERSION
    # Intermediate shapes are hints that every reader infers again; with dynamic sizes they are
    # long symbolic expressions.
    del slim.graph.value_info[:]
    _name_sizes(slim)
    check_model(slim, opset=OPSET)
    return slim


def _pack(model: ModelProto, weights: Sequence[ValueInfoProto]) -> ModelProto:
    """Return a copy in which the weights are parts of one input.

    onnxslim searches all tensors for each input at each step: the 600 inputs of a network would
    cost it a minute, one costs it none.
    """
    packed = ModelProto()
    packed.CopyFrom(model)
    if not weights:
        return packed
    shapes = {value.name: _shape(value) for value in weights}
    sizes = [prod(shape) for shape in shapes.values()]
    del packed.graph.input[_PICTURES:]
    packed.graph.input.append(
        helper.make_tensor_value_info(_PACKED, TensorProto.FLOAT, [sum(sizes)])
    )
    constants = {f"{_PACKED}.sizes": sizes}
    flat = [name if len(shape) == 1 else f"{name}.flat" for name, shape in shapes.items()]
    nodes = [helper.make_node("Split", [_PACKED, f"{_PACKED}.sizes"], flat, axis=0)]
    for name, shape in shapes.items():
        if len(shape) != 1:
            constants[f"{name}.shape"] = list(shape)
            nodes.append(helper.make_node("Reshape", [f"{name}.flat", f"{name}.shape"], [name]))
    nodes.extend(packed.graph.node)
    del packed.graph.node[:]
    packed.graph.node.extend(nodes)
    packed.graph.initializer.extend(
        numpy_helper.from_array(np.array(value, np.int64), name)
        for name, value in constants.items()
    )
    return packed


def _unpack(model: ModelProto, weights: Sequence[ValueInfoProto]) -> None:
    """Make the weights inputs again, in place.

    Raises:
        ExportError: if simplification rewrote one of them.
    """
    names = {value.name for value in weights}
    parts = {f"{name}.flat" for name in names}
    kept = [n for n in model.graph.node if not names.union(parts).intersection(n.output)]
    used = {name for node in kept for name in node.input}
    if lost := (names - used) | (parts & used):
        raise ExportError(
            f"simplification rewrote {len(lost)} weights, such as {min(lost)}, so the artefact "
            "would not be a checkpoint; try another onnxslim version (0.1.98 works)"
        )
    del model.graph.node[:], model.graph.input[_PICTURES:]
    model.graph.node.extend(kept)
    model.graph.input.extend(weights)
    constants = [tensor for tensor in model.graph.initializer if tensor.name in used]
    del model.graph.initializer[:]
    model.graph.initializer.extend(constants)


def _shape(value: ValueInfoProto) -> tuple[int, ...]:
    """Return the shape of a weight; it is static."""
    return tuple(dim.dim_value for dim in value.type.tensor_type.shape.dim)


def _name_sizes(model: ModelProto) -> None:
    """Give the outputs the same (height, width) as the left picture, number or name."""
    size: list[onnx.TensorShapeProto.Dimension] = list(
        model.graph.input[0].type.tensor_type.shape.dim
    )[:2]
    for value in model.graph.output:
        shape = value.type.tensor_type.shape
        del shape.dim[:]
        shape.dim.extend(size)
