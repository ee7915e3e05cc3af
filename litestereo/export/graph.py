"""Small, exact operations on ONNX graphs that the export steps share."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import ModelProto, NodeProto, helper, numpy_helper

from litestereo.errors import ExportError

__all__ = [
    "attach_weights",
    "attribute_of",
    "check_model",
    "constants_to_initializers",
    "op_histogram",
    "opset_of",
    "rename_tensors",
    "tensor_types",
]


def attribute_of(node: NodeProto, name: str, default: Any) -> Any:  # noqa: ANN401 - of any kind
    """Return the value of a node's attribute, or `default` where it has none of this name.

    Args:
        node: stays as it is.
        name: of the attribute.
        default: what ONNX says that it is then.
    """
    values = (helper.get_attribute_value(a) for a in node.attribute if a.name == name)
    return next(values, default)


def op_histogram(model: ModelProto) -> dict[str, int]:
    """Return how often each operator occurs, most frequent first.

    Args:
        model: the graph, which stays as it is.
    """
    return dict(Counter(node.op_type for node in model.graph.node).most_common())


def opset_of(model: ModelProto) -> int:
    """Return the version of the default operator set.

    Args:
        model: the graph, which stays as it is.
    """
    versions = {entry.domain: int(entry.version) for entry in model.opset_import}
    return versions.get("", versions.get("ai.onnx", 0))


def check_model(model: ModelProto, *, opset: int) -> None:
    """Raise unless `model` is self-contained, valid and of exactly this `opset`.

    Args:
        model: the graph, which stays as it is.
        opset: of the default operator set.

    Raises:
        ExportError: naming what is wrong.
    """
    if opset_of(model) != opset or any(e.domain not in ("", "ai.onnx") for e in model.opset_import):
        found = ", ".join(f"{e.domain or 'ai.onnx'} {e.version}" for e in model.opset_import)
        raise ExportError(f"the graph needs operator sets {found}; it must be ai.onnx {opset} only")
    outside = [t.name for t in model.graph.initializer if t.external_data]
    if outside:
        raise ExportError(
            f"{len(outside)} tensors lie outside the file, first {outside[0]}; save the model with "
            "its tensors inside"
        )
    try:
        onnx.checker.check_model(model, full_check=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
        raise ExportError(
            f"the exported graph is not valid ONNX: {error}; try another --exporter"
        ) from error


def rename_tensors(model: ModelProto, names: Mapping[str, str]) -> None:
    """Rename inputs, initializers and what nodes make, and their uses, in place.

    Args:
        model: is changed.
        names: new name by old name; others stay, as the graph's outputs have to.
    """
    for tensor in (*model.graph.input, *model.graph.initializer):
        tensor.name = names.get(tensor.name, tensor.name)
    for node in model.graph.node:
        node.input[:] = [names.get(name, name) for name in node.input]
        node.output[:] = [names.get(name, name) for name in node.output]


def attach_weights(model: ModelProto, weights: Mapping[str, npt.NDArray[np.float32]]) -> ModelProto:
    """Return a copy in which the graph inputs named in `weights` became initializers.

    Args:
        model: the graph, which stays as it is.
        weights: by the input's name.
    """
    attached = ModelProto()
    attached.CopyFrom(model)
    kept = [value for value in attached.graph.input if value.name not in weights]
    used = [value.name for value in attached.graph.input if value.name in weights]
    del attached.graph.input[:]
    attached.graph.input.extend(kept)
    attached.graph.initializer.extend(
        numpy_helper.from_array(np.ascontiguousarray(weights[name]), name) for name in used
    )
    return attached


def constants_to_initializers(model: ModelProto) -> None:
    """Turn Constant nodes into initializers, in place, so that there is one kind of constant.

    Args:
        model: is changed.
    """
    kept = []
    for node in model.graph.node:
        if node.op_type != "Constant":
            kept.append(node)
            continue
        array = numpy_helper.to_array(_constant_tensor(node))
        model.graph.initializer.append(numpy_helper.from_array(array, node.output[0]))
    del model.graph.node[:]
    model.graph.node.extend(kept)


def _constant_tensor(node: NodeProto) -> onnx.TensorProto:
    """Return the value of a Constant node, whichever attribute holds it."""
    attribute = node.attribute[0]
    if attribute.name == "value":
        tensor: onnx.TensorProto = attribute.t
        return tensor
    value = helper.get_attribute_value(attribute)
    dtype = np.float32 if "float" in attribute.name else np.int64
    return numpy_helper.from_array(np.asarray(value, dtype))


def tensor_types(model: ModelProto) -> dict[str, int]:
    """Return the element type (`onnx.TensorProto.FLOAT`, ...) of every tensor in the graph.

    Args:
        model: the graph, which stays as it is.

    Raises:
        ExportError: if shape inference cannot tell one of them.
    """
    graph = onnx.shape_inference.infer_shapes(model, strict_mode=True).graph
    types = {t.name: t.data_type for t in graph.initializer}
    for value in (*graph.input, *graph.value_info, *graph.output):
        types[value.name] = value.type.tensor_type.elem_type
    unknown = [name for node in graph.node for name in node.output if name and name not in types]
    if unknown:
        raise ExportError(
            f"ONNX cannot infer the type of {len(unknown)} tensors: {unknown[:3]}; try another "
            "--exporter"
        )
    return types
