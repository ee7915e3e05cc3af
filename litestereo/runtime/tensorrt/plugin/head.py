"""Find the end of a graph, from the cost volume's scores to the full-size answers, for one plugin.

Soft-argmax over 48 disparities at a quarter of the size, its deviation as confidence, and convex
upsampling by weights from a transposed convolution (RAFT, arXiv 2003.12039, section 3.3).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from litestereo.runtime.tensorrt.plugin.onnx_graph import OnnxGraph, OnnxNode
from litestereo.runtime.tensorrt.plugin.parts import Part

__all__ = ["HEAD", "find_head", "pack_transposed"]

HEAD = "LitestereoDisparityHead"
"""The plugin's name."""

_LEVELS, _FEATURES, _NEIGHBOURS = 48, 16, 9
_SCALE = 4
# (row or column of a full pixel within its half one, which of two reached) -> place in the kernel.
_PLACES = {(0, 0): 1, (0, 1): 3, (1, 0): 2, (1, 1): 0}


def find_head(graph: OnnxGraph) -> Part | None:
    """Return the end of a graph that the plugin computes, None if it ends in another way.

    Args:
        graph: of an FP16 artefact.
    """
    disparity = _chain(graph, "disparity", ("Flatten", "ReduceSum", "Mul"))
    confidence = _chain(
        graph, "confidence", ("Flatten", "Resize", "Reciprocal", "Add", "Sqrt", "Clip")
    )
    if disparity is None or confidence is None:
        return None
    weighted = [graph.producer(name) for name in disparity[-1].inputs]
    if [node.kind if node else "" for node in weighted] != ["Softmax", "Resize"]:
        return None
    upsampling, neighbours = weighted
    transposed = _before_cast(graph, upsampling)
    scores = _neighbours_of(graph, neighbours)
    spread = _scores_of_spread(graph, confidence[-1])
    if transposed is None or scores is None or spread is not scores:
        return None
    kernel = _upsampling_kernel(graph, transposed)
    if (
        kernel is None
        or not _enlarges(graph, neighbours, "nearest", "asymmetric")
        or not _enlarges(graph, confidence[1], "linear", "half_pixel")
    ):
        return None
    return Part(
        name=disparity[1].name,
        plugin=HEAD,
        sources=(_uncast(graph, scores.inputs[0]), transposed.inputs[0]),
        results=(disparity[1].outputs[0], confidence[1].outputs[0]),
        constants=(pack_transposed(kernel),),
    )


def pack_transposed(kernel: NDArray[np.floating]) -> NDArray[np.float16]:
    """Return a transposed convolution's weights in the order that the kernel's threads read them.

    For each place of a full pixel within its half one, row by row: the 2x2 half pixels that are
    reached from there, and for each 32 threads with 8 numbers: four channels to one output, and to
    the one 8 further.

    Args:
        kernel: (16, 9, 4, 4): from channels, to outputs, rows, columns; stride 2, padding 1.
    """
    padded = np.zeros((_FEATURES, 16, 4, 4))
    padded[:, :_NEIGHBOURS] = kernel
    packed = [
        padded[:, :, _PLACES[ry, sy], _PLACES[rx, sx]]
        for ry in (0, 1)
        for rx in (0, 1)
        for sy in (0, 1)
        for sx in (0, 1)
    ]
    # channel = 4 part + i; output = 8 n + row of the thread.
    by_thread = np.stack(packed).reshape(16, 4, 4, 2, 8).transpose(0, 4, 1, 3, 2)
    packed_halves: NDArray[np.float16] = by_thread.astype(np.float16).ravel()
    return packed_halves


def _chain(graph: OnnxGraph, end: str, kinds: tuple[str, ...]) -> list[OnnxNode] | None:
    """Return the nodes of these types that lead to a tensor by their first inputs, from its end."""
    found: list[OnnxNode] = []
    for kind in kinds:
        node = graph.producer(end)
        if node is None or node.kind != kind:
            return None
        found.append(node)
        end = node.inputs[0]
    return found


def _uncast(graph: OnnxGraph, name: str) -> str:
    """Return what a tensor was before a cast."""
    node = graph.producer(name)
    return node.inputs[0] if node is not None and node.kind == "Cast" else name


def _before_cast(graph: OnnxGraph, node: OnnxNode | None) -> OnnxNode | None:
    return None if node is None else graph.producer(_uncast(graph, node.inputs[0]))


def _neighbours_of(graph: OnnxGraph, resize: OnnxNode | None) -> OnnxNode | None:
    """Return the softmax of whose expectation, times 4, the 3x3 neighbours are enlarged."""
    concat = None if resize is None else graph.producer(resize.inputs[0])
    if concat is None or concat.kind != "Concat" or len(concat.inputs) != _NEIGHBOURS:
        return None
    slices = [graph.producer(name) for name in concat.inputs]
    pads = set()
    for place, node in enumerate(slices):
        if node is None or node.kind != "Slice":
            return None
        starts = graph.weights.get(node.inputs[1])
        if starts is None or starts.tolist() != list(divmod(place, 3)):
            return None
        pads.add(node.inputs[0])
    found = _chain(graph, pads.pop(), ("Pad", "Mul", "ReduceSum", "Mul", "Softmax"))
    if found is None or pads:
        return None
    pad, scaled, _, expected, softmax = found
    zeros_around = pad.attributes.get("mode") == "constant" and not any(pad.inputs[2:])
    if (
        not zeros_around
        or not _is(graph, pad.inputs[1], [0, 0, 1, 1, 0, 0, 1, 1])
        or not _is(graph, scaled.inputs[1], [_SCALE])
    ):
        return None
    return softmax if _is(graph, expected.inputs[1], range(_LEVELS)) else None


def _scores_of_spread(graph: OnnxGraph, clip: OnnxNode) -> OnnxNode | None:
    """Return the softmax whose deviation becomes the confidence."""
    found = _chain(graph, clip.inputs[0], ("ReduceSum", "Mul", "Mul", "Softmax"))
    return found[-1] if found and _is(graph, clip.inputs[1], [1e-6]) else None


def _upsampling_kernel(graph: OnnxGraph, node: OnnxNode) -> NDArray[np.floating] | None:
    if node.kind != "ConvTranspose" or len(node.inputs) != 2:
        return None
    kernel = graph.weights.get(node.inputs[1])
    wanted = {"strides": (2, 2), "pads": (1, 1, 1, 1), "dilations": (1, 1), "group": (1,)}
    fits = all(node.attributes.get(name, value) == value for name, value in wanted.items())
    shape = (_FEATURES, _NEIGHBOURS, 4, 4)
    return kernel if kernel is not None and kernel.shape == shape and fits else None


def _enlarges(graph: OnnxGraph, node: OnnxNode | None, mode: str, coordinates: str) -> bool:
    """Say whether a node enlarges pictures four times, in this way."""
    return (
        node is not None
        and _is(graph, node.inputs[2], [1, 1, _SCALE, _SCALE])
        and node.attributes.get("mode") == mode
        and node.attributes.get("coordinate_transformation_mode") == coordinates
    )


def _is(graph: OnnxGraph, name: str, values: object) -> bool:
    """Say whether a tensor is these constants."""
    found = graph.weights.get(name)
    expected = np.array(list(values))  # type: ignore[call-overload]
    return (
        found is not None
        and found.size == expected.size
        and bool(np.allclose(found.ravel(), expected))
    )
