"""Make the typed half-precision graph: float16 tensors, with FP32 islands that have names.

Every operator ends up with inputs of one floating type, so the graph means the same to a strongly
typed builder (TensorRT 10 and 11) as it says on paper. Inputs stay uint8 and outputs float32.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass, field

import numpy as np
import onnx
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper

from litestereo.errors import ExportError
from litestereo.export.graph import check_model, constants_to_initializers, opset_of, tensor_types
from litestereo.export.options import OPSET

__all__ = ["KEEP_LIST", "HalfGraph", "half_from_master"]

KEEP_LIST = {
    "picture": "8-bit levels are scaled and shifted exactly before they are rounded to half",
    "instance_norm": "means and variances over a whole image: sums of 1e4 to 1e5 numbers",
    "disparity": "from the softmax over disparities to the full-size picture: half precision is "
    "1/8 px apart above 128 px, and a half sum over 48 levels is off by up to 0.2 px",
    "columns": "numbers of columns: half holds whole ones up to 2048 alone",
    "range": "values left half's range, or lost its precision, on the pairs of the range check",
    "untyped": "operators that ONNX does not define for float16",
}
"""The FP32 islands, by name, and why each is one. LayerNormalization needs none: its statistics
are FP32 by its own definition (stash_type 1) while its tensors are half."""

_CONTRACTIONS = frozenset({"Conv", "ConvTranspose", "MatMul", "Gemm"})
_QUANTIZERS = frozenset({"QuantizeLinear", "DequantizeLinear"})
_MOVES = frozenset(
    {
        *("Concat", "Expand", "Gather", "Identity", "Pad", "Reshape"),
        *("Slice", "Split", "Squeeze", "Transpose", "Unsqueeze"),
    }
)


@dataclass(frozen=True, slots=True)
class HalfGraph:
    """A typed half-precision graph and its precision map.

    Attributes:
        model: the graph.
        islands: names of the nodes kept in FP32, by island of `KEEP_LIST`.
        nodes_by_type: number of nodes that compute in "fp16", in "fp32", and on integers
            ("other"); the casts between them are counted apart as "cast".
    """

    model: ModelProto
    islands: dict[str, tuple[str, ...]]
    nodes_by_type: dict[str, int]

    def precision_map(self) -> dict[str, object]:
        """Return the map as JSON-ready values: shares of the nodes, islands and their reasons."""
        total = sum(self.nodes_by_type.values())
        return {
            "nodes": self.nodes_by_type,
            "share": {name: round(n / total, 4) for name, n in self.nodes_by_type.items()},
            "islands": {
                name: {"reason": KEEP_LIST[name], "nodes": list(nodes)}
                for name, nodes in self.islands.items()
            },
        }


def half_from_master(
    master: ModelProto, *, widened: Collection[str] = (), opset: int = OPSET
) -> HalfGraph:
    """Return the typed half-precision form of an FP32 graph.

    Args:
        master: simplified FP32 graph with its weights as initializers.
        widened: tensors that must not be stored in half; what makes or reads them stays FP32.
        opset: of the graph; one with Q/DQ must have 19, where their steps may be half.

    Raises:
        ExportError: if the result is not valid ONNX.
    """
    graph = _Graph(master)
    islands = _islands(graph, widened)
    writer = _Writer(graph, frozenset(islands))
    model = writer.write()
    check_model(model, opset=opset)
    tensor_types(model)
    names: dict[str, list[str]] = defaultdict(list)
    for index, island in sorted(islands.items()):
        names[island].append(graph.nodes[index].name)
    return HalfGraph(
        model, {name: tuple(names[name]) for name in KEEP_LIST if name in names}, writer.counts()
    )


class _Graph:
    """An FP32 graph with what the analysis asks about it: types, producers, consumers."""

    def __init__(self, master: ModelProto) -> None:
        self.model = ModelProto()
        self.model.CopyFrom(master)
        constants_to_initializers(self.model)
        self.nodes: list[NodeProto] = list(self.model.graph.node)
        self.types = tensor_types(self.model)
        self.opset = opset_of(self.model)
        self.outputs = {value.name for value in self.model.graph.output}
        self.producer = {out: i for i, n in enumerate(self.nodes) for out in n.output if out}
        self.consumers: dict[str, list[int]] = defaultdict(list)
        for index, node in enumerate(self.nodes):
            for name in dict.fromkeys(node.input):
                self.consumers[name].append(index)

    def is_float(self, name: str) -> bool:
        """Say whether a tensor is float32."""
        return self.types.get(name) == TensorProto.FLOAT

    def computes(self, index: int) -> bool:
        """Say whether a node makes float32 tensors, or reads one to quantise it."""
        node = self.nodes[index]
        return node.op_type == "QuantizeLinear" or any(map(self.is_float, node.output))

    def readers(self, index: int) -> Iterable[int]:
        """Return the nodes that read a node's outputs."""
        return (reader for name in self.nodes[index].output for reader in self.consumers[name])


