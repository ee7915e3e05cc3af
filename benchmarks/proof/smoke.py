"""First contact: do TensorRT, the CUDA layer and one engine work here? Goes on after a failure.

Run it with TensorRT's interpreter: smoke.py [ARTEFACT] [SIZE]. Prints all that helps to mend what
fails; the exit status is the number of failures.
"""

from __future__ import annotations

import sys
import time
import traceback
from collections import Counter
from collections.abc import Callable
from typing import Any

import numpy as np
from common import artifact_of, gpu_options, options, out, percentiles, save, say, size_of, work

from litestereo.runtime.cuda import open_device
from litestereo.runtime.tensorrt import engines
from litestereo.runtime.tensorrt.artifact import read_artifact
from litestereo.runtime.tensorrt.library import import_tensorrt, own_words
from litestereo.runtime.tensorrt.options import SizeRange

found: dict[str, Any] = {}
failures: list[str] = []


def attempt(name: str, step: Callable[[], Any]) -> None:
    """Run a step; note its result, or its traceback with TensorRT's last words."""
    start = time.monotonic()
    try:
        found[name] = step()
    except Exception:
        failures.append(name)
        found[name] = {"failed": traceback.format_exc()}
        say(f"FAILED {name}\n{traceback.format_exc()}")
        if "tensorrt" in sys.modules:
            say(f"TensorRT's words: {own_words(sys.modules['tensorrt'])[1].words()}")
    else:
        say(f"ok     {name} ({time.monotonic() - start:.1f} s): {found[name]}")


def cuda_layer(binding: Any) -> str:
    """Copy bytes to the GPU and back, and time an event pair, through one package."""
    device = open_device(0, binding=binding)
    with device.active():
        stream, sent = device.stream(), device.pinned_buffer((1000,), np.float32)
        back, memory = device.pinned_buffer((1000,), np.float32), device.device_buffer(4000)
        mapped = device.mapped_buffer((10,), np.uint8)
        marks = device.event(), device.event()
        sent.array[...] = np.arange(1000)
        device.record(marks[0], stream.handle)
        device.upload(memory, sent, stream)
        device.download(back, memory, stream)
        device.record(marks[1], stream.handle)
        device.synchronize(stream)
        assert np.array_equal(sent.array, back.array), "what came back differs"
        took_ms = device.elapsed_ms(*marks)
        for made in (marks[0], marks[1], mapped, memory, back, sent, stream):
            made.free()
    name = f"{device.info.name} {device.info.sm}, there and back {took_ms:.3f} ms"
    device.close()
    return name


def parsed(name: str, size: str) -> dict[str, Any]:
    """Parse an artefact without building it."""
    from litestereo.runtime.tensorrt.builder import BuildRequest, prepare
    from litestereo.runtime.tensorrt.engines import pinned_nodes

    trt, artifact = import_tensorrt(), read_artifact(artifact_of(name))
    device = open_device(0, binding="cuda-bindings")
    with device.active():
        request = BuildRequest(
            name,
            artifact.content,
            artifact.manifest.precision,
            SizeRange.fixed(size_of(size)),
            gpu_options(name, size).build,
            pinned_nodes(artifact),
        )
        prepared = prepare(trt, request)
        network = prepared.network
        layers = [network.get_layer(index) for index in range(network.num_layers)]
        kinds = Counter(str(layer.type).rpartition(".")[2] for layer in layers)
        named = {layer.name for layer in layers}
        answer = {
            "layers": len(layers),
            "typing": prepared.typing,
            "pinned": prepared.pinned,
            "islands": len(request.islands),
            "islands_found_by_name": len(request.islands & named),
            "kinds": dict(kinds.most_common()),
            "names": [layer.name for layer in layers[:6]],
        }
        del network, layers
        prepared.close()
    device.close()
    return answer


