"""Find the ConvNeXt blocks (arXiv 2201.03545) of a graph, each for one plugin."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from litestereo.runtime.tensorrt.plugin.library import BLOCK
from litestereo.runtime.tensorrt.plugin.onnx_graph import OnnxGraph
from litestereo.runtime.tensorrt.plugin.parts import Part
from litestereo.runtime.tensorrt.plugin.pattern import Array, Op, Pattern, match

__all__ = ["CHANNELS", "find_blocks", "pack_pixelwise"]

CHANNELS = (48, 96, 192)
"""For which the plugin has a kernel."""

_TO_LAST = {"perm": (0, 2, 3, 1)}
_TO_FIRST = {"perm": (0, 3, 1, 2)}


def _pixelwise(x: Pattern, layer: str, name: str = "") -> Op:
    """Return a 1x1 convolution."""
    weights = Array(shape=(None, None, 1, 1), name=layer)
    bias = Array(shape=(None,), name=f"{layer}_bias")
    how = {"pads": (0, 0, 0, 0), "strides": (1, 1), "group": (1,), "auto_pad": None}
    return Op("Conv", (x, weights, bias), how, name=name)


_CONVOLVED = Op(
    "Conv",
    ("x", Array(shape=(None, 1, 7, 7), name="taps"), Array(shape=(None,), name="taps_bias")),
    {"pads": (3, 3, 3, 3), "strides": (1, 1), "dilations": (1, 1), "auto_pad": None},
)
_NORMED = Op(
    "LayerNormalization",
    (
        Op("Transpose", (_CONVOLVED,), _TO_LAST),
        *(Array(shape=(None,), name=name) for name in ("scale", "shift")),
    ),
    {"axis": (-1,), "epsilon": 1e-6},
)
_HIDDEN = _pixelwise(Op("Transpose", (_NORMED,), _TO_FIRST), "inward", name="hidden")
# GELU whose factors are in the weights around it: see `with_folded_gelu`.
_GELU = Op("Add", (Op("Mul", (_HIDDEN, Op("Erf", (_HIDDEN,)))), _HIDDEN))
_BLOCK = Op("Add", (_pixelwise(_GELU, "outward"), "x"))


def find_blocks(graph: OnnxGraph) -> list[Part]:
    """Return the blocks of a graph that the plugin computes, in order.

    The constants are (50, C) float32, the depthwise 7x7 row by row and its bias; (8 C C,) float16,
    both pixelwise layers, see `pack_pixelwise`; (5 C,) float32, the first layer's 4 C biases and
    the second's C. The norm's scale and shift are in the first layer.

    Args:
        graph: of an FP16 artefact.
    """
    ends = (node.outputs[0] for node in graph.nodes if node.kind == "Add")
    found = (_block(graph, end) for end in ends)
    return [block for block in found if block is not None]


def pack_pixelwise(
    first: NDArray[np.floating], second: NDArray[np.floating]
) -> NDArray[np.float16]:
    """Return the weights of both pixelwise layers in the order that the kernel's threads read them.

    16 hidden channels after 16: what the first layer takes to them, then what the second makes of
    them. Each part is 16 channels after 16, a thread of a warp after the other, 8 numbers a thread:
    its share of two operands of the tensor cores' 16x8x16 product. A thread's four channels stand
    together in memory there, so that it reads and writes pixels 8 bytes at a time.

    Args:
        first: (4 C, C), to the hidden channels.
        second: (C, 4 C), back.
    """
    channels = len(second)
    groups, chunks = channels // 16, channels // 4
    inward = first.reshape(chunks, 2, 8, groups, 4, 4).transpose(0, 3, 2, 4, 1, 5)
    outward = second.reshape(groups, 4, 2, 2, chunks, 2, 4, 2).transpose(4, 0, 1, 3, 6, 2, 5, 7)
    parts = [part.reshape(chunks, groups, 32, 8) for part in (inward, outward)]
    return np.stack(parts, 1).astype(np.float16).ravel()


def _block(graph: OnnxGraph, end: str) -> Part | None:
    """Return the block that ends in a tensor, None if none does."""
    found = match(graph, end, _BLOCK)
    if found is None:
        return None
    arrays = {name: array.astype(np.float32) for name, array in found.arrays.items()}
    inward, outward = (arrays[name][:, :, 0, 0] for name in ("inward", "outward"))
    channels = len(outward)
    lengths = {len(arrays[name]) for name in ("taps", "taps_bias", "scale", "shift")}
    if channels not in CHANNELS or lengths != {channels} or inward.shape != outward.shape[::-1]:
        return None
    if outward.shape != (channels, 4 * channels):
        return None
    taps = arrays["taps"].reshape(channels, 49).T
    shifted = arrays["inward_bias"] + inward @ arrays["shift"]
    return Part(
        name=end,
        plugin=BLOCK,
        sources=(found.tensors["x"],),
        results=(end,),
        constants=(
            np.ascontiguousarray(np.concatenate([taps, arrays["taps_bias"][None]])),
            pack_pixelwise(inward * arrays["scale"], outward),
            np.concatenate([shifted, arrays["outward_bias"]]),
        ),
    )
