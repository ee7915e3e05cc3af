"""Simplify an exported graph without losing the name of a single weight."""

from __future__ import annotations

import onnx
from onnx import ModelProto

from litestereo.errors import ExportError
from litestereo.export.graph import check_model
from litestereo.export.options import OPSET

__all__ = ["simplify"]

# The oldest IR that holds opset 17, so that the oldest readers (TensorRT 8.6, ONNX Runtime 1.18)
# accept the file; torch and onnxslim would stamp newer ones.
_IR_VERSION = 8


def simplify(model: ModelProto) -> ModelProto:
    """Return `model` with its constants folded and its redundant operators removed.

    Weights that are graph inputs stay untouched, because nothing can be folded into or merged
    with an input; weights that are initializers are folded (BatchNorm into convolutions too).

    Raises:
        ExportError: if the result is not valid ONNX of opset 17, or lost an input.
    """
    import onnxslim

    slim = onnxslim.slim(model)
    if slim is None:
        raise ExportError("onnxslim returned no graph; try another onnxslim version (>= 0.1.50)")
    lost = {value.name for value in model.graph.input} - {value.name for value in slim.graph.input}
    if lost:
        raise ExportError(f"simplification dropped the inputs {sorted(lost)[:5]}; they are needed")
    slim.ir_version = _IR_VERSION
    # Intermediate shapes are hints that every reader infers again; with dynamic sizes they are
    # long symbolic expressions.
    del slim.graph.value_info[:]
    _name_sizes(slim)
    check_model(slim, opset=OPSET)
    return slim


def _name_sizes(model: ModelProto) -> None:
    """Give the outputs the same (height, width) as the left picture, number or name."""
    size: list[onnx.TensorShapeProto.Dimension] = list(
        model.graph.input[0].type.tensor_type.shape.dim
    )[:2]
    for value in model.graph.output:
        shape = value.type.tensor_type.shape
        del shape.dim[:]
        shape.dim.extend(size)
