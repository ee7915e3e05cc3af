"""The ONNX Runtime CPU backend: runs everywhere, and is what the others are compared with."""

from __future__ import annotations

from pathlib import Path

from litestereo.errors import EngineError, MissingDependencyError
from litestereo.runtime.backends import BackendOptions
from litestereo.runtime.backends.onnxruntime_session import (
    SessionBackend,
    check_graph,
    open_session,
    read_manifest,
    session_options,
)

__all__ = ["OnnxRuntimeCpu", "load"]

_PROVIDER = "CPUExecutionProvider"


class OnnxRuntimeCpu(SessionBackend):
    """A loaded artefact; made by `load`."""

    name = "onnxruntime-cpu"
    device = "cpu"
    # ONNX Runtime computes half-precision graphs in float32 on a CPU.
    precision = "fp32"


def load(artifact: Path, options: BackendOptions) -> OnnxRuntimeCpu:
    """Open `artifact` on the CPU.

    Args:
        artifact: file that `stereo-export` wrote.
        options: threads, optimisation and GPU.

    Raises:
        MissingDependencyError: onnxruntime is not installed.
        EngineError: the file is no artefact, or ONNX Runtime refuses it.
    """
    try:
        import onnxruntime  # noqa: F401 - asked for here, used by the session's module
    except ImportError as error:
        raise MissingDependencyError(
            "onnxruntime", purpose="the onnxruntime-cpu backend", extra="cpu"
        ) from error
    session = open_session(artifact, session_options(options), providers=[_PROVIDER])
    if session.get_providers() != [_PROVIDER]:
        raise EngineError(
            f"ONNX Runtime runs {artifact} on {session.get_providers()}, not the CPU; install "
            "onnxruntime again"
        )
    check_graph(session, artifact)
    return OnnxRuntimeCpu(session, read_manifest(session, artifact))
