"""Build an engine from an artefact: one way for TensorRT 8.6, 10 and 11.

Everything that a version may lack is looked up by name, never by number: enum values moved between
versions. Precision comes from the graph. Where TensorRT types strongly (10 and 11) that is all;
8.6 is told to use half precision and held to FP32 layer by layer where the artefact's map says so.
INT8 is in the graph's Q/DQ everywhere; 8.6 must be allowed it, too, takes the rest in half, and is
asked, not forced, to keep FP32.
"""

from __future__ import annotations

import re
import time
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from litestereo.errors import EngineError
from litestereo.runtime.manifest import Precision
from litestereo.runtime.tensorrt.library import WordsLog, own_words
from litestereo.runtime.tensorrt.options import BuildOptions, SizeRange
from litestereo.runtime.tensorrt.plugin.find import find_parts
from litestereo.runtime.tensorrt.plugin.library import load_library
from litestereo.runtime.tensorrt.plugin.onnx_graph import read_graph
from litestereo.runtime.tensorrt.plugin.parts import replace_parts
from litestereo.runtime.tensorrt.progress import Heartbeat, make_monitor

__all__ = ["BuildRequest", "BuiltPlan", "Prepared", "build_plan", "prepare", "serialize"]

# Layers whose precision is given by what they are; 8.6 refuses pins on some, ignores others.
_UNPINNED = ("CAST", "CONSTANT", "IDENTITY", "SHAPE")
# How layers begin that the ONNX parser adds beside a node's own.
_NO_NAME = ("(Unnamed Layer*", "ONNXTRT_")
_CONVOLUTIONS = ("CONVOLUTION", "DECONVOLUTION")
_NUMBER = re.compile(r"_\d+$")


@dataclass(frozen=True, slots=True)
class BuildRequest:
    """What to build.

    Attributes:
        name: what to call it in messages, e.g. "las1 fp16".
        graph: an artefact's bytes.
        precision: of the graph.
        sizes: sizes that the engine must take.
        options: how to build.
        islands: names of the nodes that the graph keeps in FP32.
        timing_cache: what earlier builds measured here; empty for none.
    """

    name: str
    graph: bytes
    precision: Precision
    sizes: SizeRange
    options: BuildOptions
    islands: frozenset[str] = frozenset()
    timing_cache: bytes = b""


@dataclass(frozen=True, slots=True)
class BuiltPlan:
    """A serialised engine.

    Attributes:
        plan: its bytes.
        timing_cache: what the build measured, earlier builds included.
        typing: "strong", "emulated" (8.6: half precision allowed, FP32 pinned), or "fp32".
        pinned: how many layers were pinned to FP32.
        plugin_parts: how many parts of the graph plugins compute.
        seconds: how long the build took.
    """

    plan: bytes
    timing_cache: bytes
    typing: str
    pinned: int
    plugin_parts: int
    seconds: float


@dataclass(slots=True, eq=False)
class Prepared:
    """TensorRT's objects of one build; `close` drops them in the order that they depend.

    Attributes:
        builder: an IBuilder.
        network: the graph, parsed.
        parser: which owns weights of the network.
        config: options of the build.
        typing: as in `BuiltPlan`.
        pinned: how many layers are pinned to FP32.
        plugin_parts: how many parts of the graph plugins compute.
        kept: weights and plugins that the network refers to.
    """

    builder: Any
    network: Any
    parser: Any
    config: Any
    typing: str
    pinned: int
    plugin_parts: int
    kept: list[object]

    def close(self) -> None:
        """Drop config, parser, network and builder."""
        self.config = None
        self.parser = None
        self.network = None
        self.builder = None
        self.kept.clear()


