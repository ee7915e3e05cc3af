"""How an engine runs: running.py STEP NAME@SIZE... (TensorRT's interpreter).

STEP is one of: start, latency, frames, threads, binding, beside-torch, or all. Every measurement
of a start, and each binding, has a process of its own.
"""

from __future__ import annotations

import ctypes
import gc
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from importlib.abc import MetaPathFinder
from pathlib import Path
from typing import Any

import numpy as np
from common import artifact_of, options, percentiles, save, say, size_of, work

from litestereo.runtime.backends import open_backend
from litestereo.runtime.engine import StereoEngine

_FRAMES = int(os.environ.get("PROOF_FRAMES", "10000"))
_SAMPLES = int(os.environ.get("PROOF_SAMPLES", "2000"))


def opened(engine: str, **changes: Any) -> Any:
    """Return the backend of an engine."""
    name, size = engine.split("@")
    return open_backend("tensorrt", artifact_of(name), options=options(name, size, **changes))


def pairs_of(engine: str, count: int) -> list[tuple[np.ndarray, np.ndarray]]:
    """Return prepared pairs of the engine's size; noise where none were prepared."""
    size = engine.split("@")[1]
    path = work() / f"pairs_{size}.npy"
    if not path.is_file():
        noise = np.random.default_rng(0).integers(0, 256, (count, 2, *size_of(size), 3), np.uint8)
        return [(pair[0], pair[1]) for pair in noise]
    stored = np.load(path, mmap_mode="r")
    chosen = np.linspace(0, len(stored) - 1, count).astype(int)
    return [
        (np.ascontiguousarray(stored[i, 0]), np.ascontiguousarray(stored[i, 1])) for i in chosen
    ]


def start(engine: str) -> dict[str, float]:
    """Time a start from the cache, in this process, after the CUDA context is there."""
    from litestereo.runtime.cuda import open_device

    begin = time.perf_counter()
    device = open_device(0)
    with device.active():
        device.device_buffer(1 << 20).free()
    context = time.perf_counter()
    import tensorrt  # noqa: F401 - its import is timed

    imported = time.perf_counter()
    pair = pairs_of(engine, 1)[0]
    loading = time.perf_counter()
    backend = opened(engine)
    backend.infer(*pair)
    ready = time.perf_counter()
    backend.close()
    device.close()
    return {
        "context_s": round(context - begin, 3),
        "import_s": round(imported - context, 3),
        "load_and_first_answer_s": round(ready - loading, 3),
    }


def latency(engine: str) -> dict[str, Any]:
    """Time the backend and the whole engine, with a CUDA graph and without."""
    found: dict[str, Any] = {}
    for way, graph in (("graph", True), ("enqueue", False)):
        backend = opened(engine, cuda_graph=graph)
        stereo = StereoEngine(backend)
        pairs = pairs_of(engine, 8)
        for index in range(300):
            stereo(*pairs[index % 8])
        infer_ms, stages = [], []
        for index in range(_SAMPLES):
            begin = time.perf_counter()
            backend.infer(*pairs[index % 8])
            infer_ms.append(1e3 * (time.perf_counter() - begin))
            stages.append(backend.device_times())
        whole_ms = _timed_ms(stereo, pairs, calls=_SAMPLES)
        lent_ms = _timed_ms(stereo, pairs, calls=_SAMPLES, copy=False)
        filled_ms = _on_own_buffers_ms(stereo, pairs[0], calls=_SAMPLES)
        columns = {field: [getattr(s, field) for s in stages] for field in stages[0]._fields}
        copies = zip(columns["host_to_device_ms"], columns["device_to_host_ms"], strict=True)
        gpu_ms = [sum(pair) + c for pair, c in zip(copies, columns["compute_ms"], strict=True)]
        found[way] = {
            "device": backend.device,
            "backend_end_to_end": percentiles(infer_ms),
            "engine_end_to_end": percentiles(whole_ms),
            "engine_without_copy_end_to_end": percentiles(lent_ms),
            "engine_on_its_buffers_end_to_end": percentiles(filled_ms),
            "gpu_with_copies": percentiles(gpu_ms),
            **{field.removesuffix("_ms"): percentiles(column) for field, column in columns.items()},
        }
        p50 = found[way]["gpu_with_copies"]["p50_ms"]
        for kind in ("backend", "engine", "engine_without_copy", "engine_on_its_buffers"):
            times = found[way][f"{kind}_end_to_end"]
            found[way][f"{kind}_over_gpu"] = round(times["p50_ms"] / p50 - 1, 4)
            found[way][f"{kind}_p99_over_p50"] = round(times["p99_ms"] / times["p50_ms"], 4)
        stereo.close()
    graph_ms, plain_ms = (found[w]["compute"]["p50_ms"] for w in ("graph", "enqueue"))
    found["graph_gain"] = round(plain_ms / graph_ms, 3)
    return found


