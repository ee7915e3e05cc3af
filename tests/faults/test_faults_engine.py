"""Engines that are closed, shared, forked, or out of memory."""

import multiprocessing
import os
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from fake_cuda import FakeDevice
from fake_tensorrt import fake_tensorrt
from fault_jobs import environment
from stand_in import expected, write_stand_in

from litestereo import StereoEngine
from litestereo.errors import EngineError
from litestereo.runtime.cuda.driver import Driver
from litestereo.runtime.tensorrt.artifact import read_artifact
from litestereo.runtime.tensorrt.backend import TensorRt
from litestereo.runtime.tensorrt.options import GpuOptions

SIZE = (64, 96)


@pytest.fixture
def model(tmp_path):
    return write_stand_in(tmp_path / "m.onnx")


def pair(seed, size=SIZE):
    rng = np.random.default_rng(seed)
    return tuple(rng.integers(0, 256, (*size, 3), np.uint8) for _ in range(2))


class FullDevice(FakeDevice):
    """A GPU with little memory, which says so as the driver does."""

    def __init__(self, *, most):
        super().__init__()
        self.most, self.used = most, 0

    def device_buffer(self, nbytes):
        if self.used + nbytes > self.most:
            library = type("Library", (), {
                "cuMemAlloc": lambda *_: 2, "cuGetErrorName": lambda *_: 1
            })  # fmt: skip
            Driver(library()).call("cuMemAlloc")
        self.used += nbytes
        made = super().device_buffer(nbytes)
        return made

    def _free(self, handle):
        memory = self._memory.get(handle)
        if memory is not None and self.live[handle] == "device":
            self.used -= memory.nbytes
        super()._free(handle)


def test_out_of_gpu_memory_is_said_and_the_engine_goes_on(model, tmp_path):
    device = FullDevice(most=200_000)
    trt = fake_tensorrt("10.3.0", device=device)
    options = GpuOptions(cache_dir=tmp_path / "cache")
    with StereoEngine(
        TensorRt(trt, read_artifact(model), device=device, options=options)
    ) as engine:
        wanted = expected(*pair(1))[0]
        np.testing.assert_allclose(engine(*pair(1)).disparity_px, wanted, atol=1e-4)
        before, engines = dict(device.live), trt.log.count("drop engine")
        for _ in range(3):
            with pytest.raises(EngineError, match=r"memory is full.*smaller size"):
                engine(*pair(2, (512, 1024)))
        assert device.live == before
        # The one that was attested right after its build, and the one that did not fit; then the
        # cached one that did not fit, twice.
        assert trt.log.count("drop engine") - engines == 4
        np.testing.assert_allclose(engine(*pair(1)).disparity_px, wanted, atol=1e-4)


@pytest.mark.parametrize("part", ["call", "prepare", "infer", "frame_for", "fixed_size", "stream"])
def test_a_closed_engine_says_so(model, part):
    engine = StereoEngine.load(model, threads=1)
    prepared = engine.prepare(*pair(1))
    engine.close()
    engine.close()
    parts = {
        "call": lambda: engine(*pair(1)),
        "prepare": lambda: engine.prepare(*pair(1)),
        "infer": lambda: engine.infer(prepared),
        "frame_for": lambda: engine.frame_for(SIZE),
        "fixed_size": lambda: engine.fixed_size,
        "stream": lambda: list(engine.stream([pair(1)])),
    }
    with pytest.raises(EngineError, match="the engine is closed; load a new one"):
        parts[part]()


def test_sixteen_threads_get_their_own_answers(model):
    sizes = [SIZE, (32, 32), (96, 64)]
    pairs = [pair(seed, sizes[seed % 3]) for seed in range(16)]
    with StereoEngine.load(model, threads=1) as engine, ThreadPoolExecutor(16) as pool:
        for _ in range(5):
            results = list(pool.map(lambda both: engine(*both), pairs))
            for both, result in zip(pairs, results, strict=True):
                np.testing.assert_array_equal(result.disparity_px, expected(*both)[0])


def test_closing_under_sixteen_threads_ends_in_answers_or_the_error(model):
    engine = StereoEngine.load(model, threads=1)
    wrong, began = [], threading.Barrier(17)

    def use(seed):
        began.wait()
        both = pair(seed)
        for _ in range(50):
            try:
                if not np.array_equal(engine(*both).disparity_px, expected(*both)[0]):
                    wrong.append(seed)
            except EngineError as error:
                if "closed" not in str(error):
                    wrong.append(error)
                return

    users = [threading.Thread(target=use, args=(seed,)) for seed in range(16)]
    for user in users:
        user.start()
    began.wait()
    engine.close()
    for user in users:
        user.join(30)
    assert not any(user.is_alive() for user in users)
    assert wrong == []


def use_after_fork(engine, queue):
    try:
        engine(*pair(1))
        queue.put("ran")
    except EngineError as error:
        queue.put(str(error))
    engine.close()  # must not touch what is the parent's


@pytest.mark.skipif(sys.version_info >= (3, 12), reason="Python warns of any fork with threads")
def test_after_a_fork_the_engine_refuses_and_the_parents_goes_on(model):
    context = multiprocessing.get_context("fork")
    queue = context.SimpleQueue()
    with StereoEngine.load(model, threads=2) as engine:
        wanted = engine(*pair(1)).disparity_px
        child = context.Process(target=use_after_fork, args=(engine, queue))
        child.start()
        child.join(20)
        assert child.exitcode == 0
        answer = queue.get()
        assert f"was loaded in process {os.getpid()} and this is a fork of it" in answer
        assert "load one in each process" in answer
        np.testing.assert_array_equal(engine(*pair(1)).disparity_px, wanted)


def test_a_fork_that_drops_an_engine_does_not_hang(model, tmp_path):
    """It leaves by os._exit, as multiprocessing does: ONNX Runtime 1.32 alone hangs otherwise."""
    script = f"""
import os, warnings
warnings.simplefilter("ignore")
import numpy as np
from litestereo import StereoEngine
engine = StereoEngine.load({str(model)!r}, threads=2)
picture = np.zeros((64, 96, 3), np.uint8)
engine(picture, picture)
child = os.fork()
if not child:
    engine.close()
    del engine
    os._exit(7)
status = os.waitpid(child, 0)[1]
engine(picture, picture)
print("child", os.waitstatus_to_exitcode(status))
"""
    ran = subprocess.run(
        [sys.executable, "-c", script],
        env=environment(tmp_path),
        capture_output=True,
        text=True,
        timeout=30,
    )
    assert (ran.returncode, ran.stdout) == (0, "child 7\n"), ran.stderr
