"""From a checkpoint to a judged artefact on disk."""

from __future__ import annotations

import copy
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from onnx import ModelProto, numpy_helper
from torch import nn

from litestereo.calibration.frames import require_fitting
from litestereo.calibration.store import load_set
from litestereo.errors import ExportError
from litestereo.export.artifact import (
    make_manifest,
    require_onnx_suffix,
    require_other_file,
    sha256_of,
    with_manifest,
    write_artifact,
)
from litestereo.export.compact import compacted
from litestereo.export.graph import attach_weights, check_model, op_histogram
from litestereo.export.half import HalfGraph, half_from_master
from litestereo.export.half_run import half_outputs
from litestereo.export.held_out import Judges, find_judges
from litestereo.export.int8 import Int8Graph, int8_from_masters
from litestereo.export.int8_gate import GateReport, judge_int8
from litestereo.export.lower import with_folded_gelu, with_folded_scales, with_spelled_softmax
from litestereo.export.lower_stem import has_stem, with_stem_in_planes
from litestereo.export.onnx_from_torch import onnx_from_torch
from litestereo.export.options import OPSET, ExportOptions, Int8Options
from litestereo.export.pairs import Pair, gate_pairs
from litestereo.export.parity import (
    FP16_LIMIT_MEAN_PX,
    FP32_LIMIT_MAX_PX,
    HALF_WEIGHTS_LIMIT_MEAN_PX,
    REFINED_LIMIT_P995_PX,
    ParityReport,
    compare,
    onnxruntime_outputs,
)
from litestereo.export.ranges import out_of_half_range
from litestereo.export.rectification import (
    rectification_for,
    rectifying_graph,
    rectifying_manifest,
    rectifying_map,
    sampling_error_levels,
)
from litestereo.export.sensitivity_curve import rename_curve, write_curve
from litestereo.export.simplify import simplify
from litestereo.models.las import StereoNetwork
from litestereo.models.registry import REFINER_PASSES
from litestereo.runtime.files import require_writable

__all__ = ["ExportReport", "export", "for_engines", "fp16_graph", "fp32_graph"]

Progress = Callable[[str], None]

# What to try where a graph is not what torch computes: of INT8 it is the FP32 trace that is not.
_ADVICE = {
    "fp32": "another --exporter",
    "fp16": "FP32 for these weights",
    "int8": "other weights, as this is the FP32 graph from which INT8 starts",
}


@dataclass(frozen=True, slots=True)
class ExportReport:
    """What an export wrote, and how it was judged.

    Attributes:
        path: the artefact.
        size_bytes: its size.
        histogram: how often each operator occurs in it.
        parity: the gate's report, of INT8 that on held-out pairs; None if it was skipped.
    """

    path: Path
    size_bytes: int
    histogram: dict[str, int]
    parity: ParityReport | GateReport | None


def export(
    options: ExportOptions, *, output: Path, progress: Progress = lambda _: None
) -> ExportReport:
    """Do what `litestereo.export.export_artifact` says.

    Args:
        options: what was asked for.
        output: file of the artefact, ending in .onnx.
        progress: gets lines for a person.
    """
    require_onnx_suffix(output)
    require_writable(output)
    weights = _weights_file(options)
    require_other_file(output, weights)
    rectification = None if options.rig is None else rectification_for(options)
    if rectification is not None:
        options = replace(options, height=rectification.size[0], width=rectification.size[1])
    # Before the minutes that tracing takes.
    judges = None if options.int8 is None else _judges(options.int8, options=options, say=progress)
    progress(f"loading {options.model} from {weights}")
    exact, weights_sha256 = _load(options, weights)
    model: nn.Module = exact
    pairs = gate_pairs(options) if options.gate or options.precision == "fp16" else ()
    progress(f"tracing with torch's {options.exporter} exporter")
    graph, precision_map = fp32_graph(model, options=options), {}
    quantization: Mapping[str, object] = {}
    if options.precision == "fp16":
        progress("looking for values that half precision cannot hold")
        half = fp16_graph(graph, pairs=pairs)
        graph, precision_map = half.model, half.precision_map()
    elif options.precision == "fp32":
        graph = with_spelled_softmax(graph)
        if options.half_weights:
            graph = compacted(graph, weights=_weights(exact))
            model = _with_weights_of(graph, exact)
    else:
        graph = for_engines(simplify(graph))
    parity: ParityReport | GateReport | None = None
    if options.gate:
        parity = _judge(graph, model=model, exact=exact, pairs=pairs, options=options, say=progress)
        parity.require(advice=_ADVICE[options.precision])
        progress(str(parity))
    failed = output.with_stem(f"{output.stem}_failed")
    if judges is not None:
        quantised, parity = _int8(
            graph, model=model, options=options, judges=judges, curve_of=failed, say=progress
        )
        graph, precision_map = quantised.model, quantised.precision_map
        quantization = quantised.quantization
    sampling_levels = None
    if rectification is not None:
        graph = rectifying_graph(graph, rectification)
        precision_map = rectifying_map(precision_map, graph)
        if options.gate:
            progress("comparing the rectification with a sum in double precision")
        sampling_levels = sampling_error_levels(rectification) if options.gate else None
    manifest = make_manifest(
        options,
        weights=weights,
        weights_sha256=weights_sha256,
        graph=graph,
        parity={} if parity is None else parity.as_json(),
        precision_map=precision_map,
        quantization=quantization,
        refiner_passes=0 if exact.refiner is None else exact.refiner.passes,
    )
    if rectification is not None:
        manifest = rectifying_manifest(manifest, rectification, error_levels=sampling_levels)
    path = write_artifact(with_manifest(graph, manifest), output)
    if judges is not None:
        progress(f"curve: {rename_curve(failed, path)}")
    return ExportReport(path, path.stat().st_size, op_histogram(graph), parity)


