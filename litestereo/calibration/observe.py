"""Watch activations: run a graph over calibration pairs and note what its tensors hold."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING

from litestereo.calibration.frames import NetworkPair
from litestereo.calibration.ranges import ActivationStatistics

if TYPE_CHECKING:
    from onnx import ModelProto

__all__ = ["observe_activations"]

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
    import onnx
    import onnxruntime

    found = {name: ActivationStatistics() for name in names}
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads or 0
    for start in range(0, len(names), _CHUNK):
        chunk = list(names[start : start + _CHUNK])
        watched = onnx.ModelProto()
        watched.CopyFrom(model)
        present = {value.name for value in watched.graph.output}
        watched.graph.output.extend(
            onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None)
            for name in chunk
            if name not in present
        )
        session = onnxruntime.InferenceSession(
            watched.SerializeToString(), options, providers=["CPUExecutionProvider"]
        )
        for pair in pairs():
            for name, values in zip(chunk, session.run(chunk, pair.feed), strict=True):
                found[name].add(values)
    return found
