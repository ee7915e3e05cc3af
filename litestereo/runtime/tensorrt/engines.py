"""From an artefact to an engine's plan: out of the cache, or built, attested and put there."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

from litestereo.errors import EngineError, InputError
from litestereo.runtime.cuda.driver import DeviceInfo
from litestereo.runtime.files import write_atomic
from litestereo.runtime.tensorrt.artifact import Artifact
from litestereo.runtime.tensorrt.attestation import attest
from litestereo.runtime.tensorrt.builder import BuildRequest, build_plan
from litestereo.runtime.tensorrt.cache import (
    CachedEngine,
    CacheKey,
    EngineCache,
    default_folder,
    doubt_about,
)
from litestereo.runtime.tensorrt.library import own_words, version_of
from litestereo.runtime.tensorrt.options import GpuOptions, SizeRange
from litestereo.runtime.tensorrt.plugin.library import installed, load_library
from litestereo.runtime.tensorrt.plugin.onnx_graph import OnnxGraph, read_graph
from litestereo.runtime.tensorrt.progress import Heartbeat
from litestereo.runtime.tensorrt.recipe import recipe

__all__ = [
    "cache_key",
    "engine_from_artifact",
    "engine_name",
    "half_share",
    "int8_nodes",
    "island_nodes",
    "load_plan",
    "pinned_nodes",
    "plugin_of",
    "require_readable",
    "settled",
]

_NEWEST_OPSET_OF_8 = 17


def engine_from_artifact(
    trt: Any,  # noqa: ANN401 - the module
    artifact: Artifact,
    *,
    sizes: SizeRange,
    info: DeviceInfo,
    options: GpuOptions,
) -> CachedEngine:
    """Return the engine of an artefact for these sizes on this GPU, built if need be.

    The GPU's context must be current.

    Args:
        trt: the module `tensorrt`, or a sibling of it.
        artifact: the artefact, read.
        sizes: the sizes that the engine serves.
        info: which GPU it is for.
        options: how to build and run on the GPU, as `settled` gives them.

    Raises:
        EngineError: the engine cannot be built, or is not what the graph asks for.
    """
    folder = options.cache_dir or default_folder()
    key = cache_key(trt, artifact, sizes=sizes, info=info, options=options)
    board = f"{info.sm}_{_plain(info.name)}_{info.multiprocessors}"
    timings = folder / f"timing_{key.tensorrt_version}_{board}.cache"
    name = engine_name(artifact, sizes)

    def build() -> tuple[bytes, Mapping[str, Any]]:
        return _build(trt, artifact, sizes=sizes, options=options, name=name, timings=timings)

    return EngineCache(folder, options.say).engine(key, name=name, build=build)


def cache_key(
    trt: Any,  # noqa: ANN401 - the module
    artifact: Artifact,
    *,
    sizes: SizeRange,
    info: DeviceInfo,
    options: GpuOptions,
) -> CacheKey:
    """Return what the engine of an artefact depends on.

    Args:
        trt: the module `tensorrt`, or a sibling of it.
        artifact: the artefact, read.
        sizes: the sizes that the engine serves.
        info: which GPU it is for.
        options: how to build and run on the GPU, as `settled` gives them.
    """
    precision_map = json.dumps(artifact.manifest.precision_map, sort_keys=True)
    return CacheKey(
        graph_sha256=artifact.graph_sha256,
        sizes=str(sizes),
        precision_map_sha256=hashlib.sha256(precision_map.encode()).hexdigest(),
        tensorrt_version=str(trt.__version__),
        gpu=info.name,
        sm=info.sm,
        multiprocessors=str(info.multiprocessors),
        memory_gb=str(info.memory_gb),
        options=json.dumps(options.build.to_json(), sort_keys=True),
        builder=recipe(),
    )


def settled(
    trt: Any,  # noqa: ANN401 - the module
    artifact: Artifact,
    *,
    info: DeviceInfo,
    options: GpuOptions,
) -> GpuOptions:
    """Return the options with the plugin looked up, for all that follows to take the same.

    Args:
        trt: the module `tensorrt`, or a sibling of it.
        artifact: the artefact, read.
        info: which GPU it is for.
        options: how to build and run on the GPU.
    """
    plugin = plugin_of(trt, artifact, info=info, options=options)
    return replace(options, build=replace(options.build, plugin=plugin))


def plugin_of(
    trt: Any,  # noqa: ANN401 - the module
    artifact: Artifact,
    *,
    info: DeviceInfo,
    options: GpuOptions,
) -> Path | None:
    """Return the compiled plugin that an artefact's engine is built with, None for none.

    Args:
        trt: the module `tensorrt`, or a sibling of it.
        artifact: the artefact, read.
        info: which GPU it is for.
        options: how to build and run on the GPU.
    """
    plugin = options.build.plugin
    if plugin is None or artifact.manifest.precision != "fp16":
        return None
    if plugin != "auto":
        return plugin
    folder = options.cache_dir or default_folder()
    found = installed(trt, folder, info.sm)
    if found is not None and (doubt := doubt_about(folder, found)):
        options.say(f"the plugin is not trusted ({doubt}): building without it")
        return None
    return found


def engine_name(artifact: Artifact, sizes: SizeRange) -> str:
    """Return what to call an engine, e.g. "las1 fp16 384x1248".

    Args:
        artifact: the artefact, read.
        sizes: the sizes that the engine serves.
    """
    return f"{artifact.manifest.model} {artifact.manifest.precision} {sizes}"


def load_plan(
    trt: Any,  # noqa: ANN401 - the module
    plan: bytes,
    *,
    name: str,
    foreign: bool = False,
    plugin: Path | Literal["auto"] | None = None,
) -> tuple[Any, Any]:
    """Return (runtime, engine) of a plan; drop the engine first.

    Args:
        trt: the module.
        plan: TensorRT's bytes.
        name: what to call it.
        foreign: it may be another version's, and bring that version's runtime as code of its own.
        plugin: compiled plugin that it was built with, as `settled` options have it.

    Raises:
        EngineError: TensorRT refuses it; with its own words.
    """
    log, words = own_words(trt)
    words.clear()
    if isinstance(plugin, Path):
        load_library(trt, plugin)
    runtime = trt.Runtime(log)
    if foreign:
        runtime.engine_host_code_allowed = True
    engine = runtime.deserialize_cuda_engine(plan)
    if engine is None:
        raise EngineError(
            f"TensorRT {trt.__version__} cannot load the engine {name}: {words.words()}. An engine "
            "runs with the version and GPU that it was built for; build it again from its artefact"
        )
    return runtime, engine


def island_nodes(artifact: Artifact) -> frozenset[str]:
    """Return the names of the nodes that an artefact's map keeps in FP32.

    Args:
        artifact: the artefact, read.

    Raises:
        EngineError: the map is not of the form that stereo-export writes.
    """
    islands = artifact.manifest.precision_map.get("islands", {})
    try:
        return frozenset(node for island in islands.values() for node in island["nodes"])
    except (AttributeError, KeyError, TypeError) as error:
        raise EngineError(
            f"{artifact.path} has a precision map that cannot be read ({error!r}); export it again"
        ) from error


def pinned_nodes(artifact: Artifact) -> frozenset[str]:
    """Return the names of the nodes that TensorRT is to hold to FP32: in INT8 not all islands.

    A layer that is fused with a Q or DQ is 8 bits wide there, and `_normalizations` says why those
    are left alone.

    Args:
        artifact: the artefact, read.

    Raises:
        EngineError: as of `island_nodes`, or the graph is no ONNX.
    """
    names = island_nodes(artifact)
    if artifact.manifest.precision != "int8" or not names:
        return names
    graph = read_graph(artifact.content)
    return names - _beside_quantizers(graph) - _normalizations(graph)


def _beside_quantizers(graph: OnnxGraph) -> set[str]:
    """Return the nodes that read what DequantizeLinear writes, or write what QuantizeLinear reads.

    TensorRT fuses them with these: held to FP32, they would have no kernel.
    """
    quantized = {n.inputs[0] for n in graph.nodes if n.kind == "QuantizeLinear"}
    dequantized = {n.outputs[0] for n in graph.nodes if n.kind == "DequantizeLinear"}
    return {
        node.name
        for node in graph.nodes
        if quantized.intersection(node.outputs) or dequantized.intersection(node.inputs)
    }


def _normalizations(graph: OnnxGraph) -> set[str]:
    """Return the instance normalisations: TensorRT computes their sums in FP32 by itself.

    That is INormalizationLayer's default precision, whatever is around it. Of all islands they
    alone lie among quantised layers: 8.6.0 makes one node of LAS1's and of layers that Q follows.
    """
    return {node.name for node in graph.nodes if node.kind == "InstanceNormalization"}


def half_share(artifact: Artifact) -> float:
    """Return the share of an artefact's floating nodes that are half, 0 to 1.

    Args:
        artifact: the artefact, read.
    """
    nodes = artifact.manifest.precision_map.get("nodes", {})
    half, full = int(nodes.get("fp16", 0)), int(nodes.get("fp32", 0))
    return half / (half + full) if half else 0.0


def int8_nodes(artifact: Artifact) -> int:
    """Return how many convolutions of an artefact's graph are quantised.

    Args:
        artifact: the artefact, read.
    """
    return int(artifact.manifest.precision_map.get("nodes", {}).get("int8", 0))


def require_readable(trt: Any, artifact: Artifact) -> None:  # noqa: ANN401 - the module
    """Refuse a graph that is newer than this TensorRT's parser.

    Args:
        trt: the module `tensorrt`, or a sibling of it.
        artifact: the artefact, read.

    Raises:
        EngineError: with both versions, and how to export for this one.
    """
    opset = artifact.manifest.opset
    if opset > _NEWEST_OPSET_OF_8 and version_of(trt)[0] < 10:
        raise EngineError(
            f"{artifact.path} has opset {opset} and TensorRT {trt.__version__} reads up to "
            f"{_NEWEST_OPSET_OF_8}; export it with --int8 alone, without --fp16"
        )


def _build(
    trt: Any,  # noqa: ANN401 - the module
    artifact: Artifact,
    *,
    sizes: SizeRange,
    options: GpuOptions,
    name: str,
    timings: Path,
) -> tuple[bytes, Mapping[str, Any]]:
    """Build an engine, look what it became, and keep what the build measured."""
    require_readable(trt, artifact)
    islands = pinned_nodes(artifact)
    request = BuildRequest(
        name=name,
        graph=artifact.content,
        precision=artifact.manifest.precision,
        sizes=sizes,
        options=options.build,
        islands=islands,
        timing_cache=_earlier_timings(timings, options),
    )
    with Heartbeat(options.say, f"building {name} with TensorRT {trt.__version__}") as heartbeat:
        built = build_plan(trt, request, heartbeat=heartbeat)
    _keep_timings(timings, built.timing_cache, options)
    runtime, engine = load_plan(
        trt,
        built.plan,
        name=name,
        foreign=options.build.version_compatible,
        plugin=options.build.plugin,
    )
    seen_at = sizes.typical if options.build.attest and not sizes.is_fixed else None
    attested = attest(trt, engine, islands=islands, size=seen_at)
    del engine, runtime  # in this order: an engine must not outlive its runtime
    plugin = f", {built.plugin_parts} parts by plugins" if built.plugin_parts else ""
    options.say(f"{name}: {attested}, {len(built.plan) / 1e6:.1f} MB{plugin}")
    if options.build.attest:
        precision = artifact.manifest.precision
        attested.require(
            precision,
            half_share=half_share(artifact),
            name=name,
            int8_nodes=int8_nodes(artifact),
        )
    facts = {
        "name": name,
        "attestation": attested.to_json(),
        "typing": built.typing,
        "pinned_layers": built.pinned,
        "plugin_parts": built.plugin_parts,
        "build_s": round(built.seconds, 1),
        "model": artifact.manifest.model,
        "weights_sha256": artifact.manifest.weights_sha256,
    }
    return built.plan, facts


def _earlier_timings(path: Path, options: GpuOptions) -> bytes:
    """Return what earlier builds measured, nothing where that cannot be read: it costs time."""
    try:
        return path.read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        return b""
    except OSError as error:
        options.say(f"earlier builds' timings cannot be read ({path}: {error.strerror}): building")
        return b""


def _keep_timings(path: Path, content: bytes, options: GpuOptions) -> None:
    """Store what the build measured; a folder that cannot be written only costs time."""
    if not content:
        return
    try:
        write_atomic(path, content)
    except InputError as error:
        options.say(f"the build's timings cannot be kept: {error}")


def _plain(name: str) -> str:
    return "".join(c if c.isalnum() else "_" for c in name)
