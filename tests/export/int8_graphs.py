"""Small graphs with known convolutions, and a calibration set, for the INT8 tests."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from litestereo.calibration.frames import network_pair
from litestereo.calibration.make import make_set
from litestereo.calibration.observe import observe_activations
from litestereo.calibration.ranges import ActivationStatistics
from litestereo.export.blocks import plan_convolutions
from litestereo.export.pairs import Pair
from litestereo.export.qdq import QuantizeOptions, quantized
from litestereo.export.simplify import simplify
from litestereo.runtime.images import StereoPair

__all__ = ["convolution_graph", "fully_quantized", "made_set", "observed"]


def convolution_graph(rng: np.random.Generator) -> onnx.ModelProto:
    """Return x (1, 16, H, W) -> Conv -> Relu -> grouped Conv -> ConvTranspose -> y."""
    weights = {
        "first": rng.normal(0, 0.2, (24, 16, 3, 3)),
        "bias": rng.normal(0, 0.1, 24),
        "grouped": rng.normal(0, 0.2, (24, 8, 3, 3)),
        "up": rng.normal(0, 0.2, (24, 16, 4, 4)),
    }
    pads = {"pads": [1, 1, 1, 1]}
    nodes = [
        helper.make_node("Conv", ["x", "first", "bias"], ["a"], "/model/part/conv/Conv", **pads),
        helper.make_node("Relu", ["a"], ["b"], "/model/part/Relu"),
        helper.make_node(
            "Conv", ["b", "grouped"], ["c"], "/model/part/grouped/Conv", group=3, **pads
        ),
        helper.make_node(
            "ConvTranspose", ["c", "up"], ["y"], "/model/up/ConvTranspose", strides=[2, 2], **pads
        ),
    ]
    shapes = {"x": [1, 16, "h", "w"], "y": [1, 16, "h2", "w2"]}
    values = {k: helper.make_tensor_value_info(k, TensorProto.FLOAT, v) for k, v in shapes.items()}
    constants = [numpy_helper.from_array(v.astype(np.float32), k) for k, v in weights.items()]
    graph = helper.make_graph(nodes, "convolutions", [values["x"]], [values["y"]], constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model, full_check=True)
    return model


def observed(**tensors: np.ndarray) -> dict[str, ActivationStatistics]:
    """Return the statistics of tensors by name."""
    found = {name: ActivationStatistics() for name in tensors}
    for name, values in tensors.items():
        found[name].add(values)
    return found


def fully_quantized(master: onnx.ModelProto, pair: Pair) -> onnx.ModelProto:
    """Return a network's graph with all that may be quantised in 8 bits, by one pair's ranges."""
    folded = simplify(master)
    plan = plan_convolutions(folded)
    seen = network_pair(StereoPair(pair.left, pair.right), name=pair.name, size=pair.size)
    names = list(dict.fromkeys(one.activation for one in plan.candidates))
    statistics = observe_activations(folded, names, pairs=lambda: [seen])
    return quantized(folded, plan.candidates, statistics=statistics, options=QuantizeOptions())


def made_set(folder: Path, *, count: int = 13, size: tuple[int, int] = (64, 128)):
    """Make a calibration set of textured walls at several distances."""
    height, width = size
    for seed in range(count):
        rng = np.random.default_rng(seed)
        noise = rng.integers(0, 256, (height // 8, (width + 64) // 8, 3)).astype(np.float32)
        wall = cv2.resize(noise, (width + 64, height), interpolation=cv2.INTER_CUBIC)
        wall = np.clip(wall * (0.5 + 0.08 * (seed % 6)), 0, 255).astype(np.uint8)
        scene = folder / "scenes" / f"{seed:02d}"
        scene.mkdir(parents=True)
        for name, start in (("left", 0), ("right", 2 + seed % 9)):
            cv2.imwrite(str(scene / f"{name}.png"), wall[:, start : start + width, ::-1])
    return make_set([str(folder / "scenes")], output=folder / "set")[0]
