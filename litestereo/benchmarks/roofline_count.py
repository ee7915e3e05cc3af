"""Count what a graph of fixed size computes and moves, node by node and kernel by kernel.

Two accountings. Unfused, each node is a kernel: it reads its inputs and writes its outputs. Fused,
as TensorRT does it:

- a pointwise node joins the kernel that makes its latest operand of its own size: what lies between
  them stays in registers, and is written only where another kernel reads it, too;
- a concatenation costs nothing: what makes its parts writes them in their place;
- contractions, reductions, softmax and norms start a kernel each; so does what moves numbers about
  (Transpose, Slice, Split, Pad, Gather, Resize), which reads only what it keeps.

A change of shape costs nothing in either. Each kernel reads each of its tensors once, weights
included, whatever a cache may save between kernels.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from math import prod

import onnx
from onnx import ModelProto, NodeProto, TensorProto

from litestereo.benchmarks.roofline import Kernel, Layer, Traffic
from litestereo.errors import InputError

__all__ = ["count_kernels", "count_layers", "with_size"]

_VIEWS = frozenset({"Flatten", "Identity", "Reshape", "Squeeze", "Unsqueeze"})
_SELECTIONS = frozenset({"Gather", "Slice", "Split"})
_POINTWISE = frozenset(
    {
        *("Abs", "Add", "Cast", "Clip", "Div", "Erf", "Exp", "LeakyRelu", "Max", "Min", "Mul"),
        *("Neg", "Pow", "Reciprocal", "Relu", "Sigmoid", "Sqrt", "Sub", "Tanh", "Where"),
    }
)
_MOVES = frozenset({"Concat", "Expand", "Gather", "Pad", "Resize", "Slice", "Split", "Transpose"})
# Operations for each number that goes in: pass by pass over the numbers.
_PER_INPUT = {
    **dict.fromkeys(("ReduceMax", "ReduceMean", "ReduceSum"), 1),
    **dict.fromkeys(("AveragePool", "GlobalAveragePool", "GlobalMaxPool"), 1),
    "Softmax": 5,  # largest, difference, exponential, sum, quotient
    **dict.fromkeys(("InstanceNormalization", "LayerNormalization"), 7),
}
_BYTES: dict[int, int] = {
    TensorProto.UINT8: 1,
    TensorProto.INT8: 1,
    TensorProto.BOOL: 1,
    TensorProto.INT64: 8,
}


def with_size(model: ModelProto, size: tuple[int, int]) -> ModelProto:
    """Return a copy whose pictures have this (height, width), its constants folded.

    Args:
        model: graph of any size, or of this one; it stays as it is.
        size: (height, width).

    Raises:
        InputError: the graph is fixed at another size.
        ExportError: it cannot be simplified.
    """
    from litestereo.export.graph import rename_tensors
    from litestereo.export.simplify import simplify

    fixed = ModelProto()
    fixed.CopyFrom(model)
    for value in (*fixed.graph.input, *fixed.graph.output):
        for dim, length in zip(value.type.tensor_type.shape.dim, size, strict=False):
            if dim.dim_value not in (0, length):
                raise InputError(
                    f"{value.name} has {dim.dim_value} where {size[0]}x{size[1]} is asked for; "
                    "export the artefact without --height and --width, or ask for its own size"
                )
            dim.dim_value = length
    del fixed.graph.value_info[:]
    _name_nodes(fixed)
    # Folding names a node after its output, which has to tell its path, too.
    ends = {value.name for value in fixed.graph.output}
    paths = {
        old: f"{node.name}_output_{k}"
        for node in fixed.graph.node
        for k, old in enumerate(node.output)
        if old and node.name and old not in ends
    }
    rename_tensors(fixed, paths)
    return simplify(fixed)


def _name_nodes(model: ModelProto) -> None:
    """Name nodes without a name after the module of what makes their first operand, in place.

    The package's files keep names of contractions, and of what stands between modules.
    """
    made_by: dict[str, str] = {}
    for index, node in enumerate(model.graph.node):
        maker = next((made_by[name] for name in node.input if name in made_by), "")
        if maker and not node.name:
            node.name = f"{maker.rpartition('/')[0]}/{node.op_type}_{index}"
        if node.name:
            made_by.update(dict.fromkeys(node.output, node.name))


def count_layers(model: ModelProto) -> tuple[Layer, ...]:
    """Return what every node of a graph of fixed size computes and moves, in its order.

    Args:
        model: of fixed size, with its constants folded.
    """
    return _Graph(model).layers()


def count_kernels(model: ModelProto) -> tuple[Kernel, ...]:
    """Return the kernels that a fusing engine makes of the graph, in the order they start.

    Args:
        model: of fixed size, with its constants folded.
    """
    return _Graph(model).kernels()


@dataclass(slots=True)
class _Group:
    """The nodes of one kernel."""

    nodes: list[int] = field(default_factory=list)


class _Graph:
    """A graph with shapes, and who makes and reads each tensor."""

    def __init__(self, model: ModelProto) -> None:
        inferred = onnx.shape_inference.infer_shapes(model, strict_mode=True, data_prop=True).graph
        self.nodes: list[NodeProto] = list(inferred.node)
        self.constants = {tensor.name for tensor in inferred.initializer}
        self.outputs = {value.name for value in inferred.output}
        self.shapes: dict[str, tuple[int, ...]] = {}
        self.types: dict[str, int] = {}
        for tensor in inferred.initializer:
            self.shapes[tensor.name] = tuple(tensor.dims)
            self.types[tensor.name] = tensor.data_type
        for value in (*inferred.input, *inferred.value_info, *inferred.output):
            kind = value.type.tensor_type
            self.shapes[value.name] = tuple(dim.dim_value for dim in kind.shape.dim)
            self.types[value.name] = kind.elem_type
        self.typed = TensorProto.FLOAT16 in self.types.values()
        self.blocks = _blocks(self.nodes)
        self._require_sizes()

    def layers(self) -> tuple[Layer, ...]:
        """Return every node on its own."""
        found = []
        for index, node in enumerate(self.nodes):
            idle = node.op_type in _VIEWS
            read = () if idle else self._read(index)
            written = () if idle else tuple(name for name in node.output if name)
            found.append(
                Layer(
                    name=node.name,
                    operator=node.op_type,
                    block=self.blocks[index],
                    macs=self._macs(node),
                    operations=self._operations(node),
                    half=self._traffic(read, written, half=True),
                    full_bytes=self._traffic(read, written, half=False).total,
                )
            )
        return tuple(found)

    def kernels(self) -> tuple[Kernel, ...]:
        """Return the fused kernels."""
        makers: dict[str, int] = {}  # tensor -> its kernel
        parts: dict[str, tuple[str, ...]] = {}  # view or concatenation -> the tensors it is made of
        groups: list[_Group] = []
        for index, node in enumerate(self.nodes):
            if node.op_type in _VIEWS or node.op_type == "Concat":
                sources = node.input[:1] if node.op_type in _VIEWS else node.input
                resolved = tuple(part for name in sources for part in parts.get(name, (name,)))
                parts[node.output[0]] = resolved
                continue
            number = self._host(node, makers, parts)
            if number is None:
                number = len(groups)
                groups.append(_Group())
            groups[number].nodes.append(index)
            makers.update((name, number) for name in node.output if name)
        readers: dict[str, set[int]] = defaultdict(set)
        for number, group in enumerate(groups):
            for index in group.nodes:
                for name, _ in self._read(index):
                    for part in parts.get(name, (name,)):
                        readers[part].add(number)
        kept = {part for name in self.outputs for part in parts.get(name, (name,))}
        return tuple(
            self._kernel(number, group, makers, parts, readers, kept)
            for number, group in enumerate(groups)
        )

    def _host(
        self, node: NodeProto, makers: Mapping[str, int], parts: Mapping[str, tuple[str, ...]]
    ) -> int | None:
        """Return the kernel that a pointwise node joins; None: it starts one."""
        if node.op_type not in _POINTWISE:
            return None
        size = prod(self.shapes[node.output[0]])
        fitting = (
            makers[name]
            for given in node.input
            for name in parts.get(given, (given,))
            if name in makers and prod(self.shapes[name]) == size
        )
        return max(fitting, default=None)

    def _kernel(
        self,
        number: int,
        group: _Group,
        makers: Mapping[str, int],
        parts: Mapping[str, tuple[str, ...]],
        readers: Mapping[str, set[int]],
        kept: set[str],
    ) -> Kernel:
        read: dict[str, int] = {}
        for index in group.nodes:
            for name, count in self._read(index):
                resolved = parts.get(name, (name,))
                for part in resolved:
                    # A part of a concatenation is read whole, a selection only what it keeps.
                    size = prod(self.shapes[part]) if len(resolved) > 1 else count
                    if makers.get(part) != number:
                        read[part] = max(read.get(part, 0), size)
        made = [name for index in group.nodes for name in self.nodes[index].output if name]
        written = tuple(n for n in made if n in kept or readers[n] - {number})
        first = group.nodes[0]
        return Kernel(
            name=self.nodes[first].name,
            operators="+".join(self.nodes[index].op_type for index in group.nodes),
            block=self.blocks[first],
            macs=sum(self._macs(self.nodes[index]) for index in group.nodes),
            operations=sum(self._operations(self.nodes[index]) for index in group.nodes),
            half=self._traffic(tuple(read.items()), written, half=True),
            full_bytes=self._traffic(tuple(read.items()), written, half=False).total,
        )

    def _read(self, index: int) -> tuple[tuple[str, int], ...]:
        """Return the tensors that a node reads, and how many numbers of each."""
        node = self.nodes[index]
        names = [name for name in dict.fromkeys(node.input) if name]
        if node.op_type in _SELECTIONS:
            kept = sum(prod(self.shapes[name]) for name in node.output)
            return ((names[0], min(prod(self.shapes[names[0]]), kept)),)
        if node.op_type in _MOVES and node.op_type != "Concat":
            names = names[:1]
        return tuple((name, prod(self.shapes[name])) for name in names)

    def _traffic(
        self, read: Iterable[tuple[str, int]], written: Iterable[str], *, half: bool
    ) -> Traffic:
        inward = weights = 0
        for name, count in read:
            size = count * self._width(name, half=half)
            if name in self.constants:
                weights += size
            else:
                inward += size
        out = sum(prod(self.shapes[name]) * self._width(name, half=half) for name in written)
        return Traffic(inward, out, weights)

    def _width(self, name: str, *, half: bool) -> int:
        """Return bytes a number; in a graph without types of its own all floats are alike."""
        kind = self.types[name]
        if kind == TensorProto.FLOAT16:
            return 2 if half else 4
        if kind == TensorProto.FLOAT:
            return 2 if half and not self.typed and name not in self.outputs else 4
        return _BYTES.get(kind, 4)

    def _macs(self, node: NodeProto) -> int:
        shapes = [self.shapes.get(name, ()) for name in (*node.input[:2], node.output[0])]
        if node.op_type == "Conv":
            return prod(shapes[2]) * prod(shapes[1][1:])
        if node.op_type == "ConvTranspose":
            return prod(shapes[0]) * prod(shapes[1][1:])
        if node.op_type in ("Gemm", "MatMul"):
            transposed = any(a.name == "transA" and a.i for a in node.attribute)
            return prod(shapes[2]) * shapes[0][-2 if transposed else -1]
        return 0

    def _operations(self, node: NodeProto) -> int:
        if node.op_type in _VIEWS | _MOVES:
            return 0
        if node.op_type in _PER_INPUT:
            return _PER_INPUT[node.op_type] * prod(self.shapes[node.input[0]])
        return 2 * self._macs(node) or prod(self.shapes[node.output[0]])

    def _require_sizes(self) -> None:
        names = (name for node in self.nodes for name in (*node.input, *node.output) if name)
        unknown = [n for n in names if n not in self.shapes or 0 in self.shapes[n][:4]]
        if unknown:
            raise InputError(
                f"the size of {len(unknown)} tensors is unknown, such as {unknown[0]}; give an "
                "artefact that stereo-export wrote"
            )


def _blocks(nodes: list[NodeProto]) -> list[str]:
    """Return the part of the network that each node belongs to.

    A module's nodes carry its path. Those between modules are told by what comes before them: the
    pictures alone, the features alone, or more.
    """
    stage: dict[str, int] = {}
    found = []
    for node in nodes:
        before = max((stage.get(name, 0) for name in node.input), default=0)
        path = node.name.strip("/").split("/")
        modules = path[1:-1] if path[0] == "model" else []
        if modules:
            block = "/".join(modules[: 2 if modules[0].startswith("cost_agg") else 1])
            before = 1 if modules[0] == "fnet" else 2
        else:
            block = ("pictures", "volume", "disparity")[before]
        stage.update(dict.fromkeys(node.output, before))
        found.append(block)
    return found
