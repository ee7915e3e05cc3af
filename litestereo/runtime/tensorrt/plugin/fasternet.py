"""Find the FasterNet blocks (arXiv 2303.03667) of a graph, each for one plugin."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from litestereo.runtime.tensorrt.plugin.library import FASTERNET
from litestereo.runtime.tensorrt.plugin.onnx_graph import OnnxGraph
from litestereo.runtime.tensorrt.plugin.parts import Part
from litestereo.runtime.tensorrt.plugin.pattern import Array, Op, match
from litestereo.runtime.tensorrt.plugin.pixelwise import pack_pixelwise, two_layers

__all__ = ["EXPANSIONS", "find_fasternet", "pack_mixing"]

EXPANSIONS = {40: 2, 48: 4, 80: 2, 96: 4, 160: 2, 192: 4}
"""Channels for which the plugin has a kernel, and how many times as many the block has inside."""

_TOGETHER, _HIDDEN_TOGETHER = 16, 64  # channels, and hidden ones, that the kernel takes at a time

_MIXED, _KEPT = (
    Op("Split", ("x", Array(shape=(2,), name="shares")), {"axis": (1,)}, output=output)
    for output in (0, 1)
)
_CONVOLVED = Op(
    "Conv",
    (_MIXED, Array(shape=(None, None, 3, 3), name="mixing")),
    {
        **{"pads": (1, 1, 1, 1), "strides": (1, 1), "dilations": (1, 1), "group": (1,)},
        "auto_pad": None,
    },
)
_BLOCK = Op("Add", (two_layers(Op("Concat", (_CONVOLVED, _KEPT), {"axis": (1,)})), "x"))


def find_fasternet(graph: OnnxGraph) -> list[Part]:
    """Return the FasterNet blocks of a graph that the plugin computes, in order.

    The constants are the 3x3 in float16, see `pack_mixing`; both pixelwise layers in float16, see
    `pack_pixelwise`; the first layer's biases and the second's, float32. There are zeros where
    channels are no multiple of 16 or hidden ones none of 64.

    Args:
        graph: of an FP16 artefact.
    """
    ends = (node.outputs[0] for node in graph.nodes if node.kind == "Add")
    found = (_block(graph, end) for end in ends)
    return [block for block in found if block is not None]


def pack_mixing(kernel: NDArray[np.floating]) -> NDArray[np.float16]:
    """Return the 3x3's weights in the order that the kernel's threads read them.

    Of each tap, row by row, four channels after four; a product of the tensor cores takes four of
    these fours. For each product 8 outputs after 8, a thread of a warp after the other: one four to
    one output.

    Args:
        kernel: (C/4, C/4, 3, 3): outputs, channels, rows, columns.
    """
    channels = len(kernel)
    fours, columns = -(-channels // 4), -(-channels // 8)
    by_tap = np.zeros((8 * columns, 9, 4 * fours), np.float16)
    by_tap[:channels, :, :channels] = kernel.reshape(channels, channels, 9).transpose(0, 2, 1)
    by_depth = np.pad(by_tap.reshape(8 * columns, 36 * fours), ((0, 0), (0, -36 * fours % 16)))
    packed = by_depth.reshape(columns, 8, -1, 4, 4).transpose(2, 0, 1, 3, 4)
    return np.ascontiguousarray(packed).reshape(-1)


def _block(graph: OnnxGraph, end: str) -> Part | None:
    """Return the block that ends in a tensor, None if none does."""
    found = match(graph, end, _BLOCK)
    if found is None:
        return None
    arrays = {name: array.astype(np.float32) for name, array in found.arrays.items()}
    inward, outward = (arrays[name][:, :, 0, 0] for name in ("inward", "outward"))
    channels, hidden = outward.shape
    if hidden != EXPANSIONS.get(channels, 0) * channels or inward.shape != (hidden, channels):
        return None
    if arrays["mixing"].shape[:2] != (channels // 4, channels // 4):
        return None
    more, more_hidden = -channels % _TOGETHER, -hidden % _HIDDEN_TOGETHER
    return Part(
        name=end,
        plugin=FASTERNET,
        sources=(found.tensors["x"],),
        results=(end,),
        constants=(
            pack_mixing(arrays["mixing"]),
            pack_pixelwise(
                np.pad(inward, ((0, more_hidden), (0, more))),
                np.pad(outward, ((0, more), (0, more_hidden))),
            ),
            np.concatenate(
                [
                    np.pad(arrays["inward_bias"], (0, more_hidden)),
                    np.pad(arrays["outward_bias"], (0, more)),
                ]
            ),
        ),
    )
