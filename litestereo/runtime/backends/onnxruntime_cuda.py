"""The ONNX Runtime CUDA backend, for workstations: proven on the GPU when it is loaded.

ONNX Runtime falls back to the CPU with a mere log line when its CUDA provider cannot start, and
lists providers that were compiled in rather than those that work. So a pair is run at load, and its
profile says where each node ran.
"""

from __future__ import annotations

import json
import platform
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np

from litestereo.errors import EngineError, MissingDependencyError
from litestereo.runtime.backends import BackendOptions
from litestereo.runtime.backends.onnxruntime_session import (
    SessionBackend,
    check_graph,
    open_session,
    read_manifest,
    run,
    session_options,
)
from litestereo.runtime.cuda.driver import Driver
from litestereo.runtime.manifest import Manifest

__all__ = ["OnnxRuntimeCuda", "load"]

_PROVIDER = "CUDAExecutionProvider"
# Operators that are nearly all of the work; not one of them may run on the CPU.
_HEAVY = frozenset({"Conv", "ConvTranspose", "FusedConv", "FusedMatMul", "Gemm", "MatMul"})
_JETSON = (
    "PyPI's onnxruntime-gpu for aarch64 is built for server GPUs (sm_89, sm_90, sm_120, sm_121) "
    "and has no kernels for a Jetson (Orin is sm_87, Thor sm_110); use --backend tensorrt there, "
    "or a wheel that was built for your JetPack"
)


class OnnxRuntimeCuda(SessionBackend):
    """A loaded artefact; made by `load`."""

    name = "onnxruntime-cuda"

    def __init__(self, session: Any, manifest: Manifest, *, device: str) -> None:  # noqa: ANN401
        """Take over a session that has run on the GPU.

        Args:
            session: an open `onnxruntime.InferenceSession`.
            manifest: what the artefact says of itself.
            device: what to call the GPU.
        """
        super().__init__(session, manifest)
        self.device = device
        # The CUDA provider computes each node in the type that the graph gives it.
        self.precision: str = manifest.precision


def load(artifact: Path, options: BackendOptions) -> OnnxRuntimeCuda:
    """Open `artifact` on a GPU and run a pair there.

    Args:
        artifact: file that `stereo-export` wrote.
        options: threads, optimisation and GPU.

    Raises:
        MissingDependencyError: onnxruntime is not installed.
        EngineError: no GPU, an ONNX Runtime without CUDA, or one whose kernels do not run here.
    """
    info = Driver.open().device_info(options.gpu.device_index)
    _require_provider()
    with tempfile.TemporaryDirectory(prefix="litestereo-") as folder:
        wanted = session_options(options)
        wanted.enable_profiling = True
        wanted.profile_file_prefix = str(Path(folder) / "probe")
        settings = {"device_id": str(info.index), "use_tf32": str(int(options.gpu.build.tf32))}
        session = open_session(artifact, wanted, providers=[(_PROVIDER, settings)])
        if _PROVIDER not in session.get_providers():
            raise EngineError(
                f"ONNX Runtime could not start its CUDA provider for {info.name} and took "
                f"{session.get_providers()} instead: its CUDA or cuDNN libraries are missing or of "
                "another version; pip install 'onnxruntime-gpu[cuda,cudnn]' brings fitting ones"
            )
        check_graph(session, artifact)
        manifest = read_manifest(session, artifact)
        share = _prove(session, manifest, gpu=f"{info.name} ({info.sm})")
    device = f"cuda:{info.index} {info.name} {info.sm} (ONNX Runtime, {share:.0%} of the nodes)"
    return OnnxRuntimeCuda(session, manifest, device=device)


def _require_provider() -> None:
    """Refuse an ONNX Runtime that was compiled without CUDA; load CUDA's libraries if it can."""
    try:
        import onnxruntime
    except ImportError as error:
        raise MissingDependencyError(
            "onnxruntime-gpu", purpose="the onnxruntime-cuda backend", extra="gpu"
        ) from error
    if _PROVIDER not in onnxruntime.get_available_providers():
        raise EngineError(
            f"onnxruntime {onnxruntime.__version__} here is built without CUDA: the packages "
            "onnxruntime and onnxruntime-gpu overwrite each other; pip uninstall both and install "
            f"onnxruntime-gpu alone{_aarch64_words()}"
        )
    # From 1.21 on it finds the libraries of NVIDIA's wheels, which are on no search path.
    preload = getattr(onnxruntime, "preload_dlls", None)
    if preload is not None:
        preload()


def _prove(session: Any, manifest: Manifest, *, gpu: str) -> float:  # noqa: ANN401
    """Run a pair and return the share of nodes that ran on the GPU, 0 to 1.

    Raises:
        EngineError: a kernel failed, or heavy work ran on the CPU.
    """
    side = 2 * manifest.input.multiple_of
    height, width = manifest.input.fixed_size or (side, side)
    blank = np.zeros((height, width, 3), np.uint8)
    try:
        run(session, blank, blank)
    except EngineError as error:
        raise EngineError(
            f"ONNX Runtime's kernels do not run on {gpu}: {error}. {_JETSON}"
        ) from error
    places, heavy_elsewhere = _node_places(Path(session.end_profiling()))
    if heavy_elsewhere or not places[_PROVIDER]:
        raise EngineError(
            f"ONNX Runtime ran {dict(places)} nodes, {', '.join(sorted(heavy_elsewhere)) or 'all'} "
            f"not on {gpu}; a CPU run is never taken for a GPU's. {_JETSON}"
        )
    return places[_PROVIDER] / places.total()


def _node_places(profile: Path) -> tuple[Counter[str], set[str]]:
    """Return how many nodes each provider ran, and the heavy operators that ran elsewhere."""
    places, elsewhere = Counter[str](), set[str]()
    for event in json.loads(profile.read_text()):
        details = event.get("args", {})
        if event.get("cat") != "Node" or "provider" not in details:
            continue
        places[details["provider"]] += 1
        if details["provider"] != _PROVIDER and details.get("op_name") in _HEAVY:
            elsewhere.add(details["op_name"])
    return places, elsewhere


def _aarch64_words() -> str:
    return f". {_JETSON}" if platform.machine() == "aarch64" else ""
