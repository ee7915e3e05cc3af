"""Which ONNX Runtime providers really run: a small convolution is computed on each.

A provider that is listed may still lack its libraries, and ONNX Runtime then quietly takes the CPU;
here no operator may be left to the CPU, and the answer is compared with NumPy's.
"""

from __future__ import annotations

import base64
from dataclasses import dataclass
from typing import Any

import numpy as np

__all__ = ["TINY_MODEL", "ProviderReport", "examine_providers"]

# y = relu(conv(x, w)), x (1, 1, 4, 4), w the 3x3 binomial, padding 1; opset 13, IR version 7. Kept
# as bytes, because onnx is not there at run time; a test builds it again and compares.
TINY_MODEL = base64.b64decode(
    "CAcSADqnAQoiCgF4CgF3EgFjIgRDb252KhEKBHBhZHNAAUABQAFAAaABBwoMCgFjEgF5IgRSZWx1EgR0aW55KjMIAQgB"
    "CAMIAxABQgF3SiQAAIA/AAAAQAAAgD8AAABAAACAQAAAAEAAAIA/AAAAQAAAgD9aGwoBeBIWChQIARIQCgIIAQoCCAEK"
    "AggECgIIBGIbCgF5EhYKFAgBEhAKAggBCgIIAQoCCAQKAggEQgQKABAN"
)
_CPU = "CPUExecutionProvider"
# Providers that are no place to run this on: they talk to a server.
_REMOTE = frozenset({"AzureExecutionProvider"})
# TF32 keeps 10 bits of each factor.
_TOLERANCE = 0.02


@dataclass(frozen=True, slots=True)
class ProviderReport:
    """What became of one provider.

    Attributes:
        name: as ONNX Runtime has it.
        runs: whether it computed the convolution, all of it, and right.
        why: why not, in one line; empty where it runs.
    """

    name: str
    runs: bool
    why: str = ""


def examine_providers() -> list[ProviderReport]:
    """Return every provider that the installed ONNX Runtime lists; empty where there is none."""
    try:
        import onnxruntime
    except ImportError:
        return []
    listed = [name for name in onnxruntime.get_available_providers() if name not in _REMOTE]
    return [_examined(onnxruntime, name) for name in listed]


def _examined(onnxruntime: Any, name: str) -> ProviderReport:  # noqa: ANN401 - untyped package
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    if name != _CPU:
        options.add_session_config_entry("session.disable_cpu_ep_fallback", "1")
    image = np.arange(16, dtype=np.float32).reshape(1, 1, 4, 4)
    # ONNX Runtime's exceptions have no common base but this, and any of them is an answer here.
    try:
        session = onnxruntime.InferenceSession(TINY_MODEL, options, providers=[name])
        if session.get_providers()[0] != name:
            return ProviderReport(name, False, "its libraries do not load; the CPU took over")
        answer = session.run(None, {"x": image})[0]
    except Exception as error:
        return ProviderReport(name, False, " ".join(str(error).split())[:200])
    wrong = float(np.abs(answer - _by_numpy(image)).max() / _by_numpy(image).max())
    if not wrong < _TOLERANCE:
        return ProviderReport(name, False, f"its answer is off by {wrong:.1%}")
    return ProviderReport(name, True)


def _by_numpy(image: Any) -> Any:  # noqa: ANN401 - (1, 1, 4, 4) float32
    padded = np.pad(image[0, 0], 1)
    weights = np.outer([1, 2, 1], [1, 2, 1])
    windows = np.lib.stride_tricks.sliding_window_view(padded, (3, 3))
    return np.einsum("ijkl,kl->ij", windows, weights)[None, None]
