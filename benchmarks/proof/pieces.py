"""Time small networks: pieces.py FOLDER [NAME...] (TensorRT's interpreter).

Each is built and replayed as a CUDA graph; the time is the GPU's for one of its repetitions. The
files are those of `benchmarks/piece_graphs.py`. What is not built or run is found, too.
"""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from common import out, save, say

from litestereo.runtime.cuda import open_device
from litestereo.runtime.tensorrt.engines import load_plan
from litestereo.runtime.tensorrt.library import import_tensorrt, own_words

_TIMES = 8  # as in piece_graphs.py
_REPLAYS, _MEASURED = 20, 7


def piece_us(trt: Any, device: Any, path: Path, timings: bytes) -> tuple[dict[str, Any], bytes]:
    """Build and time one network; what was found, and TensorRT's timing cache."""
    log, words = own_words(trt)
    words.clear()
    begin = time.monotonic()
    builder = trt.Builder(log)
    network = builder.create_network(1 << int(trt.NetworkDefinitionCreationFlag.EXPLICIT_BATCH))
    parser = trt.OnnxParser(network, log)
    if not parser.parse(path.read_bytes()):
        return {"failed": words.words()}, timings
    config = builder.create_builder_config()
    config.builder_optimization_level = 3
    config.profiling_verbosity = trt.ProfilingVerbosity.DETAILED
    config.set_flag(trt.BuilderFlag.FP16)
    sources = (trt.TacticSource.EDGE_MASK_CONVOLUTIONS, trt.TacticSource.JIT_CONVOLUTIONS)
    config.set_tactic_sources(sum(1 << int(source) for source in sources))
    cache = config.create_timing_cache(timings)
    if cache is not None:
        config.set_timing_cache(cache, False)
    plan = builder.build_serialized_network(network, config)
    if plan is None:
        return {"failed": words.words()}, timings
    measured = config.get_timing_cache()
    timings = bytes(memoryview(measured.serialize())) if measured is not None else timings
    took_s = time.monotonic() - begin
    runtime, engine = load_plan(trt, bytes(memoryview(plan)), name=path.stem)
    found = {"build_s": round(took_s, 1), **_timed(trt, device, engine)}
    inspector = engine.create_engine_inspector()
    text = inspector.get_engine_information(trt.LayerInformationFormat.JSON)
    (out() / f"piece_{path.stem}.txt").write_text(text)
    del inspector, engine, runtime
    return found, timings


def _timed(trt: Any, device: Any, engine: Any) -> dict[str, Any]:
    context, stream = engine.create_execution_context(), device.stream()
    buffers = []
    for index in range(engine.num_io_tensors):
        name = engine.get_tensor_name(index)
        count = int(np.prod(engine.get_tensor_shape(name)))
        buffers.append(device.device_buffer(4 * count))
        context.set_tensor_address(name, buffers[-1].address)
    context.execute_async_v3(stream.handle)
    device.synchronize(stream)
    marks = device.event(), device.event()

    def queue() -> None:
        for _ in range(_REPLAYS):
            context.execute_async_v3(stream.handle)

    graph = device.capture(stream, queue)
    launch: Callable[[], None] = queue if graph is None else lambda: graph.launch(stream)
    samples_us = []
    for _ in range(_MEASURED + 3):
        device.record(marks[0], stream.handle)
        launch()
        device.record(marks[1], stream.handle)
        device.synchronize(stream)
        samples_us.append(1e3 * device.elapsed_ms(*marks) / (_REPLAYS * _TIMES))
    for owned in (*([graph] if graph else []), *marks, *buffers):
        owned.free()
    stream.free()
    return {"us": round(statistics.median(samples_us[3:]), 2), "as": "graph" if graph else "calls"}


def main(folder: str, *names: str) -> int:
    """Time all networks of a folder, or the named ones; write after each."""
    trt, device = import_tensorrt(), open_device(0, binding="auto")
    paths = sorted(Path(folder).glob("*.onnx"))
    chosen = [Path(folder) / f"{name}.onnx" for name in names] or paths
    found: dict[str, Any] = {}
    timings = b""
    with device.active():
        for path in chosen:
            try:
                found[path.stem], timings = piece_us(trt, device, path, timings)
            except Exception as error:  # the next one may do
                found[path.stem] = {"failed": repr(error)}
            say(f"{path.stem}: {found[path.stem]}")
            save("pieces", {"repetitions": _TIMES, "pieces": found})
    device.close()
    return sum("failed" in one for one in found.values())


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
