"""Watch activations: run a graph over pairs and look at what its tensors hold."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from litestereo.calibration.frames import NetworkPair
from litestereo.calibration.ranges import ActivationStatistics

if TYPE_CHECKING:
    from onnx import ModelProto

__all__ = ["observe_activations", "watch_tensors"]

# Tensors that are looked at in one run: each keeps up to some 90 MB at 384x1248 until it ends.
_CHUNK = 48


def observe_activations(
    model: ModelProto,
    names: Sequence[str],
    *,
    pairs: Callable[[], Iterable[NetworkPair]],
    threads: int | None = None,
) -> dict[str, ActivationStatistics]:
    """Return what the float tensors `names` hold over all pairs.

    Args:
        model: FP32 graph.
        names: tensors that its nodes make.
        pairs: called for each chunk of tensors; gives the pairs anew.
        threads: CPU threads; None takes every core.
    """
    found = {name: ActivationStatistics() for name in names}
    watched = watch_tensors(
        model, names, feeds=lambda: (pair.feed for pair in pairs()), threads=threads
    )
    for name, values in watched:
        found[name].add(values)
    return found


def watch_tensors(
    model: ModelProto,
    names: Sequence[str],
    *,
    feeds: Callable[[], Iterable[Mapping[str, npt.NDArray[Any]]]],
    threads: int | None = None,
) -> Iterator[tuple[str, npt.NDArray[np.float32]]]:
    """Yield each float tensor's name and values, once for each feed, from ONNX Runtime in FP32.

    Args:
        model: FP32 graph.
        names: tensors that its nodes make.
        feeds: called for each chunk of tensors; gives the graph's inputs by name, anew.
        threads: CPU threads; None takes every core.
    """
    import onnx
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads or 0
    present = {value.name for value in model.graph.output}
    for start in range(0, len(names), _CHUNK):
        chunk = list(names[start : start + _CHUNK])
        watched = onnx.ModelProto()
        watched.CopyFrom(model)
        watched.graph.output.extend(
            onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None)
            for name in chunk
            if name not in present
        )
        session = onnxruntime.InferenceSession(
            watched.SerializeToString(), options, providers=["CPUExecutionProvider"]
        )
        for feed in feeds():
            yield from zip(chunk, session.run(chunk, feed), strict=True)
