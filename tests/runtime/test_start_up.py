"""`stereo-run` is ready for its first pair within a second."""

import subprocess
import sys

import pytest

pytest.importorskip("onnxruntime")

_PROGRAM = """
import time
import cv2
import litestereo.cli
from litestereo import StereoEngine
StereoEngine.load("las1", threads=1)
print(time.process_time())
"""
_LIMIT_S = 1.0


def test_imports_and_the_bundled_network_take_less_than_a_second():
    # Processor time, which other work on the machine does not lengthen; the best of three, because
    # a first start may read the libraries from disk. It is 0.4 s on a 2.5 GHz core.
    taken_s = []
    for _ in range(3):
        ran = subprocess.run(
            [sys.executable, "-c", _PROGRAM], capture_output=True, text=True, check=True
        )
        taken_s.append(float(ran.stdout))
        if taken_s[-1] < _LIMIT_S:
            break
    assert min(taken_s) < _LIMIT_S
