"""INT8 by other means, on the same gate: NVIDIA ModelOpt, and what weights and activations cost.

    pip install 'nvidia-modelopt[onnx]' opencv-python-headless    # in an environment of its own
    stereo-export --model las1 --height 384 --width 1248 -o las1.onnx
    PYTHONPATH=. python benchmarks/proof/int8_others.py modelopt las1.onnx SET -o modelopt.onnx
    python benchmarks/proof/int8_others.py judge las1.onnx SET modelopt.onnx --held-out DATA
    python benchmarks/proof/int8_others.py parts las1.onnx SET --held-out DATA

`modelopt` runs in ModelOpt's environment; its `--like` keeps in floating point what an INT8
artefact of ours does. `judge` compares finished graphs with FP32, and `parts` everything that may
be in 8 bits with its weights alone and its activations alone.
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import onnx
from onnx import ModelProto

from litestereo.calibration.frames import network_pairs
from litestereo.calibration.store import CalibrationSet, load_set
from litestereo.runtime.manifest import Manifest

_CONVOLUTIONS = ("Conv", "ConvTranspose")
_SUFFIX = "::dequantized"


def _size(model: ModelProto) -> tuple[int, int]:
    height, width = (one.dim_value for one in model.graph.input[0].type.tensor_type.shape.dim[:2])
    return height, width


def _manifest(model: ModelProto) -> Manifest:
    return Manifest.from_json(next(p.value for p in model.metadata_props if p.key == "litestereo"))


def quantise_by_modelopt(arguments: argparse.Namespace) -> None:
    """Write ModelOpt's Q/DQ form of an artefact."""
    from modelopt.onnx.quantization import quantize
    from onnxruntime.quantization.calibrate import CalibrationDataReader

    calibration = load_set(arguments.set)
    size = _size(onnx.load(arguments.artifact))

    class Pairs(CalibrationDataReader):
        def __init__(self) -> None:
            self.rewind()

        def rewind(self) -> None:
            self._pairs = _feeds(calibration, size)

        def get_next(self) -> dict[str, Any] | None:
            return next(self._pairs, None)

        def get_first(self) -> dict[str, Any]:
            return next(_feeds(calibration, size))

    kept: list[str] = []
    if arguments.like is not None:
        found = _manifest(onnx.load(arguments.like)).quantization or {}
        # Folding a BatchNorm names the convolution anew, after its output.
        kept = [
            name.removesuffix("_output_0")
            for part in found["kept"].values()
            for name in part["nodes"]
        ]
    quantize(
        str(arguments.artifact),
        "int8",
        calibration_data_reader=Pairs(),
        calibration_method=arguments.method,
        calibration_eps=["cpu"],
        op_types_to_quantize=list(_CONVOLUTIONS),
        nodes_to_exclude=[f"{re.escape(name)}$" for name in kept] or None,
        high_precision_dtype="fp32",
        output_path=str(arguments.output),
    )


def _feeds(calibration: CalibrationSet, size: tuple[int, int]) -> Iterator[dict[str, Any]]:
    stored = calibration.part(held_out=False)
    return (pair.feed for pair in network_pairs(calibration, stored, size=size))


def judge_artifacts(arguments: argparse.Namespace) -> None:
    """Compare finished graphs with FP32."""
    _judge(arguments, {path.name: onnx.load(path) for path in arguments.quantised})


def judge_parts(arguments: argparse.Namespace) -> None:
    """Everything that may be in 8 bits, then its weights alone, then its activations alone."""
    from litestereo.calibration.observe import observe_activations
    from litestereo.export.blocks import plan_convolutions
    from litestereo.export.qdq import QuantizeOptions, quantized
    from litestereo.export.simplify import simplify

    master = simplify(onnx.load(arguments.artifact))
    calibration = load_set(arguments.set)
    stored, size = calibration.part(held_out=False), _size(master)
    plan = plan_convolutions(master)
    statistics = observe_activations(
        master,
        list(dict.fromkeys(one.activation for one in plan.candidates)),
        pairs=lambda: network_pairs(calibration, stored, size=size),
    )
    models = {}
    for correct in (False, True):
        model = quantized(
            master,
            plan.candidates,
            statistics=statistics,
            options=QuantizeOptions(correct_bias=correct),
        )
        how = "biases corrected" if correct else "biases as they were"
        models[f"weights and activations, {how}"] = model
        models[f"weights alone, {how}"] = _without(model, master, input_index=0)
        if not correct:
            models["activations alone"] = _without(model, master, input_index=1)
    _judge(arguments, models)


def _without(model: ModelProto, master: ModelProto, *, input_index: int) -> ModelProto:
    """Return a copy whose convolutions read their input (0) or their weights (1) as they were."""
    copy = ModelProto()
    copy.CopyFrom(model)
    for node in copy.graph.node:
        if node.op_type in _CONVOLUTIONS:
            node.input[input_index] = node.input[input_index].removesuffix(_SUFFIX)
    known = {tensor.name for tensor in copy.graph.initializer}
    copy.graph.initializer.extend(t for t in master.graph.initializer if t.name not in known)
    return copy


def _judge(arguments: argparse.Namespace, models: dict[str, ModelProto]) -> None:
    from litestereo.export.held_out import find_judges
    from litestereo.export.int8_gate import judge, literal_session, plain_session

    master, calibration = onnx.load(arguments.artifact), load_set(arguments.set)
    reference, size = plain_session(master), _size(master)
    judges = find_judges(calibration, tuple(arguments.held_out or ()))
    for name, model in models.items():
        pairs = judges.pairs(size=size)
        report = judge(
            pairs, quantised=literal_session(model), reference=reference, words="unfused"
        )
        print(f"{name}: {report}", flush=True)


def main() -> None:
    """Run one step."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    steps = parser.add_subparsers(required=True)

    def step(name: str, does: Any) -> argparse.ArgumentParser:
        one = steps.add_parser(name)
        one.set_defaults(does=does)
        one.add_argument("artifact", type=Path, help="fixed-size FP32 artefact")
        one.add_argument("set", type=Path, help="calibration set")
        return one

    modelopt = step("modelopt", quantise_by_modelopt)
    modelopt.add_argument("-o", "--output", type=Path, required=True)
    modelopt.add_argument("--method", choices=("entropy", "max"), default="entropy")
    modelopt.add_argument("--like", type=Path, help="INT8 artefact whose choice is taken")
    judging = step("judge", judge_artifacts)
    judging.add_argument("quantised", type=Path, nargs="+")
    for one in (judging, step("parts", judge_parts)):
        one.add_argument("--held-out", type=Path, action="append")
    arguments = parser.parse_args()
    arguments.does(arguments)


if __name__ == "__main__":
    main()