def engine_runs(name: str, size: str, **changes: Any) -> dict[str, Any]:
    """Build or load one engine, run it, and compare with ONNX Runtime's answer."""
    from litestereo.runtime.tensorrt.backend import load

    backend = load(artifact_of(name), options(name, size, **changes))
    try:
        left, right, expected = _case(size)
        start = time.monotonic()
        disparity, confidence = (answer.copy() for answer in backend.infer(left, right))
        first_s = time.monotonic() - start
        end_to_end_ms, times = [], []
        for _ in range(200):
            begin = time.perf_counter()
            backend.infer(left, right)
            end_to_end_ms.append(1e3 * (time.perf_counter() - begin))
            times.append(backend.device_times())
        compute = [one.compute_ms for one in times if one is not None]
        answer = {
            "first_s": round(first_s, 2),
            "device": backend.device,
            "attestation": backend.attestation.to_json() if backend.attestation else None,
            "end_to_end": percentiles(end_to_end_ms),
            "compute": percentiles(compute),
            "device_times": times[-1]._asdict() if times[-1] else None,
            "disparity_px": _spread(disparity),
            "confidence": _spread(confidence),
        }
        difference = np.abs(disparity - expected)
        answer["mean_difference_px"] = round(float(difference.mean()), 5)
        answer["p99_9_difference_px"] = round(float(np.percentile(difference, 99.9)), 4)
        answer["max_difference_px"] = round(float(difference.max()), 4)
    finally:
        backend.close()
    return answer


def keep_inspections() -> None:
    """Write what the engine inspector says to a file, before it is read: the words are the clue."""
    read = engines.attest

    def kept(trt: Any, engine: Any, **details: Any) -> Any:
        inspector = engine.create_engine_inspector()
        text = inspector.get_engine_information(trt.LayerInformationFormat.JSON)
        path = out() / f"inspector_{len(list(out().glob('inspector_*')))}.json"
        path.write_text(text)
        say(f"inspector: {len(text)} characters in {path}: {text[:1500]}")
        return read(trt, engine, **details)

    engines.attest = kept


def _case(size: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return a pair and ONNX Runtime's FP32 disparity of it, which `smoke_case.py` wrote."""
    with np.load(work() / f"smoke_{size}.npz") as file:
        return file["left"], file["right"], file["disparity"]


def _spread(values: np.ndarray) -> list[float]:
    return [round(float(v), 3) for v in np.percentile(values, (0, 5, 50, 95, 100))]


def main(name: str = "las1_fp16", size: str = "480x640") -> int:
    """Run all steps; return how many failed."""
    say(f"python {sys.version.split()[0]}, {name} at {size}")
    attempt("tensorrt", lambda: import_tensorrt().__version__)
    for binding in ("cuda-bindings", "pycuda"):
        attempt(f"cuda layer: {binding}", lambda binding=binding: cuda_layer(binding))
    attempt(f"parse {name}", lambda: parsed(name, size))
    keep_inspections()
    attempt(f"engine {name} {size}", lambda: engine_runs(name, size, binding="auto"))
    if failures and failures[-1].startswith("engine"):
        built = any((work() / "engines").glob(f"{name}_{size}/*.plan"))
        without = {"cuda_graph": False} if built else {"constraints": "prefer", "attest": False}
        attempt(f"engine with {without}", lambda: engine_runs(name, size, **without))
    else:
        attempt("second start", lambda: engine_runs(name, size, binding="cuda-bindings"))
    # The bundled FP32 artefact makes convolutions' weights by Cast and Reshape, which TensorRT has
    # to fold; the quickest build tells whether it does.
    attempt("parse las1", lambda: parsed("las1", size))
    attempt(f"quick engine las1 {size}", lambda: engine_runs("las1", size, optimization_level=0))
    save("smoke", {"artefact": name, "size": size, "failures": failures, "found": found})
    say(f"{len(failures)} failed: {failures}" if failures else "all went well")
    return len(failures)


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
