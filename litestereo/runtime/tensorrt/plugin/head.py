"""Find the end of a graph, from the scores of disparities to the full-size answers, for one plugin.

Soft-argmax over 48 disparities at a quarter of the size, its deviation as confidence, and convex
upsampling by weights from a transposed convolution (RAFT, arXiv 2003.12039, section 3.3).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from litestereo.runtime.tensorrt.plugin.library import HEAD
from litestereo.runtime.tensorrt.plugin.onnx_graph import OnnxGraph
from litestereo.runtime.tensorrt.plugin.parts import Part
from litestereo.runtime.tensorrt.plugin.pattern import Array, Op, Pattern, match

__all__ = ["find_head", "pack_transposed"]

_LEVELS, _FEATURES, _NEIGHBOURS = 48, 16, 9
# (row or column of a full pixel within its half one, which of two reached) -> place in the kernel.
_PLACES = {(0, 0): 1, (0, 1): 3, (1, 0): 2, (1, 1): 0}


def _sum(*factors: Pattern, name: str = "") -> Op:
    """Return the sum over channels of a product."""
    product = factors[0]
    for factor in factors[1:]:
        product = Op("Mul", (product, factor))
    return Op("ReduceSum", (product, Array([1])), {"keepdims": (1,)}, name=name)


def _enlarged(picture: Pattern, mode: str, coordinates: str, name: str = "") -> Op:
    """Return a picture four times as large."""
    how = {"mode": mode, "coordinate_transformation_mode": coordinates}
    if mode == "nearest":
        how["nearest_mode"] = "floor"
    return Op("Resize", (picture, "", Array([1, 1, 4, 4])), how, name=name)


def _shifted(picture: Pattern, place: int) -> Op:
    """Return one of the nine neighbours of each pixel, out of a picture with a border."""
    starts = Array(divmod(place, 3))
    return Op("Slice", (picture, starts, "", Array([2, 3]), Array([1, 1])))


_LEVEL = Array(np.arange(_LEVELS))
_SHARE = Op("Softmax", ("scores",), {"axis": (1,)}, name="share")
_MEAN = _sum(_SHARE, _LEVEL, name="mean")
_BORDERED = Op(
    "Pad",
    (Op("Mul", (_MEAN, Array([4]))), Array([0, 0, 1, 1, 0, 0, 1, 1])),
    {"mode": "constant"},
    name="bordered",
)
_NEAR = Op("Concat", tuple(_shifted(_BORDERED, n) for n in range(_NEIGHBOURS)), {"axis": (1,)})
_WEIGHTS = Op(
    "Softmax",
    (
        Op(
            "ConvTranspose",
            ("features", Array(shape=(_FEATURES, _NEIGHBOURS, 4, 4), name="kernel")),
            {
                **{"strides": (2, 2), "pads": (1, 1, 1, 1), "dilations": (1, 1), "group": (1,)},
                **{"auto_pad": None, "output_padding": None, "output_shape": None},
            },
        ),
    ),
    {"axis": (1,)},
)
_DISPARITY = _sum(_WEIGHTS, _enlarged(_NEAR, "nearest", "asymmetric"), name="disparity")
_OFF = Op("Sub", (_LEVEL, _MEAN), name="off")
_DEVIATION = Op("Sqrt", (Op("Clip", (_sum(_SHARE, _OFF, _OFF), Array([1e-6]))),))
_CONFIDENCE = _enlarged(
    Op("Reciprocal", (Op("Add", (_DEVIATION, Array([1]))),)), "linear", "half_pixel", "confidence"
)


def find_head(graph: OnnxGraph) -> Part | None:
    """Return the end of a graph that the plugin computes, None if it ends in another way.

    Args:
        graph: of an FP16 artefact.
    """
    # Both answers at once, so that names stand for the same in both.
    both = [graph.producers.get(name) for name in ("disparity", "confidence")]
    if any(node is None or node.kind != "Flatten" for node in both):
        return None
    disparity, confidence = (node.inputs[0] for node in both if node is not None)
    while (last := graph.producers.get(disparity)) is not None and last.kind == "Add":
        disparity = last.inputs[0]  # to which a refiner's pass adds
    upper, lower = match(graph, disparity, _DISPARITY), match(graph, confidence, _CONFIDENCE)
    if upper is None or lower is None or upper.tensors["share"] != lower.tensors["share"]:
        return None
    return Part(
        name=disparity,
        plugin=HEAD,
        sources=(upper.tensors["scores"], upper.tensors["features"]),
        results=(disparity, confidence),
        constants=(pack_transposed(upper.arrays["kernel"]),),
    )


def pack_transposed(kernel: NDArray[np.floating]) -> NDArray[np.float16]:
    """Return a transposed convolution's weights in the order that the kernel's threads read them.

    For each place of a full pixel within its half one, row by row: the 2x2 half pixels that are
    reached from there, and for each 32 threads with 8 numbers: four channels to one output, and to
    the one 8 further.

    Args:
        kernel: (16, 9, 4, 4): from channels, to outputs, rows, columns; stride 2, padding 1.
    """
    padded = np.zeros((_FEATURES, 16, 4, 4), np.float16)
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
    return np.ascontiguousarray(by_thread).reshape(-1)
