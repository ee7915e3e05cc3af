"""Find the ConvNeXt blocks (arXiv 2201.03545) of a graph, each for one plugin."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from litestereo.runtime.tensorrt.plugin.onnx_graph import OnnxGraph, OnnxNode
from litestereo.runtime.tensorrt.plugin.parts import Part

__all__ = ["BLOCK", "CHANNELS", "find_blocks", "pack_pixelwise"]

BLOCK = "LitestereoConvNeXtBlock"
"""The plugin's name."""

CHANNELS = (48, 96, 192)
"""For which it has a kernel."""

_EPSILON = 1e-6
# What follows a block's depthwise convolution, after GELU's factors went into the weights.
_CHAIN = ("Transpose", "LayerNormalization", "Transpose", "Conv")


def find_blocks(graph: OnnxGraph) -> list[Part]:
    """Return the blocks of a graph that the plugin computes, in order.

    The constants are (50, C) float32, the depthwise 7x7 row by row and its bias; (8 C C,) float16,
    both pixelwise layers, see `pack_pixelwise`; (5 C,) float32, the first layer's 4 C biases and
    the second's C. The norm's scale and shift are in the first layer.

    Args:
        graph: of an FP16 artefact.
    """
    found = (_block(graph, node) for node in graph.nodes if node.kind == "Conv")
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


def _block(graph: OnnxGraph, depthwise: OnnxNode) -> Part | None:
    """Return the block that begins with a depthwise convolution, None if none does."""
    chain = [depthwise]
    for kind in _CHAIN:
        following = graph.only_reader(chain[-1], kind)
        if following is None:
            return None
        chain.append(following)
    _, to_last, norm, to_first, inward = chain
    outward = _after_folded_gelu(graph, inward)
    end = graph.only_reader(outward, "Add") if outward else None
    if outward is None or end is None or depthwise.inputs[0] not in end.inputs:
        return None
    turns = (to_last.attributes.get("perm"), to_first.attributes.get("perm"))
    if turns != ((0, 2, 3, 1), (0, 3, 1, 2)) or not _is_norm_of_channels(norm):
        return None
    used = [node.inputs[1:] for node in (depthwise, norm, inward, outward)]
    if any(len(names) != 2 or not all(n in graph.weights for n in names) for names in used):
        return None
    (kernel, bias), (scale, shift), first, second = (
        [graph.weights[name].astype(np.float32) for name in names] for names in used
    )
    channels = len(kernel)
    if kernel.shape != (channels, 1, 7, 7) or channels not in CHANNELS:
        return None
    if set(depthwise.attributes.get("dilations", (1,))) != {1}:  # type: ignore[arg-type]
        return None
    if first[0].shape != (4 * channels, channels, 1, 1) or second[0].shape[:2] != (
        channels,
        4 * channels,
    ):
        return None
    matrix = first[0][:, :, 0, 0]
    return Part(
        name=end.name,
        plugin=BLOCK,
        sources=(depthwise.inputs[0],),
        results=(end.outputs[0],),
        constants=(
            np.ascontiguousarray(np.concatenate([kernel.reshape(channels, 49).T, bias[None]])),
            pack_pixelwise(matrix * scale, second[0][:, :, 0, 0]),
            np.concatenate([first[1] + matrix @ shift, second[1]]),
        ),
    )


def _is_norm_of_channels(norm: OnnxNode) -> bool:
    epsilon = norm.attributes.get("epsilon", 1e-5)
    return norm.attributes.get("axis", (-1,)) in ((-1,), (3,)) and bool(
        np.isclose(epsilon, _EPSILON)
    )


def _after_folded_gelu(graph: OnnxGraph, first: OnnxNode) -> OnnxNode | None:
    """Return the convolution behind y erf(y) + y of a convolution's y, None if there is none."""
    y = first.outputs[0]
    kinds = sorted(node.kind for node in graph.readers[y])
    if kinds != ["Add", "Erf", "Mul"]:
        return None
    erf = next(node for node in graph.readers[y] if node.kind == "Erf")
    product = graph.only_reader(erf, "Mul")
    total = graph.only_reader(product, "Add") if product else None
    if product is None or total is None or y not in product.inputs or y not in total.inputs:
        return None
    return graph.only_reader(total, "Conv")
