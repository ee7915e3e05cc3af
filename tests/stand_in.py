"""A real, tiny ONNX artefact whose answer is known, to test everything around a network.

Its disparity is `gain` times the mean of the left picture's channels, and its confidence
1 - mean(|left - right|) / 255, pixel by pixel: padding, cropping and scaling show as numbers.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper

from litestereo.runtime.geometry.calibration import Calibration
from litestereo.runtime.geometry.in_graph import GraphRectification, for_network
from litestereo.runtime.manifest import METADATA_KEY, InputSpec, Manifest

__all__ = [
    "expected",
    "stand_in_manifest",
    "stand_in_model",
    "write_raw_stand_in",
    "write_stand_in",
]


def stand_in_manifest(**changes: object) -> Manifest:
    """Return a valid manifest with `changes`."""
    manifest = Manifest(
        model="stand-in",
        litestereo_version="0.0.0",
        weights_sha256="0" * 64,
        weights_source="computed in tests/stand_in.py",
        precision="fp32",
        opset=17,
        input=InputSpec(),
        tools={"onnx": onnx.__version__},
    )
    return dataclasses.replace(manifest, **changes)


def stand_in_model(
    *, gain: float = 0.5, size: tuple[int, int] | None = None, manifest: str | None = "default"
) -> onnx.ModelProto:
    """Return the model; `size` fixes (height, width), `manifest` is the metadata's text."""
    height, width = size or ("height", "width")
    nodes = [
        helper.make_node("Cast", ["left"], ["left_f"], to=TensorProto.FLOAT),
        helper.make_node("Cast", ["right"], ["right_f"], to=TensorProto.FLOAT),
        helper.make_node("ReduceMean", ["left_f"], ["mean"], axes=[2], keepdims=0),
        helper.make_node("Mul", ["mean", "gain"], ["disparity"]),
        helper.make_node("Sub", ["left_f", "right_f"], ["difference"]),
        helper.make_node("Abs", ["difference"], ["distance"]),
        helper.make_node("ReduceMean", ["distance"], ["distance_mean"], axes=[2], keepdims=0),
        helper.make_node("Mul", ["distance_mean", "scale"], ["scaled"]),
        helper.make_node("Add", ["scaled", "one"], ["confidence"]),
    ]
    constants = {"gain": gain, "scale": -1 / 255, "one": 1.0}
    graph = helper.make_graph(
        nodes,
        "stand_in",
        [
            helper.make_tensor_value_info(name, TensorProto.UINT8, [height, width, 3])
            for name in ("left", "right")
        ],
        [
            helper.make_tensor_value_info(name, TensorProto.FLOAT, [height, width])
            for name in ("disparity", "confidence")
        ],
        [
            onnx.numpy_helper.from_array(np.array(value, np.float32), name)
            for name, value in constants.items()
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    if manifest == "default":
        fixed = InputSpec() if size is None else InputSpec(*size)
        manifest = stand_in_manifest(input=fixed).to_json()
    if manifest is not None:
        model.metadata_props.add(key=METADATA_KEY, value=manifest)
    onnx.checker.check_model(model, full_check=True)
    return model


def write_stand_in(path: Path, **options: object) -> Path:
    """Write `stand_in_model(**options)` to `path` and return it."""
    onnx.save(stand_in_model(**options), path)
    return path


def write_raw_stand_in(
    path: Path, rig: Calibration, *, size: tuple[int, int], gain: float = 0.5
) -> Path:
    """Write a stand-in of `size` that takes the raw pictures of `rig`; return its path."""
    from litestereo.export.rectification import rectifying_graph, rectifying_manifest

    rectification = GraphRectification(for_network(rig, size=size, multiple_of=32), "0" * 64)
    model = rectifying_graph(stand_in_model(gain=gain, size=size, manifest=None), rectification)
    manifest = rectifying_manifest(stand_in_manifest(), rectification, error_levels=None)
    model.metadata_props.add(key=METADATA_KEY, value=manifest.to_json())
    onnx.save(model, path)
    return path


def expected(
    left: np.ndarray, right: np.ndarray, *, gain: float = 0.5
) -> tuple[np.ndarray, np.ndarray]:
    """Return the disparity and confidence of (H, W, 3) uint8 pictures, by NumPy."""
    disparity = left.astype(np.float32).mean(axis=2) * np.float32(gain)
    distance = np.abs(left.astype(np.float32) - right.astype(np.float32)).mean(axis=2)
    return disparity, 1 - distance / 255
