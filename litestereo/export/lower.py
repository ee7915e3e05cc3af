"""Rewrite a simplified FP32 graph into forms that engines run faster; every answer stays the same.

An FP32 artefact keeps each weight under its own name: of these only `with_spelled_softmax`, which
touches none, suits it. The others are for graphs that are typed anyway: weights merge and move.
"""

from __future__ import annotations

import re

import numpy as np
from onnx import ModelProto, NodeProto

from litestereo.export.rewrite import (
    Array,
    Rewriter,
    copy_node,
    make_conv,
    make_node,
    require_found,
)

__all__ = ["with_folded_scales", "with_merged_strips", "with_spelled_softmax"]

_STRIP = re.compile(r"(?P<gate>.*/att\d+)/(?P<part>conv\d(_\d)?)/Conv")


def with_spelled_softmax(model: ModelProto) -> ModelProto:
    """Return a copy with each softmax over channels as its five steps.

    ONNX Runtime's CPU kernel turns the tensor about to bring the channels last, and back: for the
    nine weights of each of 480x640 pixels it takes five times as long as the steps.

    Args:
        model: the graph, which stays as it is.
    """
    graph = Rewriter(model)
    for node in graph.nodes():
        if node.op_type != "Softmax" or _attribute(node, "axis", -1) != 1:
            continue
        (scores,), (out,), name = node.input, node.output, node.name
        axes = graph.constant(f"{name}.axes", np.array([1]))
        graph.replace(
            [node],
            [
                make_node("ReduceMax", [scores], f"{name}.max", axes=[1]),
                make_node("Sub", [scores, f"{name}.max"], f"{name}.below"),
                make_node("Exp", [f"{name}.below"], f"{name}.exp"),
                make_node("ReduceSum", [f"{name}.exp", axes], f"{name}.sum"),
                make_node("Div", [f"{name}.exp", f"{name}.sum"], out, name=name),
            ],
        )
    return graph.finished()


def with_folded_scales(model: ModelProto) -> ModelProto:
    """Return a copy in which convolutions have taken in the scale per channel that follows them.

    Args:
        model: the graph, which stays as it is.
    """
    graph = Rewriter(model)
    for node in graph.nodes():
        for scale, scaled in (node.input, node.input[::-1]) if node.op_type == "Mul" else ():
            conv, factor = graph.producer(scaled), graph.array(scale)
            if conv is None or conv.op_type != "Conv" or factor is None:
                continue
            kernel, bias = graph.weights(conv)
            if len(graph.readers(scaled)) > 1 or not _is_per_channel(factor, kernel):
                continue
            by_output = factor.reshape(-1, *[1] * (kernel.ndim - 1))
            inputs = [
                conv.input[0],
                graph.constant(f"{conv.name}.weight", kernel * by_output),
                graph.constant(f"{conv.name}.bias", bias * factor.reshape(-1)),
            ]
            graph.replace([conv, node], [copy_node(conv, inputs, node.output[0])])
            break
    return graph.finished()


def with_merged_strips(model: ModelProto) -> ModelProto:
    """Return a copy in which each gate's three strips, and what passes beside them, run as one.

    Eight convolutions and three sums become four convolutions on four times the channels: the
    shorter strips are padded with zeros, what passes beside them has a single 1, and the last
    convolution sums.

    Args:
        model: the graph, which stays as it is.

    Raises:
        ExportError: the graph has no such gates.
    """
    graph = Rewriter(model)
    gates: dict[str, dict[str, NodeProto]] = {}
    for node in graph.nodes():
        if node.op_type == "Conv" and (found := _STRIP.fullmatch(node.name)):
            gates.setdefault(found["gate"], {})[found["part"]] = node
    require_found(gates, "strips of an image attention")
    for gate, parts in gates.items():
        _merge_strips(graph, gate, parts)
    return graph.finished()


def _merge_strips(graph: Rewriter, gate: str, parts: dict[str, NodeProto]) -> None:
    first, last = parts["conv0"], parts["conv3"]
    weight, bias = graph.weights(first)
    mix, mix_bias = graph.weights(last)
    nodes = [
        make_conv(graph, f"{gate}/wide", first.input[0], np.tile(weight, (4, 1, 1, 1)), 4 * [bias])
    ]
    for step in (1, 2):
        strips = [graph.weights(parts[f"conv{number}_{step}"]) for number in range(3)]
        one = np.zeros_like(strips[-1][0])  # of the longest strip's shape
        one[:, :, one.shape[2] // 2, one.shape[3] // 2] = 1
        kernels = [one, *(_centred(strip, one.shape) for strip, _ in strips)]
        biases = [np.zeros_like(own) for _, own in strips[:1]] + [own for _, own in strips]
        kernel = np.concatenate(kernels)
        before = nodes[-1].output[0]
        nodes.append(
            make_conv(graph, f"{gate}/strips_{step}", before, kernel, biases, grouped=True)
        )
    summed = np.tile(mix, (1, 4, 1, 1))
    made = make_conv(graph, f"{gate}/mix", nodes[-1].output[0], summed, [mix_bias])
    made.output[0] = last.output[0]
    graph.replace([*parts.values()], [*nodes, made])


def _centred(kernel: Array, shape: tuple[int, ...]) -> Array:
    """Return a depthwise kernel amid zeros."""
    wide = np.zeros(shape, np.float32)
    row, column = (
        (large - small) // 2 for large, small in zip(shape[2:], kernel.shape[2:], strict=True)
    )
    wide[:, :, row : row + kernel.shape[2], column : column + kernel.shape[3]] = kernel
    return wide


def _is_per_channel(factor: Array, kernel: Array) -> bool:
    """Say whether a factor of a convolution's (1, C, ...) result holds one number a channel."""
    column = (len(kernel), *[1] * (kernel.ndim - 2))
    return factor.shape in (column, (1, *column))


def _attribute(node: NodeProto, name: str, default: int) -> int:
    return next((int(a.i) for a in node.attribute if a.name == name), default)
