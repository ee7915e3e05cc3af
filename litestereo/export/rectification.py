"""Put a rig's rectification in front of a network's graph, so that it takes raw pictures.

One bilinear sampling of each eye rectifies, resizes and pads, in FP32, on whatever engine runs the
network. GridSample does it: beside four gathers and their weights its tables are a quarter as
large, and ONNX Runtime's CPU kernel takes 18 ms for 480x640 instead of 27 (one thread).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper

from litestereo.errors import ExportError
from litestereo.export.artifact import sha256_of
from litestereo.export.graph import check_model, opset_of, rename_tensors
from litestereo.export.onnx_from_torch import INPUT_NAMES
from litestereo.export.options import OPSET, ExportOptions
from litestereo.models.registry import SIZE_MULTIPLE
from litestereo.runtime.geometry.in_graph import GraphRectification, for_network
from litestereo.runtime.geometry.read import read_calibration_files
from litestereo.runtime.geometry.rectify import Rectifier
from litestereo.runtime.manifest import InputSpec, Manifest
from litestereo.runtime.preprocess import Frame

__all__ = [
    "SAMPLING_LIMIT_LEVELS",
    "rectification_for",
    "rectifying_graph",
    "rectifying_manifest",
    "rectifying_map",
    "sampler_model",
    "sampling_error_levels",
]

SAMPLING_LIMIT_LEVELS = 0.1
"""What the graph samples may differ by this much, of 255, from the same sum in double precision."""

_ISLAND = "rectification"
_REASON = "half numbers are 1/2 px apart at column 1024 of a picture"
_Map = npt.NDArray[np.float32]


def rectification_for(options: ExportOptions) -> GraphRectification:
    """Return what an export with a calibration rectifies, and to which size.

    Args:
        options: whose `rig` is not None.

    Raises:
        ExportError: the calibration does not say for which pictures it is.
        InputError: it cannot be read, or is of rectified pictures.
    """
    rig = options.rig
    assert rig is not None
    calibration, contents = read_calibration_files(
        rig.calibration, size=rig.size, baseline_m=rig.baseline_m
    )
    if calibration.size is None and not calibration.rectified:
        raise ExportError(
            f"{rig.calibration[0]} does not say for pictures of which size it is; give the "
            "cameras' with --camera-size HEIGHT WIDTH"
        )
    fitted = for_network(calibration, size=options.size, multiple_of=SIZE_MULTIPLE)
    return GraphRectification(fitted, sha256_of(b"".join(contents.values())))


def rectifying_graph(graph: ModelProto, rectification: GraphRectification) -> ModelProto:
    """Return a graph with the rectification in front: it takes raw pictures of one size.

    Where the raw left picture shows nothing, the confidence is 0.

    Args:
        graph: an artefact's, without rectification.
        rectification: the rig, and the sizes before and after.

    Raises:
        ExportError: the graph does not begin as an artefact's does, or the result is not valid.
    """
    made = ModelProto()
    made.CopyFrom(graph)
    rectifier = Rectifier(rectification.rig)
    front: list[NodeProto] = []
    for eye, maps in _maps(rectifier).items():
        nodes, constants = _sampler(eye, maps, raw_size=rectification.raw_size)
        front += nodes
        made.graph.initializer.extend(constants)
        _rewire(made, eye, to=nodes[-1].output[0])
    nodes = [*front, *made.graph.node]
    if rectifier.outside is not None:
        nodes += _masked_confidence(made, seen=~rectifier.outside)
    del made.graph.node[:]
    made.graph.node.extend(nodes)
    # Of the shapes inside, those of a graph for any size would no longer be true.
    del made.graph.value_info[:]
    for values, shape in (
        (made.graph.input, (*rectification.raw_size, 3)),
        (made.graph.output, rectification.size),
    ):
        for value in values:
            for dimension, length in zip(value.type.tensor_type.shape.dim, shape, strict=True):
                dimension.dim_value = length
    check_model(made, opset=opset_of(graph))
    return made


def rectifying_manifest(
    manifest: Manifest, rectification: GraphRectification, *, error_levels: float | None
) -> Manifest:
    """Return the manifest of a graph that rectifies.

    Args:
        manifest: of the network alone.
        rectification: what is in front of it.
        error_levels: as `sampling_error_levels` gives it; None: it was not measured.
    """
    height, width = rectification.raw_size
    return replace(
        manifest,
        input=InputSpec(height=height, width=width, multiple_of=1),
        rectification={**rectification.to_json(), "sampling_error_levels": error_levels},
    )


def rectifying_map(precision_map: Mapping[str, object], graph: ModelProto) -> dict[str, object]:
    """Return the precision map of a half graph with the rectification as one more FP32 island.

    Args:
        precision_map: of the graph before.
        graph: with the rectification.
    """
    islands = precision_map.get("islands")
    if not isinstance(islands, dict):
        return dict(precision_map)
    names = [node.name for node in graph.graph.node if node.name.startswith(f"/{_ISLAND}/")]
    return {**precision_map, "islands": {**islands, _ISLAND: {"reason": _REASON, "nodes": names}}}


def sampling_error_levels(rectification: GraphRectification) -> float:
    """Return how far ONNX Runtime's sampling is from a sum in double precision, on noise.

    Args:
        rectification: the rig, and the sizes before and after.

    Raises:
        ExportError: farther than `SAMPLING_LIMIT_LEVELS`; the engine could not be trusted.
    """
    import onnxruntime

    maps = _maps(Rectifier(rectification.rig))["left"]
    session = onnxruntime.InferenceSession(
        sampler_model(rectification).SerializeToString(), providers=["CPUExecutionProvider"]
    )
    noise = np.random.default_rng(0).integers(0, 256, (*rectification.raw_size, 3), np.uint8)
    (given,) = session.run(None, {"left": noise})
    error = float(np.abs(given - _sampled(noise, maps)).max())
    if not error <= SAMPLING_LIMIT_LEVELS:
        raise ExportError(
            f"ONNX Runtime {onnxruntime.__version__} samples {error:.3g} levels off (limit "
            f"{SAMPLING_LIMIT_LEVELS:g}); no artefact was written: try another version of it"
        )
    return error


def sampler_model(rectification: GraphRectification) -> ModelProto:
    """Return the left eye's sampling as a model of its own, to check and to time it.

    Args:
        rectification: the rig, and the sizes before and after.
    """
    maps = _maps(Rectifier(rectification.rig))["left"]
    nodes, constants = _sampler("left", maps, raw_size=rectification.raw_size)
    sampled = nodes[-1].output[0]
    graph = helper.make_graph(
        nodes,
        _ISLAND,
        [helper.make_tensor_value_info("left", TensorProto.UINT8, [*rectification.raw_size, 3])],
        [helper.make_tensor_value_info(sampled, TensorProto.FLOAT, [*rectification.size, 3])],
        constants,
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=8)


def _maps(rectifier: Rectifier) -> dict[str, _Map]:
    """Return (H, W, 2) x and y in raw pixels for each pixel that the network sees, by eye."""
    whole = Frame(rectifier.size, rectifier.size, rectifier.size)
    return dict(zip(INPUT_NAMES, rectifier.sampling_maps(whole), strict=True))


def _shrink(maps: _Map) -> int:
    """Return how many raw pixels are averaged along each axis before four of them are read."""
    by_row, by_column = np.gradient(maps, axis=0), np.gradient(maps, axis=1)
    area = by_column[..., 0] * by_row[..., 1] - by_row[..., 0] * by_column[..., 1]
    return max(1, int(np.sqrt(np.median(np.abs(area))) + 1e-3))


def _sampler(
    eye: str, maps: _Map, *, raw_size: tuple[int, int]
) -> tuple[list[NodeProto], list[TensorProto]]:
    """Return the nodes from an eye's raw (H, W, 3) uint8 to what the network sees, as float."""
    shrink = _shrink(maps)
    grid, batch = f"{_ISLAND}/{eye}/grid", f"{_ISLAND}/{eye}/batch"
    steps: list[tuple[str, list[str], dict[str, Any]]] = [
        ("Cast", [], {"to": TensorProto.FLOAT}),  # first: TensorRT takes 8-bit tensors nowhere else
        ("Transpose", [], {"perm": [2, 0, 1]}),
        ("Unsqueeze", [batch], {}),
        ("GridSample", [grid], {"mode": "bilinear", "padding_mode": "border", "align_corners": 1}),
        ("Squeeze", [batch], {}),
        ("Transpose", [], {"perm": [1, 2, 0]}),
    ]
    if shrink > 1:
        sides = {"kernel_shape": [shrink, shrink], "strides": [shrink, shrink]}
        steps.insert(3, ("AveragePool", [], sides))
    nodes, tensor = [], eye
    for number, (kind, constants, attributes) in enumerate(steps):
        name = f"/{_ISLAND}/{eye}/{number}_{kind}"
        nodes.append(
            helper.make_node(kind, [tensor, *constants], [f"{name}:0"], name, **attributes)
        )
        tensor = f"{name}:0"
    spans = np.array([side // shrink - 1 for side in raw_size[::-1]], np.float64)
    positions = (maps.astype(np.float64) + 0.5) / shrink - 0.5
    normalised = (2 * positions / spans - 1).astype(np.float32)[None]
    return nodes, [
        numpy_helper.from_array(normalised, grid),
        numpy_helper.from_array(np.array([0], np.int64), batch),
    ]


def _rewire(graph: ModelProto, eye: str, *, to: str) -> None:
    """Let what reads an eye's picture read a float tensor instead; it is cast either way."""
    for node in graph.graph.node:
        if eye not in node.input:
            continue
        if node.op_type != "Cast":
            raise ExportError(
                f"{node.op_type} {node.name} reads the 8-bit picture {eye}; only casts may, so "
                "that the rectified one can take its place"
            )
        node.input[0] = to


def _masked_confidence(graph: ModelProto, *, seen: npt.NDArray[np.bool_]) -> list[NodeProto]:
    """Rename the network's confidence and return what sets it to 0 where nothing is seen."""
    plain, mask = f"{_ISLAND}/confidence", f"{_ISLAND}/seen"
    rename_tensors(graph, {"confidence": plain})
    graph.graph.initializer.append(numpy_helper.from_array(seen.astype(np.float32), mask))
    return [helper.make_node("Mul", [plain, mask], ["confidence"], f"/{_ISLAND}/Mul")]


def _sampled(picture: npt.NDArray[np.uint8], maps: _Map) -> npt.NDArray[np.float64]:
    """Return what `_sampler` should: averages of squares, then bilinear between four."""
    shrink = _shrink(maps)
    height, width = (side // shrink for side in picture.shape[:2])
    squares = picture[: height * shrink, : width * shrink].astype(np.float64)
    small = squares.reshape(height, shrink, width, shrink, 3).mean(axis=(1, 3))
    x, y = np.moveaxis((maps.astype(np.float64) + 0.5) / shrink - 0.5, 2, 0)
    x, y = np.clip(x, 0, width - 1), np.clip(y, 0, height - 1)
    left, top = np.minimum(x.astype(int), width - 2), np.minimum(y.astype(int), height - 2)
    across, down = (x - left)[..., None], (y - top)[..., None]
    above = small[top, left] * (1 - across) + small[top, left + 1] * across
    below = small[top + 1, left] * (1 - across) + small[top + 1, left + 1] * across
    blended: npt.NDArray[np.float64] = above * (1 - down) + below * down
    return blended
