"""A graph that is being rewritten: who makes and reads what, and what takes the place of what."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from onnx import ModelProto, NodeProto, helper, numpy_helper

from litestereo.errors import ExportError
from litestereo.export.graph import check_model, opset_of

__all__ = ["Array", "Rewriter", "copy_node", "make_conv", "make_node"]

Array = npt.NDArray[np.float32]


class Rewriter:
    """A copy of a graph that is being rewritten."""

    def __init__(self, model: ModelProto) -> None:
        """Copy the graph.

        Args:
            model: is copied.
        """
        self._model = ModelProto()
        self._model.CopyFrom(model)
        self._tensors = {tensor.name: tensor for tensor in self._model.graph.initializer}
        self._nodes = list(self._model.graph.node)

    def nodes(self) -> list[NodeProto]:
        """Return the nodes as they are now."""
        return list(self._nodes)

    def array(self, name: str) -> Array | None:
        """Return a constant's value, None for what is computed.

        Args:
            name: of a tensor.
        """
        tensor = self._tensors.get(name)
        return None if tensor is None else numpy_helper.to_array(tensor)

    def weights(self, conv: NodeProto) -> tuple[Array, Array]:
        """Return the kernel and bias of a convolution.

        Args:
            conv: a Conv node.

        Raises:
            ExportError: the weights are computed.
        """
        kernel = self.array(conv.input[1])
        if kernel is None:
            raise ExportError(f"{conv.name} has computed weights; simplify the graph first")
        bias = self.array(conv.input[2]) if len(conv.input) > 2 else None
        return kernel, np.zeros(len(kernel), np.float32) if bias is None else bias

    def constant(self, name: str, value: npt.NDArray[Any]) -> str:
        """Store a constant, and return its name.

        Args:
            name: replaces a constant of this name.
            value: is copied.
        """
        self._tensors[name] = numpy_helper.from_array(np.ascontiguousarray(value), name)
        return name

    def producer(self, name: str) -> NodeProto | None:
        """Return the node that makes a tensor.

        Args:
            name: of the tensor.
        """
        return next((node for node in self._nodes if name in node.output), None)

    def readers(self, name: str) -> list[NodeProto]:
        """Return the nodes that read a tensor.

        Args:
            name: of the tensor.
        """
        return [node for node in self._nodes if name in node.input]

    def only_reader(self, name: str) -> NodeProto:
        """Return the one node that reads a tensor.

        Args:
            name: of the tensor.
        """
        (reader,) = self.readers(name)
        return reader

    def replace(self, old: Sequence[NodeProto], new: Sequence[NodeProto]) -> None:
        """Put nodes in the place of others, where the last of those stands.

        Args:
            old: nodes of this graph.
            new: in their order.
        """
        gone = {id(node) for node in old}
        last = max(index for index, node in enumerate(self._nodes) if id(node) in gone)
        before = [node for node in self._nodes[:last] if id(node) not in gone]
        self._nodes = [*before, *new, *self._nodes[last + 1 :]]

    def finished(self) -> ModelProto:
        """Return the graph without what nobody reads any more.

        Raises:
            ExportError: it is not valid ONNX.
        """
        graph = self._model.graph
        kept = {value.name for value in graph.output}
        nodes = []
        for node in reversed(self._nodes):
            if kept.intersection(node.output):
                nodes.append(node)
                kept.update(node.input)
        del graph.node[:], graph.value_info[:]
        tensors = [tensor for name, tensor in self._tensors.items() if name in kept]
        del graph.initializer[:]
        graph.node.extend(reversed(nodes))
        graph.initializer.extend(tensors)
        check_model(self._model, opset=opset_of(self._model))
        return self._model


def make_conv(
    graph: Rewriter, name: str, x: str, kernel: Array, biases: Sequence[Array]
) -> NodeProto:
    """Return a convolution that keeps the size, and store its weights.

    Args:
        graph: that keeps the weights.
        name: of the node; its output is `name`.out.
        x: tensor that goes in.
        kernel: (out, in, ...) float32, odd lengths.
        biases: of the outputs, joined in their order.
    """
    inputs = [
        x,
        graph.constant(f"{name}.weight", kernel),
        graph.constant(f"{name}.bias", np.concatenate(list(biases))),
    ]
    pads = [length // 2 for length in kernel.shape[2:]] * 2
    return make_node("Conv", inputs, f"{name}.out", name=name, pads=pads, group=1)


def make_node(kind: str, inputs: Iterable[str], output: str, **attributes: Any) -> NodeProto:  # noqa: ANN401
    """Return a node that is called as what it makes, unless `name` says otherwise.

    Args:
        kind: of operator.
        inputs: names of tensors.
        output: name of the one tensor that it makes.
        attributes: of the operator, and `name`.
    """
    return helper.make_node(kind, list(inputs), [output], **{"name": output, **attributes})


def copy_node(node: NodeProto, inputs: Iterable[str], output: str) -> NodeProto:
    """Return a copy of a node with other inputs and another output.

    Args:
        node: stays as it is.
        inputs: names of tensors.
        output: name of the one tensor that it makes.
    """
    made = NodeProto()
    made.CopyFrom(node)
    made.input[:], made.output[:] = list(inputs), [output]
    return made
