"""Zero-shot stereo matching, from a PyTorch checkpoint to a robot.

Importing this package is cheap: no torch, onnx, onnxruntime, tensorrt, pycuda or cv2 is loaded
before it is needed.

ONNX Runtime's telemetry, which from 1.29 on is sent unless told otherwise, is told otherwise.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from litestereo._version import __version__
from litestereo.errors import (
    CalibrationError,
    CheckpointError,
    EngineError,
    ExportError,
    InputError,
    LiteStereoError,
    MissingDependencyError,
    TrainingError,
)

# Heeded when ONNX Runtime is imported; a user who sets it to 0 has decided.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

if TYPE_CHECKING:
    from litestereo.runtime.engine import StereoEngine
    from litestereo.runtime.results import StereoResult

__all__ = [
    "CalibrationError",
    "CheckpointError",
    "EngineError",
    "ExportError",
    "InputError",
    "LiteStereoError",
    "MissingDependencyError",
    "StereoEngine",
    "StereoResult",
    "TrainingError",
    "__version__",
]


def __getattr__(name: str) -> Any:  # noqa: ANN401 - the protocol of module __getattr__
    """Load the runtime's public names on first use (PEP 562), so that the import stays light."""
    if name in {"StereoEngine", "StereoResult"}:
        from litestereo.runtime import engine

        return getattr(engine, name)
    raise AttributeError(f"module 'litestereo' has no attribute {name!r}")