def build_plan(
    trt: Any,  # noqa: ANN401 - the module tensorrt, or a sibling of it
    request: BuildRequest,
    *,
    heartbeat: Heartbeat,
) -> BuiltPlan:
    """Build an engine; `heartbeat` is told TensorRT's phases.

    Args:
        trt: the module `tensorrt`, or a sibling of it.
        request: the graph, its sizes and options.
        heartbeat: says that it goes on.

    Raises:
        EngineError: TensorRT refuses the graph, an option or the build; with its own words.
    """
    prepared = prepare(trt, request)
    monitor = make_monitor(trt, heartbeat)
    try:
        if monitor is not None:
            prepared.config.progress_monitor = monitor
        return serialize(trt, prepared, name=request.name)
    finally:
        prepared.close()


def prepare(trt: Any, request: BuildRequest) -> Prepared:  # noqa: ANN401 - the module
    """Parse the graph and set the build up, without building.

    Args:
        trt: the module `tensorrt`, or a sibling of it.
        request: the graph, its sizes and options.

    Raises:
        EngineError: TensorRT refuses the graph or an option.
    """
    log, words = own_words(trt)
    words.clear()
    try:
        builder = trt.Builder(log)
    except TypeError as error:  # pybind's words for a null pointer
        raise EngineError(f"TensorRT cannot make a builder here: {words.words()}") from error
    network = builder.create_network(_network_flags(trt))
    parser = trt.OnnxParser(network, log)
    _parse(parser, request, words)
    config = builder.create_builder_config()
    _set_options(trt, config, request.options)
    _set_sizes(trt, builder, network, config, request)
    plugin_parts, kept = _use_plugin(trt, network, request)
    typing, pinned = _set_precision(trt, network, config, request)
    _set_timing_cache(config, request.timing_cache)
    return Prepared(builder, network, parser, config, typing, pinned, plugin_parts, kept)


def serialize(trt: Any, prepared: Prepared, *, name: str) -> BuiltPlan:  # noqa: ANN401
    """Build what was prepared.

    Args:
        trt: the module `tensorrt`, or a sibling of it.
        prepared: of the same TensorRT; it stays open.
        name: of the engine, for messages.

    Raises:
        EngineError: the build failed; with TensorRT's own words.
    """
    _, words = own_words(trt)
    builder, network, config = prepared.builder, prepared.network, prepared.config
    start = time.monotonic()
    plan = builder.build_serialized_network(network, config)
    seconds = time.monotonic() - start
    if plan is None:
        raise EngineError(
            f"TensorRT {trt.__version__} cannot build {name}: {words.words()}. An FP32 artefact, "
            "more workspace_mb or a newer TensorRT may be built where this is not"
        )
    timing_cache = config.get_timing_cache()
    measured = b"" if timing_cache is None else bytes(memoryview(timing_cache.serialize()))
    content = bytes(memoryview(plan))
    return BuiltPlan(
        content,
        measured,
        prepared.typing,
        prepared.pinned,
        prepared.plugin_parts,
        seconds,
    )


def _network_flags(trt: Any) -> int:  # noqa: ANN401 - the module
    """Return the flags for a network with a batch of its own and, where there is one, types."""
    flags = 0
    for name in ("EXPLICIT_BATCH", "STRONGLY_TYPED"):
        flag = getattr(trt.NetworkDefinitionCreationFlag, name, None)
        if flag is not None:
            flags |= 1 << int(flag)
    return flags


def _is_strongly_typed(trt: Any) -> bool:  # noqa: ANN401 - the module
    """Say whether it takes types from the graph, as all do after 8.6."""
    return hasattr(trt.NetworkDefinitionCreationFlag, "STRONGLY_TYPED")


def _parse(parser: Any, request: BuildRequest, words: WordsLog) -> None:  # noqa: ANN401
    """Parse the graph into the parser's network."""
    if parser.parse(request.graph):
        return
    errors = (parser.get_error(index) for index in range(parser.num_errors))
    said = "; ".join(f"node {refusal.node()}: {refusal.desc()}" for refusal in errors)
    raise EngineError(
        f"TensorRT's ONNX parser refuses {request.name}: {said or words.words()}; "
        "was it written by stereo-export?"
    )


