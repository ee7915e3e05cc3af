"""Convert a graph of opset 18 to opset 17, for the few operators that changed in between.

onnx.version_converter goes up but not down here ("No Adapter To Version 17 for Pad"), and the
dynamo exporter writes nothing older than 18. Relabelling alone would be wrong: TensorRT 8.6 reads
the axes of a reduction from the attribute that opset 18 turned into an input.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import numpy.typing as npt
import onnx
from onnx import ModelProto, NodeProto, helper, numpy_helper

from litestereo.errors import ExportError
from litestereo.export.graph import opset_of

__all__ = ["opset_17_from_18"]

_Constants = Mapping[str, npt.NDArray[np.generic]]

_REDUCTIONS = (
    "ReduceL1",
    "ReduceL2",
    "ReduceLogSum",
    "ReduceLogSumExp",
    "ReduceMax",
    "ReduceMean",
    "ReduceMin",
    "ReduceProd",
    "ReduceSumSquare",
)


def opset_17_from_18(model: ModelProto) -> ModelProto:
    """Return a copy of `model`, of opset 18, that says the same in opset 17.

    Args:
        model: the graph, which stays as it is.

    Raises:
        ExportError: if an operator or one of its new options has no equal in opset 17.
    """
    if opset_of(model) != 18:
        raise ExportError(f"the graph has opset {opset_of(model)}; the converter takes 18")
    older = ModelProto()
    older.CopyFrom(model)
    constants = _constants(older)
    for node in older.graph.node:
        if onnx.defs.get_schema(node.op_type, 18, node.domain).since_version == 18:
            _converter(node)(node, constants)
    for entry in older.opset_import:
        if entry.domain in ("", "ai.onnx"):
            entry.version = 17
    return older


def _constants(model: ModelProto) -> dict[str, npt.NDArray[np.generic]]:
    """Return every constant of the graph by name."""
    found = {t.name: numpy_helper.to_array(t) for t in model.graph.initializer}
    for node in model.graph.node:
        if node.op_type == "Constant" and node.attribute[0].name == "value":
            found[node.output[0]] = numpy_helper.to_array(node.attribute[0].t)
    return found


def _converter(node: NodeProto) -> Callable[[NodeProto, _Constants], None]:
    """Return the function that rewrites this node."""
    try:
        return _CONVERTERS[node.op_type]
    except KeyError:
        raise ExportError(
            f"operator {node.op_type} (node {node.name}) changed in opset 18 and has no "
            "conversion to 17; use --exporter torchscript"
        ) from None


def _reduction(node: NodeProto, constants: _Constants) -> None:
    """Turn the axes input back into the attribute."""
    axes = _constant_input(node, 1, constants)
    _drop_attribute(node, "noop_with_empty_axes", default=0)
    del node.input[1:]
    if axes is not None:
        node.attribute.append(helper.make_attribute("axes", [int(axis) for axis in axes]))


def _pad(node: NodeProto, constants: _Constants) -> None:
    """Opset 17 pads all axes, always: refuse a list of some."""
    if len(node.input) > 3 and node.input[3]:
        raise ExportError(
            f"Pad {node.name} names its axes, which opset 17 cannot; use --exporter torchscript"
        )


def _split(node: NodeProto, constants: _Constants) -> None:
    """Opset 17 splits into equal parts when no sizes are given, which is what num_outputs says."""
    _drop_attribute(node, "num_outputs", default=len(node.output))


def _resize(node: NodeProto, constants: _Constants) -> None:
    """Drop the new options where they say what opset 17 does."""
    _drop_attribute(node, "antialias", default=0)
    _drop_attribute(node, "keep_aspect_ratio_policy", default=b"stretch")
    if any(attribute.name == "axes" for attribute in node.attribute):
        raise ExportError(
            f"Resize {node.name} names its axes, which opset 17 cannot; use --exporter torchscript"
        )


def _constant_input(
    node: NodeProto, index: int, constants: _Constants
) -> npt.NDArray[np.generic] | None:
    """Return the value of an optional input, which must be constant."""
    if len(node.input) <= index or not node.input[index]:
        return None
    try:
        return constants[node.input[index]]
    except KeyError:
        raise ExportError(
            f"{node.op_type} {node.name} computes its input {node.input[index]}; opset 17 needs it "
            "constant: use --exporter torchscript"
        ) from None


def _drop_attribute(node: NodeProto, name: str, *, default: object) -> None:
    """Remove an attribute that opset 17 does not know; it must have its neutral value."""
    for attribute in list(node.attribute):
        if attribute.name != name:
            continue
        value = helper.get_attribute_value(attribute)
        if value != default:
            raise ExportError(
                f"{node.op_type} {node.name} has {name} {value}; opset 17 has none: use --exporter "
                "torchscript"
            )
        node.attribute.remove(attribute)


_CONVERTERS: dict[str, Callable[[NodeProto, _Constants], None]] = {
    **dict.fromkeys(_REDUCTIONS, _reduction),
    "Pad": _pad,
    "Split": _split,
    "Resize": _resize,
}
