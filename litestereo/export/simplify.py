"""Simplify an exported graph without losing the name of a single weight."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence

import numpy as np
import onnx
from onnx import ModelProto, TensorProto, ValueInfoProto, helper, numpy_helper

from litestereo.errors import ExportError
from litestereo.export.graph import check_model, constants_to_initializers, op_histogram
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

    Args:
        model: the graph, which stays as it is.

    Raises:
        ExportError: if the result is not valid ONNX of opset 17, or lost an input.
    """
    weights = list(model.graph.input)[_PICTURES:]
    packed = _pack(model, weights)
    constants_to_initializers(packed)
    slim = _slim(packed)
    _unpack(slim, weights)
    slim.ir_version = _IR_VERSION
    # Intermediate shapes are hints that every reader infers again; with dynamic sizes they are
    # long symbolic expressions.
    del slim.graph.value_info[:]
    _name_sizes(slim)
    check_model(slim, opset=OPSET)
    return slim


def _slim(model: ModelProto) -> ModelProto:
    """Return `model` simplified until nothing more goes."""
    import onnxslim

    while True:
        nodes = len(model.graph.node)
        # ONNX infers the shapes, not onnxslim: its own inference carries values through a Slice
        # of step -1 wrongly (0.1.98), which moved the padding of a fixed-size cost volume to
        # another axis, and it takes most of onnxslim's time.
        inferred = onnx.shape_inference.infer_shapes(model, strict_mode=True, data_prop=True)
        model = onnxslim.slim(inferred, no_shape_infer=True)
        # With a fixed size, the shapes that one pass folds let the next infer more.
        if "Shape" not in op_histogram(model) or len(model.graph.node) >= nodes:
            return model


def _pack(model: ModelProto, weights: Sequence[ValueInfoProto]) -> ModelProto:
    """Return a copy in which weights that differ in their first axis only are one split input.

    onnxslim searches all tensors for each input at each step: the 600 inputs of a network cost it
    a minute, the 60 of the packed form a few seconds.
    """
    packed = ModelProto()
    packed.CopyFrom(model)
    del packed.graph.input[_PICTURES:]
    groups: dict[tuple[int, ...], dict[str, int]] = defaultdict(dict)
    for value in weights:
        shape = [dim.dim_value for dim in value.type.tensor_type.shape.dim]
        groups[tuple(shape[1:])][value.name] = shape[0]
    nodes = []
    for index, (rest, sizes) in enumerate(groups.items()):
        if len(sizes) == 1:  # a split into one part would be removed, and the name with it
            (name,) = sizes
            packed.graph.input.extend(value for value in weights if value.name == name)
            continue
        name = f"{_PACKED}.{index}"
        shape = [sum(sizes.values()), *rest]
        packed.graph.input.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, shape))
        lengths = np.array(list(sizes.values()), np.int64)
        packed.graph.initializer.append(numpy_helper.from_array(lengths, f"{name}.sizes"))
        nodes.append(helper.make_node("Split", [name, f"{name}.sizes"], list(sizes), axis=0))
    nodes.extend(packed.graph.node)
    del packed.graph.node[:]
    packed.graph.node.extend(nodes)
    return packed


def _unpack(model: ModelProto, weights: Sequence[ValueInfoProto]) -> None:
    """Make the weights inputs again, in place.

    Raises:
        ExportError: if simplification rewrote one of them.
    """
    kept = [node for node in model.graph.node if not _is_packed(node.input)]
    used = {name for node in kept for name in node.input}
    if lost := {value.name for value in weights} - used:
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


def _is_packed(names: Iterable[str]) -> bool:
    """Say whether a node with these inputs splits packed weights."""
    return any(name.startswith(_PACKED) for name in names)


def _name_sizes(model: ModelProto) -> None:
    """Give the outputs the same (height, width) as the left picture, number or name."""
    size: list[onnx.TensorShapeProto.Dimension] = list(
        model.graph.input[0].type.tensor_type.shape.dim
    )[:2]
    for value in model.graph.output:
        shape = value.type.tensor_type.shape
        del shape.dim[:]
        shape.dim.extend(size)
