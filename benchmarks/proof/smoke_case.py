"""Write the smoke test's pair and ONNX Runtime's FP32 answer on the CPU: smoke_case.py SIZE..."""

from __future__ import annotations

import sys

import numpy as np
from common import artifact_of, say, size_of, work

from litestereo.benchmarks.latency.pictures import bench_pair
from litestereo.runtime.backends import BackendOptions, open_backend


def main(*sizes: str) -> None:
    """Write one file a size into the work folder."""
    backend = open_backend("onnxruntime-cpu", artifact_of("las1"), options=BackendOptions())
    work().mkdir(parents=True, exist_ok=True)
    for size in sizes:
        left, right = bench_pair(size_of(size))
        disparity, _ = backend.infer(left, right)
        path = work() / f"smoke_{size}.npz"
        np.savez_compressed(path, left=left, right=right, disparity=disparity)
        say(str(path))


if __name__ == "__main__":
    main(*sys.argv[1:])
