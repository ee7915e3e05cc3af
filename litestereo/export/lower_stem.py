"""LAS1's 3-D stem as 2-D convolutions, which more engines have good kernels for."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
from onnx import ModelProto, NodeProto

from litestereo.errors import ExportError
from litestereo.export.rewrite import (
    Array,
    Rewriter,
    copy_node,
    make_conv,
    make_node,
)
from litestereo.models.registry import DISPARITY_LEVELS

__all__ = ["has_stem", "with_stem_in_blocks", "with_stem_in_planes"]

_BLOCK = 4  # disparities that make a block: 16 channels, a tensor core's width


def has_stem(model: ModelProto) -> bool:
    """Say whether a graph has the 3-D stem that these functions rewrite.

    Args:
        model: the graph.
    """
    return bool(_stem_of(Rewriter(model)))


def with_stem_in_planes(model: ModelProto) -> ModelProto:
    """Return a copy whose 3-D stem is three 2-D convolutions over all disparities at once.

    The kernels are bands: 16 times the multiply-adds in the middle, in one large product that any
    engine has a good kernel for. TensorRT 8.6 needs 0.09 ms instead of 0.38 (H200, 384x1248).

    Args:
        model: the graph, which stays as it is.

    Raises:
        ExportError: the graph has no such stem.
    """

    def layer(graph: Rewriter, name: str, x: str, kernel: Array, bias: Array) -> list[NodeProto]:
        band = _banded(kernel, outputs=DISPARITY_LEVELS, inputs=DISPARITY_LEVELS, first=-1)
        return [make_conv(graph, name, x, band, DISPARITY_LEVELS * [bias])]

    return _with_stem(model, layer)


def with_stem_in_blocks(model: ModelProto) -> ModelProto:
    """Return a copy whose 3-D stem is three 2-D convolutions over blocks of disparities.

    A block is four disparities, and one more on each side to read: 24 channels in, 16 out, the same
    kernel for every block, so that the blocks are a batch. Half of the multiply-adds are by zero.

    Args:
        model: the graph, which stays as it is.

    Raises:
        ExportError: the graph has no such stem.
    """

    def layer(graph: Rewriter, name: str, x: str, kernel: Array, bias: Array) -> list[NodeProto]:
        channels_out, channels_in = kernel.shape[:2]
        halo, count = _BLOCK + 2, DISPARITY_LEVELS // _BLOCK
        pads = graph.constant(f"{name}.pads", _sides(1, channels_in))
        starts = np.arange(count)[:, None] * _BLOCK * channels_in
        index = (starts + np.arange(halo * channels_in)).reshape(-1)
        taken = graph.constant(f"{name}.index", index)
        as_batch = graph.constant(f"{name}.batch", np.array([count, halo * channels_in, 0, 0]))
        # Sizes of 0 are copied from the input, so heights and widths may stay unknown.
        as_one = graph.constant(f"{name}.one", np.array([1, DISPARITY_LEVELS * channels_out, 0, 0]))
        band = _banded(kernel, outputs=_BLOCK, inputs=halo, first=0)
        return [
            make_node("Pad", [x, pads], f"{name}.padded"),
            make_node("Gather", [f"{name}.padded", taken], f"{name}.taken", axis=1),
            make_node("Reshape", [f"{name}.taken", as_batch], f"{name}.blocks"),
            make_conv(graph, name, f"{name}.blocks", band, _BLOCK * [bias]),
            make_node("Reshape", [f"{name}.out", as_one], f"{name}.joined"),
        ]

    return _with_stem(model, layer)


def _stem_of(graph: Rewriter) -> list[NodeProto]:
    """Return the convolutions in 3-D: no other part of a network has any."""
    kernels = ((n, graph.array(n.input[1])) for n in graph.nodes() if n.op_type == "Conv")
    return [node for node, kernel in kernels if kernel is not None and kernel.ndim == 5]


def _with_stem(model: ModelProto, layer: Callable[..., list[NodeProto]]) -> ModelProto:
    """Return a copy with each 3-D convolution of the stem as what `layer` makes of it."""
    graph = Rewriter(model)
    stem = _stem_of(graph)
    if not stem:
        raise ExportError("the graph has no 3-D stem to rewrite; only las1 has one")
    raised = graph.producer(stem[0].input[0])
    lowered = graph.only_reader(graph.only_reader(stem[-1].output[0]).output[0])
    if raised is None or (raised.op_type, lowered.op_type) != ("Unsqueeze", "Squeeze"):
        raise ExportError("the 3-D stem is not between an Unsqueeze and a Squeeze; export it anew")
    nodes: list[NodeProto] = []
    old, x = [raised, lowered], raised.input[0]
    for conv in stem:
        clip = graph.only_reader(conv.output[0])
        nodes += layer(graph, conv.name, x, *graph.weights(conv))
        x = clip.output[0] if conv is not stem[-1] else lowered.output[0]
        nodes.append(copy_node(clip, [nodes[-1].output[0], *clip.input[1:]], x))
        old += [conv, clip]
    graph.replace(old, nodes)
    return graph.finished()


def _banded(kernel: Array, *, outputs: int, inputs: int, first: int) -> Array:
    """Return the 2-D kernel over stacked levels that does what a 3-D kernel does along them.

    Args:
        kernel: (O, I, 3, kh, kw), its depth along the levels.
        outputs: levels that it makes.
        inputs: levels that it reads.
        first: input level under the kernel's first step, of output level 0; levels that are not
            there are zero.
    """
    out, into, depth, *area = kernel.shape
    band = np.zeros((outputs, out, inputs, into, *area), np.float32)
    for level in range(outputs):
        for step in range(depth):
            source = level + first + step
            if 0 <= source < inputs:
                band[level, :, source] = kernel[:, :, step]
    return band.reshape(outputs * out, inputs * into, *area)


def _sides(axis: int, width: int) -> npt.NDArray[np.int64]:
    """Return Pad's widths of a 4-D tensor: `width` on both sides of one axis."""
    return np.array([width if position % 4 == axis else 0 for position in range(8)], np.int64)