def _timed_ms(
    stereo: StereoEngine,
    pairs: Sequence[tuple[np.ndarray, np.ndarray]],
    *,
    calls: int,
    copy: bool = True,
) -> list[float]:
    """Return what each call takes from host to host, the pairs one after another."""
    times_ms = []
    for index in range(calls):
        begin = time.perf_counter()
        stereo(*pairs[index % len(pairs)], copy=copy)
        times_ms.append(1e3 * (time.perf_counter() - begin))
    return times_ms


def _on_own_buffers_ms(
    stereo: StereoEngine, pair: tuple[np.ndarray, np.ndarray], *, calls: int
) -> list[float]:
    """Return the same of a pair that lies in the engine's own buffers, its answers not copied."""
    left, right = stereo.input_buffers(pair[0].shape[:2])
    np.copyto(left, pair[0])
    np.copyto(right, pair[1])
    return _timed_ms(stereo, [(left, right)], calls=calls, copy=False)


def frames(engine: str) -> dict[str, Any]:
    """Run many frames and watch the process's and the GPU's memory."""
    from litestereo.runtime.cuda import open_device

    device = open_device(0)  # so that the context's own memory is not counted as the engine's
    context_mib = _gpu_used_mib()
    backend = opened(engine)
    pairs = pairs_of(engine, 8)
    for index in range(200):
        backend.infer(*pairs[index % 8])
    gc.collect()
    expected = backend.infer(*pairs[0])[0].copy()
    watched = [(0, _resident_kib(), _gpu_used_mib())]
    times_ms = []
    for index in range(1, _FRAMES + 1):
        begin = time.perf_counter()
        answer, _ = backend.infer(*pairs[index % 8])
        times_ms.append(1e3 * (time.perf_counter() - begin))
        if index % max(_FRAMES // 10, 1) == 0:
            watched.append((index, _resident_kib(), _gpu_used_mib()))
    answer = backend.infer(*pairs[0])[0]
    same = bool(np.array_equal(answer, expected))
    engine_mib = round(_gpu_used_mib() - context_mib, 1)
    stereo = StereoEngine(backend)
    filled_ms = _on_own_buffers_ms(stereo, pairs[0], calls=_FRAMES)
    stereo.close()
    device.close()
    return {
        "frames": _FRAMES,
        "gpu_over_context_mib": engine_mib,
        "same_answer_at_the_end": same,
        "end_to_end": percentiles(times_ms),
        "engine_on_its_buffers_end_to_end": percentiles(filled_ms),
        "resident_grew_kib": watched[-1][1] - watched[1][1],
        "gpu_used_grew_mib": watched[-1][2] - watched[1][2],
        "watched_frame_kib_mib": watched,
    }


def threads(*engines: str) -> dict[str, Any]:
    """Call one engine from four threads, then each thread an engine of its own."""
    backends = [opened(engine) for engine in engines]
    per_thread = [(backends[i % len(backends)], engines[i % len(engines)]) for i in range(4)]
    own = {
        "one_engine_four_threads": [(backends[0], engines[0])] * 4,
        "four_threads_their_engines": per_thread,
    }
    found = {}
    for way, work_of in own.items():
        wrong = _from_threads(work_of, rounds=200)
        found[way] = {"calls": 800, "wrong": wrong}
    for backend in backends:
        backend.close()
    return {**found, "engines": list(engines)}


def binding(engine: str) -> dict[str, Any]:
    """Run with each package for GPU memory alone, the other one out of reach."""
    found: dict[str, Any] = {}
    for name, hidden in (("pycuda", "cuda"), ("cuda-bindings", "pycuda"), ("both", "")):
        found[name] = _child("binding-child", engine, hidden)
    answers = {json.dumps(one.get("sum")) for one in found.values()}
    return {**found, "same_answers": len(answers) == 1}


def binding_child(engine: str, hidden: str = "") -> dict[str, Any]:
    """Answer a pair with whatever package is not hidden."""
    if hidden:
        sys.meta_path.insert(0, _Hidden(hidden))
    backend = opened(engine)
    pair = pairs_of(engine, 1)[0]
    times_ms = []
    for _ in range(300):
        begin = time.perf_counter()
        disparity, _ = backend.infer(*pair)
        times_ms.append(1e3 * (time.perf_counter() - begin))
    answer = {
        "device": backend.device,
        "end_to_end": percentiles(times_ms[50:]),
        "sum": float(disparity.astype(np.float64).sum()),
    }
    backend.close()
    return answer


def beside_torch(engine: str) -> dict[str, Any]:
    """Run while torch's own C++ library works on the same GPU in this process, and with its memory.

    The library comes from PROOF_LIBTORCH, which `beside_torch.cpp` is compiled to.
    """
    torch = ctypes.CDLL(os.environ["PROOF_LIBTORCH"])
    torch.to_gpu.restype = ctypes.c_void_p
    torch.product_check.restype = ctypes.c_double
    first = torch.product_check(ctypes.c_int(512))
    backend = opened(engine)
    left, right = pairs_of(engine, 1)[0]
    expected = backend.infer(left, right)[0].copy()
    done = threading.Event()
    sums: list[float] = []

    def torch_works() -> None:
        while not done.is_set():
            sums.append(torch.product_check(ctypes.c_int(512)))

    worker = threading.Thread(target=torch_works)
    worker.start()
    wrong = 0
    for _ in range(500):
        wrong += not np.array_equal(backend.infer(left, right)[0], expected)
    done.set()
    worker.join()
    held = [_TorchTensor(torch, picture) for picture in (left, right)]
    disparity, _ = backend.infer_gpu(held[0], held[1], stream=0)
    answer = np.empty(expected.shape, np.float32)
    address = ctypes.c_void_p(disparity.address)
    torch.to_host(address, answer.ctypes.data_as(ctypes.c_void_p), ctypes.c_size_t(answer.nbytes))
    backend.close()
    after = torch.product_check(ctypes.c_int(512))
    return {
        "libtorch": torch_version(torch),
        "calls_beside": 500,
        "wrong_beside": wrong,
        "torch_products": len(sums),
        "torch_wrong": sum(abs(value - first) > 1e-3 * abs(first) for value in [*sums, after]),
        "gpu_arrays_of_torch_same_answer": bool(np.array_equal(answer, expected)),
    }


def torch_version(library: Any) -> str:
    """Return libtorch's version."""
    library.version.restype = ctypes.c_char_p
    return str(library.version().decode())


class _TorchTensor:
    """A picture in torch's GPU memory, as `__cuda_array_interface__` describes it."""

    def __init__(self, library: Any, picture: np.ndarray) -> None:
        address = library.to_gpu(
            picture.ctypes.data_as(ctypes.c_void_p), ctypes.c_size_t(picture.nbytes)
        )
        self.__cuda_array_interface__ = {
            "shape": picture.shape,
            "typestr": "|u1",
            "data": (address, False),
            "version": 3,
            "strides": None,
        }


class _Hidden(MetaPathFinder):
    """Lets nobody import a package."""

    def __init__(self, package: str) -> None:
        self._package = package

    def find_spec(self, fullname: str, path: object = None, target: object = None) -> None:
        if fullname.partition(".")[0] == self._package:
            raise ModuleNotFoundError(f"{fullname} is hidden for this test", name=fullname)


def _from_threads(work_of: list[tuple[Any, str]], *, rounds: int) -> int:
    """Call backends from one thread each; return how many answers were not the sequential one."""
    pairs = [pairs_of(engine, 4)[index] for index, (_, engine) in enumerate(work_of)]
    expected = [b.infer(*pair)[0].copy() for (b, _), pair in zip(work_of, pairs, strict=True)]
    stereos = {id(backend): StereoEngine(backend) for backend, _ in work_of}
    wrong: list[int] = []

    def call(index: int) -> None:
        stereo = stereos[id(work_of[index][0])]
        for _ in range(rounds):
            answer = stereo(*pairs[index]).disparity_px
            if not np.array_equal(answer, np.maximum(expected[index], 0)):
                wrong.append(index)

    started = [threading.Thread(target=call, args=(index,)) for index in range(len(work_of))]
    for thread in started:
        thread.start()
    for thread in started:
        thread.join()
    return len(wrong)


def _resident_kib() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") // 1024


def _gpu_used_mib() -> float:
    """Return the GPU's used memory, of all processes: the primary context is current for it."""
    driver = ctypes.CDLL("libcuda.so.1")
    device, context = ctypes.c_int(), ctypes.c_void_p()
    free, total = ctypes.c_size_t(), ctypes.c_size_t()
    driver.cuDeviceGet(ctypes.byref(device), 0)
    driver.cuDevicePrimaryCtxRetain(ctypes.byref(context), device)
    driver.cuCtxPushCurrent_v2(context)
    driver.cuMemGetInfo_v2(ctypes.byref(free), ctypes.byref(total))
    driver.cuCtxPopCurrent_v2(ctypes.byref(context))
    driver.cuDevicePrimaryCtxRelease_v2(device)
    return round((total.value - free.value) / 2**20, 1)


def _child(*arguments: str) -> dict[str, Any]:
    """Run a step in a process of its own, and return what it found."""
    command = [sys.executable, __file__, *arguments]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    lines = [line for line in ran.stdout.splitlines() if line.startswith("{")]
    if not lines:
        return {"failed": ran.returncode, "said": (ran.stdout + ran.stderr)[-2000:]}
    found: dict[str, Any] = json.loads(lines[-1])
    return {**found, "exit": ran.returncode} if ran.returncode else found


def _step(step: str, engines: list[str]) -> Any:
    """Return what a step finds of all engines; a failure is found, too, and the rest goes on."""
    alone: dict[str, Callable[[str], Any]] = {
        "start": lambda engine: [_child("start-child", engine) for _ in range(3)],
        "latency": latency,
        "frames": frames,
        "binding": binding,
        "beside-torch": beside_torch,
    }
    found = {}
    runs = {"": lambda _: threads(*engines)} if step == "threads" else dict.fromkeys(engines)
    for engine, run in runs.items():
        try:
            found[engine or "threads"] = (run or alone[step])(engine)
        except Exception as error:
            import traceback

            say(f"FAILED {step} {engine}\n{traceback.format_exc()}")
            found[engine or "threads"] = {"failed": repr(error)}
        say(f"{step} {engine}: {json.dumps(found[engine or 'threads'])[:1500]}")
    return found


def main(step: str, *engines: str) -> None:
    """Run one step, or all, and write what was found."""
    children = {"start-child": start, "binding-child": binding_child}
    if step in children:
        print(json.dumps(children[step](*engines)), flush=True)
        return
    first = list(engines[:1])
    every = {
        "start": list(engines),
        "latency": list(engines),
        "threads": list(engines[:2]),
        "binding": first,
        "beside-torch": first,
        "frames": first,
    }
    steps = list(every) if step == "all" else [step]
    for one in steps:
        chosen = every[one] if step == "all" else list(engines)
        save(f"running_{one}", {one: _step(one, chosen)})


if __name__ == "__main__":
    main(*sys.argv[1:])
