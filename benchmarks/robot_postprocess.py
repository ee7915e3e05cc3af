"""Time what follows inference on a robot: depth with its reasons, occlusions, cloud.

    python benchmarks/robot_postprocess.py --height 480 --width 640

and, beside it, rectification: OpenCV's of one pair, and the sampling of a graph that rectifies.
Prints JSON. Times are of the processor on one core, in milliseconds, so that other load tells less.
"""

import argparse
import json
import time

import cv2
import numpy as np
import onnx
import onnxruntime

from litestereo.export.rectification import sampler_model
from litestereo.runtime.geometry import (
    Calibration,
    CloudMapper,
    DepthMapper,
    DepthOptions,
    Eye,
    OcclusionFinder,
    Rectifier,
)
from litestereo.runtime.geometry.consistency import MatchLookup
from litestereo.runtime.geometry.in_graph import GraphRectification, for_network


def timed(call, *, runs):
    """Return {median, p90} of a call, after a tenth of its runs as warm-up."""
    for _ in range(runs // 10 + 1):
        call()
    times_ms = []
    for _ in range(runs):
        start = time.process_time()
        call()
        times_ms.append(1e3 * (time.process_time() - start))
    low, middle, high = np.percentile(times_ms, [0, 50, 90])
    return {"min": round(low, 3), "median": round(middle, 3), "p90": round(high, 3)}


def main():
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--height", type=int, default=480)
    parser.add_argument("--width", type=int, default=640)
    parser.add_argument("--runs", type=int, default=200)
    given = parser.parse_args()
    size = given.height, given.width
    cv2.setNumThreads(1)
    rng = np.random.default_rng(0)
    f_px, middle = 0.8 * size[1], ((size[1] - 1) / 2, (size[0] - 1) / 2)
    eye = Eye(f_px, f_px, *middle, "radtan", (-0.28, 0.08, 0.0, 0.0))
    raw = Calibration(eye, eye, 0.12, size=size, rectified=False)
    rectifier = Rectifier(raw)
    small = rng.uniform(5, 100, (size[0] // 40, size[1] // 40)).astype(np.float32)
    disparity_px = cv2.resize(small, size[::-1], interpolation=cv2.INTER_NEAREST)
    confidence = rng.random(size, np.float32)
    pictures = rng.integers(0, 256, (2, *size, 3), np.uint8)
    limits = DepthOptions(near_m=0.5, far_m=10, min_confidence=0.1)
    depth_of = DepthMapper(rectifier.calibration, size=size, options=limits)
    occlusions = OcclusionFinder(size)
    black = np.zeros(size, np.bool_)
    black[:, -size[1] // 10 :] = True
    black_at_match = MatchLookup(black)
    cloud_of = CloudMapper(rectifier.calibration, size=size)

    def depth():
        return depth_of(
            disparity_px, confidence=confidence, max_disparity_px=192.0, outside=rectifier.outside
        )

    fitted = GraphRectification(for_network(raw, size=size, multiple_of=32), "")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(
        sampler_model(fitted).SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    kept = depth().copy()
    report = {
        "size": list(size),
        "versions": {
            "opencv": cv2.__version__,
            "numpy": np.__version__,
            "onnx": onnx.__version__,
            "onnxruntime": onnxruntime.__version__,
        },
        "depth_and_mask_ms": timed(depth, runs=given.runs),
        "black_right_picture_ms": timed(lambda: black_at_match(disparity_px), runs=given.runs),
        "cloud_ms": timed(lambda: cloud_of.organized(kept), runs=given.runs),
        "packed_cloud_ms": timed(lambda: cloud_of(kept, pictures[0]), runs=given.runs),
        "occlusions_ms": timed(lambda: occlusions(disparity_px), runs=given.runs),
        "rectify_one_eye_opencv_ms": timed(
            lambda: cv2.remap(pictures[0], *_maps(rectifier), cv2.INTER_LINEAR), runs=given.runs
        ),
        "rectify_one_eye_graph_ms": timed(
            lambda: session.run(None, {"left": pictures[0]}), runs=given.runs
        ),
    }
    print(json.dumps(report, indent=1))


def _maps(rectifier):
    maps = rectifier._maps[0]
    return maps.whole, maps.rest


if __name__ == "__main__":
    main()
