"""Find the ConvNeXt blocks (arXiv 2201.03545) of a graph, each for one plugin."""

from __future__ import annotations

import numpy as np

from litestereo.runtime.tensorrt.plugin.library import CONVNEXT
from litestereo.runtime.tensorrt.plugin.onnx_graph import OnnxGraph
from litestereo.runtime.tensorrt.plugin.parts import Part
from litestereo.runtime.tensorrt.plugin.pattern import Array, Op, match
from litestereo.runtime.tensorrt.plugin.pixelwise import pack_pixelwise, two_layers

__all__ = ["CHANNELS", "find_convnext"]

CHANNELS = (48, 96, 192)
"""For which the plugin has a kernel."""

_TO_LAST = {"perm": (0, 2, 3, 1)}
_TO_FIRST = {"perm": (0, 3, 1, 2)}


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
_BLOCK = Op("Add", (two_layers(Op("Transpose", (_NORMED,), _TO_FIRST)), "x"))


def find_convnext(graph: OnnxGraph) -> list[Part]:
    """Return the ConvNeXt blocks of a graph that the plugin computes, in order.

    The constants are (50, C) float32, the depthwise 7x7 row by row and its bias; (8 C C,) float16,
    both pixelwise layers, see `pack_pixelwise`; (5 C,) float32, the first layer's 4 C biases and
    the second's C. The norm's scale and shift are in the first layer.

    Args:
        graph: of an FP16 artefact.
    """
    ends = (node.outputs[0] for node in graph.nodes if node.kind == "Add")
    found = (_block(graph, end) for end in ends)
    return [block for block in found if block is not None]


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
        plugin=CONVNEXT,
        sources=(found.tensors["x"],),
        results=(end,),
        constants=(
            np.ascontiguousarray(np.concatenate([taps, arrays["taps_bias"][None]])),
            pack_pixelwise(inward * arrays["scale"], outward),
            np.concatenate([shifted, arrays["outward_bias"]]),
        ),
    )
