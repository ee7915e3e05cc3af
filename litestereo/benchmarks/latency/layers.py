"""Time per layer, from the profile of the engine that ran.

Two forms are read: ONNX Runtime's trace (a list of events, those of the category "Node" are
layers), and TensorRT's, as trtexec --exportProfile writes it ({"count": n} followed by layers).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from litestereo.benchmarks.envelope import read_json
from litestereo.errors import InputError

__all__ = ["Layer", "read_profile"]


@dataclass(frozen=True, slots=True)
class Layer:
    """One layer of an engine.

    Attributes:
        name: as the engine calls it.
        kind: of operator; "" where the profile does not say.
        mean_ms: of a run.
    """

    name: str
    kind: str
    mean_ms: float


def read_profile(path: Path) -> list[Layer]:
    """Return the layers of a profile, the longest first.

    Args:
        path: JSON file of one of both forms.

    Raises:
        InputError: the file cannot be read, or is of neither form, or holds no layer.
    """
    content = read_json(path)
    try:
        layers = list(_layers(content))
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
        raise InputError(f"{path} is no whole profile: {error!r}; write it again") from error
    if not layers:
        raise InputError(
            f"{path} holds no layer; need ONNX Runtime's trace or trtexec's --exportProfile"
        )
    return sorted(layers, key=lambda layer: -layer.mean_ms)


def _layers(content: list[Mapping[str, Any]]) -> Iterable[Layer]:
    if content and "count" in content[0]:
        return [Layer(str(row["name"]), "", float(row["averageMs"])) for row in content[1:]]
    return _traced(event for event in content if event.get("cat") == "Node")


def _traced(events: Iterable[Mapping[str, Any]]) -> list[Layer]:
    """Return the mean of each node's kernel time; events of its fences are left out."""
    times_us: dict[tuple[str, str], list[float]] = defaultdict(list)
    for event in events:
        name, found, _ = event["name"].rpartition("_kernel_time")
        if found:
            times_us[name, str(event["args"]["op_name"])].append(float(event["dur"]))
    return [
        Layer(name, kind, sum(times) / len(times) / 1e3) for (name, kind), times in times_us.items()
    ]
