"""The artefact: one ONNX file that says what it is, written whole or not at all."""

from __future__ import annotations

import hashlib
import platform
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path

from onnx import ModelProto

from litestereo._version import __version__
from litestereo.errors import ExportError
from litestereo.export.graph import opset_of
from litestereo.export.onnx_from_torch import OUTPUT_NAMES
from litestereo.export.options import ExportOptions
from litestereo.models.registry import MAX_DISPARITY_PX, SIZE_MULTIPLE
from litestereo.runtime.files import write_atomic
from litestereo.runtime.manifest import METADATA_KEY, InputSpec, Manifest

__all__ = [
    "make_manifest",
    "require_onnx_suffix",
    "require_other_file",
    "sha256_of",
    "with_manifest",
    "write_artifact",
]

_TOOLS = ("torch", "onnx", "onnxslim", "onnxruntime")


def make_manifest(
    options: ExportOptions,
    *,
    weights: Path,
    weights_sha256: str,
    graph: ModelProto,
    parity: Mapping[str, object],
    precision_map: Mapping[str, object],
    quantization: Mapping[str, object] | None = None,
    refiner_passes: int | None = None,
) -> Manifest:
    """Return the manifest of `graph`, made as `options` say from the file `weights`.

    Args:
        options: what was asked for.
        weights: file that they were read from.
        weights_sha256: of what was read.
        graph: as it is written, but for the manifest.
        parity: what the gate measured.
        precision_map: which nodes compute in what.
        quantization: of an INT8 graph; None for others.
        refiner_passes: how often the graph's refiner looks, 0 without one; None does not say.
    """
    tools = {name: version(name) for name in _TOOLS}
    return Manifest(
        model=options.model,
        litestereo_version=__version__,
        weights_sha256=weights_sha256,
        weights_source=options.weights_source or weights.name,
        precision=options.precision,
        opset=opset_of(graph),
        input=InputSpec(height=options.height, width=options.width, multiple_of=SIZE_MULTIPLE),
        disparity_range_px=(0.0, float(MAX_DISPARITY_PX)),
        outputs=OUTPUT_NAMES,
        tools={**tools, "python": platform.python_version(), "exporter": options.exporter},
        parity=parity,
        graph_sha256=sha256_of(graph.SerializeToString(deterministic=True)),
        precision_map=precision_map,
        quantization=quantization or {},
        half_weights=options.half_weights,
        refiner_passes=refiner_passes,
    )


def with_manifest(graph: ModelProto, manifest: Manifest) -> ModelProto:
    """Return a copy of `graph` that carries `manifest`, and the producer's name.

    Args:
        graph: stays as it is.
        manifest: what it says of itself.
    """
    artifact = ModelProto()
    artifact.CopyFrom(graph)
    del artifact.metadata_props[:]
    artifact.producer_name, artifact.producer_version = "litestereo", __version__
    artifact.graph.name = manifest.model
    artifact.graph.doc_string = artifact.doc_string = ""
    for node in artifact.graph.node:
        node.ClearField("doc_string")
        del node.metadata_props[:]
    artifact.metadata_props.add(key=METADATA_KEY, value=manifest.to_json())
    return artifact


def require_onnx_suffix(path: Path) -> None:
    """Raise before any work is done for a file that would be called wrongly.

    Args:
        path: the file.

    Raises:
        ExportError: if the file is not called .onnx.
    """
    if path.suffix != ".onnx":
        raise ExportError(
            f"{path} does not end in .onnx, the only format that is written; name it with -o"
        )


def require_other_file(output: Path, weights: Path) -> None:
    """Raise before any work is done that would end by writing over its own weights.

    Args:
        output: where the artefact goes.
        weights: where its weights are from.

    Raises:
        ExportError: both are one file.
    """
    if output.resolve() == weights.resolve():
        raise ExportError(
            f"{output} is where the weights are read from, and would be written over; give the "
            "artefact another name with -o"
        )


def write_artifact(artifact: ModelProto, path: Path) -> Path:
    """Write an artefact, under a temporary name until it is whole, and return its path.

    Args:
        artifact: with its manifest.
        path: the file.

    Raises:
        ExportError: if the file is not called .onnx.
        InputError: if the place cannot be written.
    """
    require_onnx_suffix(path)
    return write_atomic(path, artifact.SerializeToString(), durable=True)


def sha256_of(content: bytes) -> str:
    """Return the SHA-256 of `content` in hexadecimal.

    Args:
        content: any bytes.
    """
    return hashlib.sha256(content).hexdigest()