def _set_options(trt: Any, config: Any, options: BuildOptions) -> None:  # noqa: ANN401
    """Set all that has nothing to do with the graph."""
    config.builder_optimization_level = options.optimization_level
    config.max_aux_streams = options.max_aux_streams
    # The attestation needs it; it costs nothing when the engine runs.
    config.profiling_verbosity = trt.ProfilingVerbosity.DETAILED
    if options.workspace_mb is not None:
        config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, options.workspace_mb << 20)
    if options.tactic_sources is not None:
        members = (getattr(trt.TacticSource, name, None) for name in options.tactic_sources)
        config.set_tactic_sources(sum(1 << int(member) for member in members if member is not None))
    if not options.tf32:  # TensorRT's own default is on
        config.clear_flag(trt.BuilderFlag.TF32)
    if options.version_compatible:
        config.set_flag(trt.BuilderFlag.VERSION_COMPATIBLE)
    if options.exclude_lean_runtime:
        config.set_flag(trt.BuilderFlag.EXCLUDE_LEAN_RUNTIME)
    if options.hardware_compatibility != "none":
        wanted = options.hardware_compatibility.upper()
        level = getattr(trt.HardwareCompatibilityLevel, wanted, None)
        if level is None:
            raise EngineError(
                f"TensorRT {trt.__version__} has no hardware compatibility "
                f"{options.hardware_compatibility!r}; choose another, or a newer TensorRT"
            )
        config.hardware_compatibility_level = level


def _set_sizes(
    trt: Any,  # noqa: ANN401 - the module
    builder: Any,  # noqa: ANN401
    network: Any,  # noqa: ANN401
    config: Any,  # noqa: ANN401
    request: BuildRequest,
) -> None:
    """Give a dynamic graph its sizes; hold a fixed one to them."""
    inputs = [network.get_input(index) for index in range(network.num_inputs)]
    sizes = request.sizes
    if all(length > 0 for tensor in inputs for length in tensor.shape):
        for tensor in inputs:
            fixed = (tensor.shape[0], tensor.shape[1])
            if not (sizes.is_fixed and fixed == sizes.largest):
                raise EngineError(
                    f"{request.name} is fixed at {fixed[0]}x{fixed[1]} and an engine for {sizes} "
                    "is asked for; export it without --height and --width"
                )
        return
    profile = builder.create_optimization_profile()
    for tensor in inputs:
        shapes = [(*size, 3) for size in (sizes.smallest, sizes.typical, sizes.largest)]
        profile.set_shape(tensor.name, *shapes)
    if not _is_strongly_typed(trt):
        # Several contexts of one engine, one for each size and two for a pipeline: 8.6 keeps a
        # profile to one context, and later ones share it by themselves.
        config.set_preview_feature(trt.PreviewFeature.PROFILE_SHARING_0806, True)
    if config.add_optimization_profile(profile) < 0:
        raise EngineError(
            f"TensorRT refuses the sizes {sizes} for {request.name}; state a narrower range, or "
            "one size"
        )


def _use_plugin(
    trt: Any,  # noqa: ANN401 - the module
    network: Any,  # noqa: ANN401
    request: BuildRequest,
) -> tuple[int, list[object]]:
    """Put plugins in the places of the parts that they compute, if there is their library.

    Only in half: INT8 graphs quantise what is inside the blocks.

    Returns:
        How many parts these are, and what must live until the network is built.
    """
    path = request.options.plugin
    if not isinstance(path, Path) or request.precision != "fp16":
        return 0, []
    load_library(trt, path)
    parts = find_parts(read_graph(request.graph))
    return len(parts), replace_parts(trt, network, parts)