def fp32_graph(model: nn.Module, *, options: ExportOptions) -> ModelProto:
    """Return the FP32 graph of `model`: each weight an initializer under its state-dict name.

    Args:
        model: in evaluation mode.
        options: what was asked for.

    Raises:
        ExportError: if a step fails, or a weight got lost on the way.
    """
    weights = _weights(model)
    graph = simplify(onnx_from_torch(model, options=options))
    lost = weights.keys() - {value.name for value in graph.graph.input}
    if lost:
        raise ExportError(
            f"{len(lost)} weights are not in the graph, such as {min(lost)}; try another --exporter"
        )
    graph = attach_weights(graph, weights)
    check_model(graph, opset=OPSET)
    return graph


def fp16_graph(master: ModelProto, *, pairs: Collection[Pair]) -> HalfGraph:
    """Return the typed half-precision form of an FP32 graph, in the form that engines run fastest.

    Args:
        master: what `fp32_graph` made.
        pairs: which show what tensors leave half's range; noise or black ones would show others.
    """
    folded = for_engines(simplify(master))
    outside = out_of_half_range(folded, pairs=tuple(pairs))
    return half_from_master(folded, widened=tuple(outside))


def for_engines(master: ModelProto) -> ModelProto:
    """Return a copy in which scales and GELUs are folded, and the 3-D stem is in planes.

    Args:
        master: simplified, in FP32.
    """
    folded = with_folded_gelu(with_folded_scales(master))
    return with_stem_in_planes(folded) if has_stem(folded) else folded


def _judges(wanted: Int8Options, *, options: ExportOptions, say: Progress) -> Judges:
    """Return the pairs that judge an INT8 graph, after a look at the set; without a gate none."""
    calibration = load_set(wanted.calibration)
    require_fitting(calibration.pairs, size=options.size)
    if not options.gate:
        return Judges(calibration, ())
    judges = find_judges(calibration, wanted.held_out)
    if judges.left_out:
        say(f"{judges.left_out} scenes of --held-out gave ranges, and are left out")
    return judges


def _int8(
    master: ModelProto,
    *,
    model: nn.Module,
    options: ExportOptions,
    judges: Judges,
    curve_of: Path,
    say: Progress,
) -> tuple[Int8Graph, GateReport | None]:
    """Return the INT8 form of a simplified FP32 graph, and what the held-out pairs say of it.

    The curve is written for `curve_of`, and stays there if anything fails.
    """
    wanted = options.int8
    assert wanted is not None
    dynamic = master
    if options.size is not None:
        say("tracing once more for the search, which runs at a smaller size")
        free = replace(options, height=None, width=None)
        dynamic = for_engines(simplify(fp32_graph(model, options=free)))
    outside = out_of_half_range(master, pairs=gate_pairs(options))
    quantised = int8_from_masters(
        master,
        dynamic,
        calibration=judges.calibration,
        options=wanted,
        size=options.size,
        widened=tuple(outside),
        found=lambda curve: say(f"curve, until it is judged: {write_curve(curve, curve_of)}"),
        progress=say,
    )
    say(f"{quantised.sensitivity.cost_share:.0%} of what may be quantised is in 8 bits")
    if not options.gate:
        return quantised, None
    say(f"judging on {len(judges)} held-out pairs")
    report = judge_int8(quantised.model, master, judges=judges, options=options)
    report.require()
    say(str(report))
    return quantised, report


