"""Save what a backend says of all prepared pairs: answers.py NAME@SIZE... (TensorRT's interpreter).

Writes answers_NAME_SIZE.npz with disparity and confidence, (N, H, W) float32. PROOF_BACKEND takes
another backend than tensorrt, to try the step on a machine without a GPU.
"""

from __future__ import annotations

import os
import sys

import numpy as np
from common import artifact_of, options, say, size_of, work

from litestereo.runtime.backends import open_backend


def main(*engines: str) -> None:
    """Answer all pairs with each engine."""
    name_of_backend = os.environ.get("PROOF_BACKEND", "tensorrt")
    for engine in engines:
        name, size = engine.split("@")
        pairs = np.load(work() / f"pairs_{size}.npy", mmap_mode="r")
        disparity = np.empty((len(pairs), *size_of(size)), np.float32)
        confidence = np.empty_like(disparity)
        backend = open_backend(name_of_backend, artifact_of(name), options=options(name, size))
        for index, (left, right) in enumerate(pairs):
            answer = backend.infer(np.ascontiguousarray(left), np.ascontiguousarray(right))
            disparity[index], confidence[index] = answer
        say(f"{engine}: {len(pairs)} pairs on {backend.device}, {backend.precision}")
        backend.close()
        np.save(work() / f"answers_{name}_{size}.npy", np.stack([disparity, confidence]))


if __name__ == "__main__":
    main(*sys.argv[1:])