def _islands(graph: _Graph, widened: Collection[str]) -> dict[int, str]:
    """Return the island of every node that stays in FP32, by node index."""
    islands: dict[int, str] = {}
    _add_cone(graph, islands, "picture", _reads_picture)
    _add_cone(graph, islands, "disparity", lambda _, node: node.op_type == "Softmax")
    _add_cone(graph, islands, "columns", lambda _, node: node.op_type == "Range")
    _release_moves(graph, islands)
    for index, node in enumerate(graph.nodes):
        if node.op_type == "InstanceNormalization":
            islands[index] = "instance_norm"
        elif graph.computes(index) and not _allows_half(graph, node):
            islands.setdefault(index, "untyped")
    for name in widened:
        made_by = [graph.producer[name]] if name in graph.producer else []
        for index in (*made_by, *graph.consumers[name]):
            if graph.computes(index):
                islands.setdefault(index, "range")
    return islands


def _reads_picture(graph: _Graph, node: NodeProto) -> bool:
    """Say whether a node turns 8-bit levels into floats."""
    return node.op_type == "Cast" and graph.types.get(node.input[0]) == TensorProto.UINT8


def _add_cone(
    graph: _Graph,
    islands: dict[int, str],
    island: str,
    starts: Callable[[_Graph, NodeProto], bool],
) -> None:
    """Claim the nodes that start an island and all that follow, up to the next learned layer."""
    pending = [index for index, node in enumerate(graph.nodes) if starts(graph, node)]
    while pending:
        index = pending.pop()
        ends = graph.nodes[index].op_type in _CONTRACTIONS | _QUANTIZERS
        blocked = ends or not graph.computes(index)
        if index in islands or blocked:
            continue
        islands[index] = island
        pending.extend(graph.readers(index))


def _release_moves(graph: _Graph, islands: dict[int, str]) -> None:
    """Release nodes that only move numbers to half readers: rounding first gives the same."""
    for index in sorted(islands, reverse=True):
        node = graph.nodes[index]
        feeds_half = all(graph.computes(i) and i not in islands for i in graph.readers(index))
        if node.op_type in _MOVES and feeds_half and not graph.outputs.intersection(node.output):
            del islands[index]


def _allows_half(graph: _Graph, node: NodeProto) -> bool:
    """Say whether every float32 output of a node may be float16 instead."""
    return all(
        "tensor(float16)" in _parameter(node, index, opset=graph.opset, outputs=True).types
        for index, name in enumerate(node.output)
        if graph.is_float(name)
    )


def _parameter(
    node: NodeProto, index: int, *, opset: int, outputs: bool = False
) -> onnx.defs.OpSchema.FormalParameter:
    """Return the schema's description of one input or output; the last may repeat."""
    schema = onnx.defs.get_schema(node.op_type, opset, node.domain)
    parameters = schema.outputs if outputs else schema.inputs
    return parameters[min(index, len(parameters) - 1)]