def _weights_file(options: ExportOptions) -> Path:
    """Return the weights to export, which must be real ones."""
    from litestereo.assets import bundled_artifact, no_weights_for

    if options.weights is not None:
        return options.weights
    bundled = bundled_artifact(options.model)
    if not bundled.is_file():
        raise ExportError(
            f"{no_weights_for(options.model)}; pass a checkpoint with --weights FILE (.pth, .pt, "
            ".safetensors or an FP32 .onnx of ours)"
        )
    return bundled


def _load(options: ExportOptions, weights: Path) -> tuple[StereoNetwork, str]:
    """Return the network in evaluation mode, and the hash of the file as it was read."""
    from litestereo.models import create
    from litestereo.models.weights import load_weights, read_weights

    model = create(options.model)
    content = read_weights(weights)
    load_weights(model, weights, content=content)
    if model.refiner is None and options.refiner_passes not in (0, REFINER_PASSES):
        raise ExportError(
            f"{weights} has no refiner, so it cannot look {options.refiner_passes} times; leave "
            "--refiner-passes out, or give weights with a refiner"
        )
    if model.refiner is not None:
        model.refiner.passes = options.refiner_passes
    if not options.refiner_passes:
        model.refiner = None
    return model.eval(), sha256_of(content)


def _with_weights_of(graph: ModelProto, network: nn.Module) -> nn.Module:
    """Return a copy of the network with its weights as an artefact stores them."""
    stored = {tensor.name: tensor for tensor in graph.graph.initializer}
    rounded = copy.deepcopy(network)
    with torch.no_grad():
        for name, tensor in rounded.state_dict().items():
            if name in stored:
                values = numpy_helper.to_array(stored[name]).astype(np.float32)
                tensor.copy_(torch.from_numpy(values))
    return rounded


def _weights(model: nn.Module) -> dict[str, npt.NDArray[np.float32]]:
    """Return the weights that inference needs: the counters of BatchNorm are for training."""
    return {
        name: tensor.numpy()
        for name, tensor in model.state_dict().items()
        if tensor.is_floating_point()
    }


def _told(pairs: Collection[Pair], options: ExportOptions, say: Progress) -> Iterator[Pair]:
    """Yield the pairs, and say each before it is compared: half precision takes minutes for one."""
    slow = "; half precision takes minutes on a CPU" if options.precision == "fp16" else ""
    for number, pair in enumerate(pairs, start=1):
        height, width = pair.size
        say(f"comparing with torch: {pair.name} {height}x{width}, {number} of {len(pairs)}{slow}")
        yield pair


def _judge(
    graph: ModelProto,
    *,
    model: nn.Module,
    exact: nn.Module,
    pairs: Collection[Pair],
    options: ExportOptions,
    say: Progress,
) -> ParityReport:
    """Compare a graph with torch in its own arithmetic; INT8 starts from one in FP32.

    Half weights are compared twice: as rounded in `model`, and with `exact` before that.
    """
    told = _told(pairs, options, say)
    if options.precision != "fp16":
        cases = compare(graph, model=model, pairs=told, run=onnxruntime_outputs)
        # Of INT8 only the trace is in question here: its own gate allows far more than rounding.
        if options.precision == "int8":
            limit, limit_px = "mean_px", FP16_LIMIT_MEAN_PX
        elif isinstance(model, StereoNetwork) and model.refiner is not None:
            limit, limit_px = "p995_px", REFINED_LIMIT_P995_PX
        else:
            limit, limit_px = "max_px", FP32_LIMIT_MAX_PX
        judge, rounding = "ONNX Runtime on the CPU", None
        if options.half_weights:
            lost = compare(graph, model=exact, pairs=pairs, run=onnxruntime_outputs)
            rounding = ParityReport(judge, "mean_px", HALF_WEIGHTS_LIMIT_MEAN_PX, lost)
        return ParityReport(judge, limit, limit_px, cases, rounding)
    cases = compare(graph, model=model, pairs=told, run=half_outputs)
    judge = "ONNX's reference evaluator in float16, sums in FP32"
    return ParityReport(judge, "mean_px", FP16_LIMIT_MEAN_PX, cases)
