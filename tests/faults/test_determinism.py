"""Same input, same bits: across calls, threads, engines, processes, and CPU threads of a session.

Measured with ONNX Runtime 1.32 on x86-64: a session's answer does not depend on how its work is
spread, so 1 and 2 threads give the same bits on one machine. Between CPUs of other instruction
sets, and between CPU, torch and GPU, only the gates of litestereo.export.parity hold.
"""

import hashlib
import subprocess
import sys
import threading

import numpy as np
import pytest
from fault_jobs import environment

from litestereo import StereoEngine
from litestereo.assets import bundled_artifact
from litestereo.benchmarks.latency.pictures import bench_pair

SIZE = (64, 96)


def bits(result):
    return hashlib.sha256(result.disparity_px.tobytes() + result.confidence.tobytes()).hexdigest()


def answer(threads=1):
    with StereoEngine.load("las1", threads=threads) as engine:
        return bits(engine(*bench_pair(SIZE)))


@pytest.fixture(scope="module")
def first():
    return answer()


def test_calls_and_engines(first):
    with StereoEngine.load("las1", threads=1) as engine:
        assert {bits(engine(*bench_pair(SIZE))) for _ in range(5)} == {first}
        other = tuple(np.ascontiguousarray(picture[::-1]) for picture in bench_pair((96, 64)))
        assert bits(engine(*other)) != first  # the check can fail
        assert bits(engine(*bench_pair(SIZE))) == first, "an answer depends on the one before"


def test_callers_threads(first):
    found = set()
    with StereoEngine.load("las1", threads=1) as engine:
        callers = [
            threading.Thread(target=lambda: found.add(bits(engine(*bench_pair(SIZE)))))
            for _ in range(4)
        ]
        for caller in callers:
            caller.start()
        for caller in callers:
            caller.join()
    assert found == {first}


def test_threads_of_a_session(first):
    assert answer(threads=2) == first


def test_processes(first, tmp_path):
    script = "from test_determinism import answer; print(answer())"
    variables = environment(tmp_path)
    variables["PYTHONPATH"] += f":{__file__.rpartition('/')[0]}"
    for seed in ("0", "1"):
        ran = subprocess.run(
            [sys.executable, "-c", script],
            env={**variables, "PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        )
        assert ran.stdout.strip() == first


def test_a_stream_answers_as_calls_do(first):
    with StereoEngine.load("las1", threads=1) as engine:
        answers = {bits(r.stereo) for r in engine.stream([bench_pair(SIZE)] * 3)}
    assert answers == {first}


def test_torch_within_its_tolerance():
    torch = pytest.importorskip("torch", reason="needs litestereo[export]")
    from litestereo import models
    from litestereo.export.parity import FP32_LIMIT_MAX_PX

    left, right = bench_pair(SIZE)
    network = models.create("las1").eval()
    models.load_weights(network, bundled_artifact("las1"))

    def tensor(picture):
        return torch.from_numpy(picture).permute(2, 0, 1)[None].float()

    with torch.no_grad():
        disparity, _ = network(tensor(left), tensor(right))
    with StereoEngine.load("las1", threads=1) as engine:
        apart = np.abs(engine(left, right).disparity_px - disparity[0, 0].numpy())
    assert apart.max() <= FP32_LIMIT_MAX_PX


@pytest.mark.gpu
@pytest.mark.parametrize("backend", ["onnxruntime-cuda", "tensorrt"])
def test_a_gpu_repeats_its_bits_and_is_within_its_tolerance(backend, tmp_path):
    from litestereo.errors import LiteStereoError
    from litestereo.export.parity import FP16_LIMIT_MEAN_PX
    from litestereo.runtime.tensorrt.options import GpuOptions

    size, found = (480, 640), set()
    with StereoEngine.load("las1") as engine:
        wanted = engine(*bench_pair(size)).disparity_px
    for _ in range(2):  # the second time out of the cache
        try:
            engine = StereoEngine.load("las1", backend=backend, gpu=GpuOptions(cache_dir=tmp_path))
        except LiteStereoError as error:
            pytest.skip(f"needs {backend}: {error}")
        with engine:
            results = [engine(*bench_pair(size)) for _ in range(20)]
            found |= {bits(result) for result in results}
    assert len(found) == 1
    # The GPU may sum in TF32, so it gets the bound of half precision.
    assert np.abs(results[0].disparity_px - wanted).mean() <= FP16_LIMIT_MEAN_PX