def _set_precision(
    trt: Any,  # noqa: ANN401 - the module
    network: Any,  # noqa: ANN401
    config: Any,  # noqa: ANN401
    request: BuildRequest,
) -> tuple[str, int]:
    """Say how precision is kept, and on how many layers it had to be pinned."""
    if _is_strongly_typed(trt):
        return "strong", 0
    if request.precision == "fp32":
        return "fp32", 0
    config.set_flag(trt.BuilderFlag.FP16)
    constraints = request.options.constraints
    if request.precision == "int8":
        config.set_flag(trt.BuilderFlag.INT8)
        # Told to obey, 8.6.0 refused LAS1's Q/DQ graph ("node being incorrectly
        # marked as an int8 node"). The attestation sees whether FP32 was kept.
        constraints = "prefer"
    config.set_flag(getattr(trt.BuilderFlag, f"{constraints.upper()}_PRECISION_CONSTRAINTS"))
    pinned = _pin_islands(trt, network, request.islands)
    if request.precision == "fp16":  # in INT8 it would keep convolutions from their 8 bits
        _hold_convolutions(trt, network, pinned)
    return "emulated", len(pinned)


def _hold_convolutions(trt: Any, network: Any, pinned: set[int]) -> None:  # noqa: ANN401
    """Hold the convolutions outside of islands to half.

    Each has a kernel in half, and TensorRT need not time those in FP32: a third of the build.
    """
    kinds = [getattr(trt.LayerType, name) for name in _CONVOLUTIONS]
    for index, layer in _floating_layers(trt, network).items():
        if index not in pinned and layer.type in kinds:
            layer.precision = trt.DataType.HALF


def _pin_islands(trt: Any, network: Any, islands: frozenset[str]) -> set[int]:  # noqa: ANN401
    """Pin to FP32 the layers of the islands' nodes; return which these are.

    A layer is known by its node's name. What the parser adds around a node has no name, or the
    node's with a number: it is pinned where it touches what is pinned. Types are no guide, because
    without strong typing every floating tensor counts as FLOAT until the engine is built (8.6.0
    says so of 738 layers of a graph with 45 nodes in FP32). Other layers are left alone: TensorRT
    may compute them wider.
    """
    layers = _floating_layers(trt, network)
    touching = defaultdict(set)  # tensor -> the layers that read or write it
    for index, layer in layers.items():
        for name in _tensor_names(layer):
            touching[name].add(index)
    waiting = [index for index, layer in layers.items() if layer.name in islands]
    pinned: set[int] = set()
    while waiting:
        index = waiting.pop()
        pinned.add(index)
        around = set().union(*(touching[name] for name in _tensor_names(layers[index])))
        waiting += [i for i in around - pinned if _is_helper(layers[i].name, islands)]
    for layer in (layers[index] for index in pinned):
        layer.precision = trt.DataType.FLOAT
        for number in range(layer.num_outputs):
            layer.set_output_type(number, trt.DataType.FLOAT)
    return pinned


def _is_helper(name: str, islands: frozenset[str]) -> bool:
    """Say whether the parser may have added a layer of this name around an island's node."""
    return name.startswith(_NO_NAME) or _NUMBER.sub("", name) in islands


def _floating_layers(trt: Any, network: Any) -> dict[int, Any]:  # noqa: ANN401
    """Return the layers by number that compute floating values and take a precision."""
    unpinned = [getattr(trt.LayerType, name) for name in _UNPINNED]
    floating = (trt.DataType.FLOAT, trt.DataType.HALF)
    layers = {index: network.get_layer(index) for index in range(network.num_layers)}
    return {
        index: layer
        for index, layer in layers.items()
        if layer.type not in unpinned
        and all(tensor.dtype in floating for tensor in _outputs(layer))
    }


def _tensor_names(layer: Any) -> list[str]:  # noqa: ANN401
    """Return the names of a layer's inputs and outputs."""
    inputs = [layer.get_input(number) for number in range(layer.num_inputs)]
    return [tensor.name for tensor in (*inputs, *_outputs(layer)) if tensor is not None]


def _outputs(layer: Any) -> list[Any]:  # noqa: ANN401
    return [layer.get_output(number) for number in range(layer.num_outputs)]


def _set_timing_cache(config: Any, content: bytes) -> None:  # noqa: ANN401
    """Hand over what earlier builds measured; a cache that does not fit is left out."""
    timing_cache = config.create_timing_cache(content)
    if timing_cache is None or not config.set_timing_cache(timing_cache, False):
        config.set_timing_cache(config.create_timing_cache(b""), False)
