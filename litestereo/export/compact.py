"""The smallest file of an FP32 graph: weights in half precision, few and short names inside.

The package carries its weights in this form. They keep their names, so that `load_weights` finds
them; nodes keep what tells the part of the network that they belong to (`stereo-bench roofline`).
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Collection, Sequence

import numpy as np
import onnx
from onnx import ModelProto, NodeProto, TensorProto
from onnx.helper import make_node
from onnx.numpy_helper import from_array, to_array

from litestereo.export.graph import attribute_of, rename_tensors

__all__ = ["compacted"]

_CONTRACTIONS = frozenset({"Conv", "ConvTranspose", "MatMul"})


def compacted(model: ModelProto, *, weights: Collection[str]) -> ModelProto:
    """Return a copy whose weights are float16, and become float32 again as the graph is loaded.

    Batch norms over 2-D maps become a product and a sum; other norms' vectors stay float32, and so
    does what has a value that half cannot hold. All tensors but weights, inputs and outputs get
    short names, and nodes shorter ones or none.

    Args:
        model: FP32 graph, which stays as it is.
        weights: names of initializers.
    """
    copy = ModelProto()
    copy.CopyFrom(model)
    graph = copy.graph
    stored = {tensor.name: tensor for tensor in graph.initializer}
    with np.errstate(over="ignore"):
        halves = {name: to_array(stored[name]).astype(np.float16) for name in weights}
    held = {name for name, half in halves.items() if np.isfinite(half).all()}
    norms, kept = _batch_norms(model, held=held)
    for name in held.difference(*(node.input for node in kept)):
        stored[name].CopyFrom(from_array(halves[name], name))
    vectors = {name for node in norms for name in node.input[1:]}
    # In the initializers' order, so that equal graphs make equal files.
    casts = [t.name for t in graph.initializer if t.data_type == TensorProto.FLOAT16]
    wide = {name: f"{name}::float32" for name in casts if name not in vectors}
    nodes = [make_node("Cast", [name], [wide[name]], to=TensorProto.FLOAT) for name in wide]
    nodes += _factors_and_summands(copy, norms)
    spelled = {node.output[0] for node in norms}
    for node in graph.node:
        node.input[:] = [wide.get(name, name) for name in node.input]
        nodes += _product_and_sum(node) if node.output[0] in spelled else [node]
    del graph.node[:], graph.value_info[:]
    graph.node.extend(nodes)
    _shorten_paths(graph.node)
    _shorten_names(copy, kept={*weights, *(v.name for v in (*graph.input, *graph.output))})
    return copy


def _batch_norms(
    model: ModelProto, *, held: Collection[str]
) -> tuple[list[NodeProto], list[NodeProto]]:
    """Return the batch norms that become a product and a sum, and those that stay.

    Args:
        model: the graph.
        held: names of the weights that half can hold.
    """
    maps = _maps(model)
    readers = Counter(name for node in model.graph.node for name in node.input)
    norms: list[NodeProto] = []
    kept: list[NodeProto] = []
    for node in model.graph.node:
        if node.op_type == "BatchNormalization":
            own = all(name in held and readers[name] == 1 for name in node.input[1:])
            alike = not norms or _epsilon(node) == _epsilon(norms[0])
            (norms if node.input[0] in maps and own and alike else kept).append(node)
    return norms, kept


def _epsilon(norm: NodeProto) -> float:
    return float(attribute_of(norm, "epsilon", 1e-5))


def _maps(model: ModelProto) -> set[str]:
    """Return the names of what has four dimensions."""
    graph = onnx.shape_inference.infer_shapes(model).graph
    values = (*graph.input, *graph.value_info)
    return {value.name for value in values if len(value.type.tensor_type.shape.dim) == 4}


def _factors_and_summands(model: ModelProto, norms: Sequence[NodeProto]) -> list[NodeProto]:
    """Return what computes both for all batch norms at once, as the graph is loaded.

    TensorRT takes a batch norm's own vectors from initializers alone (TensorRT-RTX 1.7.1 crashes
    at computed ones), and a Cast for each would cost the file what half precision saves.
    """
    if not norms:
        return []
    lengths = {t.name: t.dims[0] for t in model.graph.initializer if len(t.dims) == 1}
    constants = {
        "norms/epsilon": np.array(_epsilon(norms[0]), np.float32),
        "norms/shape": np.array([-1, 1, 1]),
        "norms/lengths": np.array([lengths[node.input[1]] for node in norms]),
    }
    model.graph.initializer.extend(from_array(value, name) for name, value in constants.items())
    nodes = []
    for k, kind in enumerate(("weights", "biases", "means", "variances"), start=1):
        half = f"norms/{kind}/half"
        nodes.append(make_node("Concat", [node.input[k] for node in norms], [half], axis=0))
        nodes.append(make_node("Cast", [half], [f"norms/{kind}"], to=TensorProto.FLOAT))
    for operator, *inputs, output in (
        ("Add", "variances", "epsilon", "raised"),
        ("Sqrt", "raised", "deviations"),
        ("Div", "weights", "deviations", "factors"),
        ("Mul", "means", "factors", "moved"),
        ("Sub", "biases", "moved", "summands"),
        ("Reshape", "factors", "shape", "factors/maps"),
        ("Reshape", "summands", "shape", "summands/maps"),
    ):
        nodes.append(make_node(operator, [f"norms/{i}" for i in inputs], [f"norms/{output}"]))
    for kind in ("factors", "summands"):
        parts = [f"{node.output[0]}/{kind}" for node in norms]
        nodes.append(make_node("Split", [f"norms/{kind}/maps", "norms/lengths"], parts, axis=0))
    return nodes


def _product_and_sum(norm: NodeProto) -> list[NodeProto]:
    (out,) = norm.output
    product = f"{out}/product"
    return [
        make_node("Mul", [norm.input[0], f"{out}/factors"], [product]),
        make_node("Add", [product, f"{out}/summands"], [out]),
    ]


def _shorten_paths(nodes: Sequence[NodeProto]) -> None:
    """Leave two modules of the paths of contractions, and none to what follows them."""
    for index, node in enumerate(nodes):
        model, *modules = node.name.strip("/").split("/")[:-1] or [""]
        if modules and node.op_type in _CONTRACTIONS:
            node.name = "/".join(("", model, *modules[:2], f"{node.op_type}_{index}"))
        elif modules:
            node.ClearField("name")


def _shorten_names(model: ModelProto, *, kept: Collection[str]) -> None:
    graph = model.graph
    inner = [t.name for t in graph.initializer] + [name for n in graph.node for name in n.output]
    numbers = (name for k in itertools.count() if (name := f"{k:x}") not in kept)
    rename_tensors(model, {name: next(numbers) for name in inner if name and name not in kept})