@dataclass(slots=True)
class _Writer:
    """Rewrites a graph node by node, casting each tensor at most once to each type."""

    graph: _Graph
    full: frozenset[int]
    nodes: list[NodeProto] = field(default_factory=list)
    half_tensors: set[str] = field(default_factory=set)
    casts: dict[str, str] = field(default_factory=dict)
    constants: dict[str, TensorProto] = field(default_factory=dict)

    def write(self) -> ModelProto:
        """Return the rewritten graph."""
        source = {tensor.name: tensor for tensor in self.graph.model.graph.initializer}
        for index, node in enumerate(self.graph.nodes):
            self._write_node(index, node, source)
        model = ModelProto()
        model.CopyFrom(self.graph.model)
        del model.graph.node[:], model.graph.initializer[:], model.graph.value_info[:]
        model.graph.node.extend(self.nodes)
        model.graph.initializer.extend(self.constants.values())
        return model

    def counts(self) -> dict[str, int]:
        """Return the number of nodes by the type they compute in."""
        kinds = Counter(cast=len(self.casts))
        for index in range(len(self.graph.nodes)):
            is_full = index in self.full
            counts = self.graph.computes(index)
            counts = counts and self.graph.nodes[index].op_type not in _QUANTIZERS
            kinds["other" if not counts else "fp32" if is_full else "fp16"] += 1
        return {name: kinds[name] for name in ("fp16", "fp32", "cast", "other")}

    def _write_node(self, index: int, node: NodeProto, source: dict[str, TensorProto]) -> None:
        """Write one node in the type that was chosen for it."""
        computes = self.graph.computes(index)
        half = computes and index not in self.full
        if half and self.graph.outputs.intersection(node.output):
            raise ExportError(f"node {node.name} makes an output but lies in no FP32 island")
        for position, name in enumerate(node.input):
            if not self.graph.is_float(name):
                self._keep_constant(name, source)
            elif name in source:
                wants_half = half and self._takes_half(node, position)
                node.input[position] = self._constant(source[name], half=wants_half)
            elif computes or len(node.input) > 1:
                wants_half = half and self._takes_half(node, position)
                node.input[position] = self._tensor(name, half=wants_half)
        if half:
            self.half_tensors.update(name for name in node.output if self.graph.is_float(name))
            _retype_attributes(node)
        self.nodes.append(node)

    def _takes_half(self, node: NodeProto, position: int) -> bool:
        """Say whether an input may be float16 (Resize's scales may not)."""
        return "tensor(float16)" in _parameter(node, position, opset=self.graph.opset).types

    def _keep_constant(self, name: str, source: dict[str, TensorProto]) -> None:
        """Carry a constant that is not float32 over as it is."""
        if name in source:
            self.constants[name] = source[name]

    def _constant(self, tensor: TensorProto, *, half: bool) -> str:
        """Return the name of a constant in the wanted type, stored once for each type."""
        name = f"{tensor.name}::float16" if half else tensor.name
        if name not in self.constants:
            array = numpy_helper.to_array(tensor)
            with np.errstate(over="ignore"):  # the range check's and the gate's business
                typed = array.astype(np.float16) if half else array
            self.constants[name] = numpy_helper.from_array(typed, name)
        return name

    def _tensor(self, name: str, *, half: bool) -> str:
        """Return the name under which a tensor has the wanted type, casting it if need be."""
        if (name in self.half_tensors) == half:
            return name
        if name not in self.casts:
            kind = TensorProto.FLOAT16 if half else TensorProto.FLOAT
            self.casts[name] = f"{name}::{'float16' if half else 'float32'}"
            self.nodes.append(
                helper.make_node("Cast", [name], [self.casts[name]], f"{name}/Cast", to=kind)
            )
        return self.casts[name]


def _retype_attributes(node: NodeProto) -> None:
    """Make a node that names its output type in an attribute say float16."""
    for attribute in node.attribute:
        if node.op_type == "Cast" and attribute.name == "to":
            attribute.i = TensorProto.FLOAT16
        elif node.op_type == "ConstantOfShape" and attribute.name == "value":
            array = numpy_helper.to_array(attribute.t).astype(np.float16)
            attribute.t.CopyFrom(numpy_helper.from_array(array))
