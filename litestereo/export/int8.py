"""From an FP32 graph to explicit INT8: ranges, the search for what bears it, Q/DQ, the gate."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass

import numpy as np
import onnx
from onnx import ModelProto, TensorProto, version_converter

from litestereo.calibration.frames import NetworkPair, network_pairs
from litestereo.calibration.observe import observe_activations
from litestereo.calibration.ranges import ActivationStatistics
from litestereo.calibration.sensitivity import Block, Sensitivity, search_blocks
from litestereo.calibration.store import CalibrationSet
from litestereo.errors import ExportError
from litestereo.export.blocks import FLOAT_PARTS, Convolution, Plan, blocks_of, plan_convolutions
from litestereo.export.disagreement import GATE_LIMITS, disagreement, mean_disagreement
from litestereo.export.graph import check_model, tensor_types
from litestereo.export.half import half_from_master
from litestereo.export.int8_gate import plain_session
from litestereo.export.options import OPSET, TYPED_INT8_OPSET, Int8Options
from litestereo.export.qdq import QuantizeOptions, quantized, switch_of, switched

__all__ = ["Int8Graph", "choose_blocks", "int8_from_masters", "nodes_by_type", "typed_int8"]

Progress = Callable[[str], None]

SEARCH_SIZE = (192, 640)
"""Pairs of the search are scaled down to this: a set of blocks is scored a hundred times."""

_FLOATS: dict[int, str] = {TensorProto.FLOAT16: "fp16", TensorProto.FLOAT: "fp32"}
_ROUGHNESS_LIMIT_PX = 0.02
_SEARCH_LIMITS = {
    **{name: GATE_LIMITS[name] for name in ("mean_px", "bias_px", "d1_points")},
    "roughness_px": _ROUGHNESS_LIMIT_PX,
}


@dataclass(frozen=True, slots=True)
class Int8Graph:
    """A graph with Q/DQ, and why it is as it is.

    Attributes:
        model: the graph.
        sensitivity: what the search found.
        precision_map: nodes by type and FP32 islands, as the manifest holds them.
        quantization: set, ranges, blocks and reasons, likewise.
    """

    model: ModelProto
    sensitivity: Sensitivity
    precision_map: dict[str, object]
    quantization: dict[str, object]


def int8_from_masters(
    master: ModelProto,
    dynamic: ModelProto,
    *,
    calibration: CalibrationSet,
    options: Int8Options,
    size: tuple[int, int] | None,
    widened: tuple[str, ...] = (),
    found: Callable[[Sensitivity], None] = lambda _: None,
    progress: Progress = lambda _: None,
) -> Int8Graph:
    """Return the INT8 form of a simplified FP32 graph: the largest part that stays in the budget.

    Args:
        master: of the artefact's size.
        dynamic: the same network for any size, which the search runs at a smaller one.
        calibration: real pairs.
        options: how.
        size: the artefact's fixed (height, width); None: dynamic.
        widened: tensors that half cannot hold.
        found: told what the search found, before anything can fail.
        progress: told in one line what takes long.

    Raises:
        CalibrationError: a picture of the set is damaged.
        ExportError: no block fits the budget, or the graph is not valid ONNX.
    """
    plan = plan_convolutions(dynamic, widened=widened)
    stored = calibration.part(held_out=False)
    progress(f"watching {len(plan.candidates)} convolutions on {len(stored)} pairs")
    statistics = observe_activations(
        dynamic,
        list(dict.fromkeys(one.activation for one in plan.candidates)),
        pairs=lambda: network_pairs(calibration, stored, size=size),
    )
    search_pairs = tuple(
        network_pairs(calibration, stored[: options.search_pairs], limit=SEARCH_SIZE)
    )
    sensitivity = choose_blocks(
        dynamic, plan, statistics, pairs=search_pairs, options=options, progress=progress
    )
    found(sensitivity)
    if not sensitivity.chosen:
        worst = sensitivity.alone[0]
        raise ExportError(
            f"no block bears 8 bits within the budget: the best alone, {worst.added}, uses "
            f"{worst.budget_used:.1f} of it; raise --budget (now {options.budget:g}), or stay with "
            "--fp16"
        )
    return _written(master, plan, sensitivity, statistics, calibration, options, widened)


def choose_blocks(
    dynamic: ModelProto,
    plan: Plan,
    statistics: Mapping[str, ActivationStatistics],
    *,
    pairs: tuple[NetworkPair, ...],
    options: Int8Options,
    progress: Progress = lambda _: None,
) -> Sensitivity:
    """Return the largest set of blocks whose disparities stay near FP32's on `pairs`.

    Args:
        dynamic: the FP32 graph for any size.
        plan: which convolutions may be quantised.
        statistics: of activations, by tensor.
        pairs: that judge each set of blocks.
        options: how far from FP32 it may be, and how ranges are chosen.
        progress: gets lines for a person.
    """
    import onnxruntime

    blocks = blocks_of(plan.candidates)
    model = switched(dynamic, blocks, statistics=statistics, options=_how(options))
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    reference = plain_session(dynamic)
    wanted = [pair.frame.cropped(reference(pair)) for pair in pairs]

    def score(names: frozenset[str]) -> dict[str, float]:
        switches = {switch_of(name): np.array(name in names) for name in blocks}
        answers = [
            pair.frame.cropped(session.run(["disparity"], {**pair.feed, **switches})[0])
            for pair in pairs
        ]
        compared = zip(answers, wanted, strict=True)
        return mean_disagreement([disagreement(*maps) for maps in compared]).to_json()

    costs = [
        Block(name, sum(one.cost(statistics[one.activation].shape) for one in members))
        for name, members in blocks.items()
    ]
    limits = {name: options.budget * limit for name, limit in _SEARCH_LIMITS.items()}
    progress(f"scoring {len(costs)} blocks on {len(pairs)} pairs")
    return search_blocks(costs, score=score, limits=limits, progress=progress)


def typed_int8(model: ModelProto, *, widened: tuple[str, ...] = ()) -> ModelProto:
    """Return a Q/DQ graph of opset 17 with everything around the Q/DQ in half, in opset 19.

    The steps are the same numbers: `step_of` takes only those that half holds.

    Args:
        model: the Q/DQ graph.
        widened: tensors that must not be stored in half; what makes or reads them stays FP32.

    Raises:
        ExportError: the result is not valid ONNX.
    """
    lifted = version_converter.convert_version(model, TYPED_INT8_OPSET)
    typed: ModelProto = half_from_master(lifted, widened=widened, opset=TYPED_INT8_OPSET).model
    # The oldest IR version that holds opset 19.
    typed.ir_version = max(typed.ir_version, onnx.IR_VERSION_2023_5_5)
    return typed


def nodes_by_type(model: ModelProto, quantised: Collection[str]) -> dict[str, int]:
    """Return the number of nodes of a graph by the type they compute in, as `HalfGraph` counts.

    Args:
        model: the graph.
        quantised: names of the nodes that count as "int8".
    """
    types = tensor_types(model)
    kinds: Counter[str] = Counter()
    for node in model.graph.node:
        kind = _FLOATS.get(types[node.output[0]], "other")
        if node.name in quantised:
            kind = "int8"
        elif node.op_type in ("QuantizeLinear", "DequantizeLinear"):
            kind = "other"
        elif node.op_type == "Cast" and kind != "other" and types[node.input[0]] in _FLOATS:
            kind = "cast"
        kinds[kind] += 1
    return {kind: kinds[kind] for kind in ("int8", "fp16", "fp32", "cast", "other")}


def _how(options: Int8Options) -> QuantizeOptions:
    return QuantizeOptions(options.ranges, options.correct_bias)


def _written(
    master: ModelProto,
    plan: Plan,
    sensitivity: Sensitivity,
    statistics: Mapping[str, ActivationStatistics],
    calibration: CalibrationSet,
    options: Int8Options,
    widened: tuple[str, ...],
) -> Int8Graph:
    """Write Q/DQ on the chosen blocks, and the maps that say so."""
    chosen = {one.name for one in plan.candidates if one.block in sensitivity.chosen}
    watched = {one.name: statistics[one.activation] for one in plan.candidates}
    own = plan_convolutions(master, widened=widened)
    _require_same(plan, own)
    model = quantized(
        master,
        [one for one in own.candidates if one.name in chosen],
        statistics={one.activation: watched[one.name] for one in own.candidates},
        options=_how(options),
    )
    check_model(model, opset=OPSET)
    # Of an FP32 rest these are what TensorRT 8.6 must not lower.
    islands = half_from_master(master, widened=widened)
    if options.half:
        model = typed_int8(model, widened=widened)
    nodes = nodes_by_type(model, chosen)
    precision_map = {**islands.precision_map(), "nodes": nodes}
    total = sum(nodes.values())
    precision_map["share"] = {kind: round(count / total, 4) for kind, count in nodes.items()}
    quantization = {
        "calibration_sha256": calibration.sha256,
        "pairs": len(calibration.part(held_out=False)),
        "ranges": options.ranges,
        "bias_corrected": options.correct_bias,
        "budget": options.budget,
        "blocks": list(sensitivity.chosen),
        "convolutions": len(chosen),
        "multiply_adds_share": round(_share(own.candidates, watched, chosen), 4),
        "rest": "fp16" if options.half else "fp32, to be lowered by TensorRT 8.6",
        "kept": _reasons(own, sensitivity),
    }
    return Int8Graph(model, sensitivity, precision_map, quantization)


def _require_same(dynamic: Plan, fixed: Plan) -> None:
    """Refuse two graphs of one network whose convolutions differ."""
    names = [{one.name for one in plan.candidates} for plan in (dynamic, fixed)]
    if names[0] != names[1]:
        raise ExportError(
            f"{len(names[0] ^ names[1])} convolutions of the fixed and the dynamic graph have "
            "different names; export without --height and --width, or with another --exporter"
        )


def _share(
    candidates: tuple[Convolution, ...],
    watched: Mapping[str, ActivationStatistics],
    chosen: set[str],
) -> float:
    """Return the part of the candidates' multiply-adds that is in 8 bits."""
    costs = {one.name: one.cost(watched[one.name].shape) for one in candidates}
    return sum(costs[name] for name in chosen) / sum(costs.values())


def _reasons(plan: Plan, sensitivity: Sensitivity) -> dict[str, dict[str, object]]:
    """Return the convolutions that stay in floating point, by reason."""
    kept: dict[str, list[str]] = defaultdict(list)
    for name, part in plan.kept.items():
        kept[part].append(name)
    for one in plan.candidates:
        if one.block not in sensitivity.chosen:
            kept["sensitivity"].append(one.name)
    words = {**FLOAT_PARTS, "sensitivity": "disparities would leave the budget"}
    return {part: {"reason": words[part], "nodes": names} for part, names in kept.items()}
