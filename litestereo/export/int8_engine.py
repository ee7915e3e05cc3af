"""After an INT8 export: build its engine and FP16's, and keep INT8's if it is faster and right."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import onnx

from litestereo.errors import ExportError
from litestereo.export.artifact import require_onnx_suffix, require_other_file, write_artifact
from litestereo.export.options import ExportOptions
from litestereo.export.pairs import gate_pairs
from litestereo.export.pipeline import export
from litestereo.runtime.manifest import METADATA_KEY
from litestereo.runtime.tensorrt.artifact import read_artifact
from litestereo.runtime.tensorrt.choice import Choice, choose_engine
from litestereo.runtime.tensorrt.options import GpuOptions

__all__ = ["fp16_beside", "keep_faster", "mark"]


def fp16_beside(int8: Path, options: ExportOptions) -> Path:
    """Return where the FP16 artefact goes that an INT8 one is compared with.

    Args:
        int8: the INT8 artefact, written or not.
        options: that it is exported with.

    Raises:
        ExportError: the INT8 artefact has that name itself, or is not called .onnx; or the weights
            are there.
    """
    require_onnx_suffix(int8)
    fp16 = int8.with_name(_in_half(options).file_name)
    if fp16 == int8:
        raise ExportError(
            f"{int8} is where the FP16 artefact goes that the INT8 one is compared with; give the "
            "INT8 one another name with -o"
        )
    if options.weights is not None:
        require_other_file(fp16, options.weights)
    return fp16


def keep_faster(
    int8: Path,
    options: ExportOptions,
    *,
    gpu: GpuOptions,
    force: bool = False,
    progress: Callable[[str], None] = lambda _: None,
) -> Path:
    """Return the artefact whose engine is kept on this GPU: `int8`, or FP16's beside it.

    The FP16 artefact is exported with the same options into the same folder. What was measured is
    noted in the INT8 artefact's manifest, with the word "forced" where that decided.

    Args:
        int8: the INT8 artefact, of a fixed size.
        options: that it was exported with.
        gpu: how engines are built and run.
        force: keep INT8 whatever is measured.
        progress: told in one line what takes long.

    Raises:
        ExportError: the FP16 artefact does not pass its gate, or would be written over `int8`.
        EngineError: an engine cannot be built, or the two cannot be compared.
        MissingDependencyError: tensorrt, or a package for GPU memory, is not installed.
    """
    fp16 = fp16_beside(int8, options)
    progress(f"exporting {fp16.name} to compare with")
    export(_in_half(options), output=fp16, progress=progress)
    shown = gate_pairs(options)[0]
    choice = choose_engine(int8, fp16, pair=(shown.left, shown.right), options=gpu, force=force)
    mark(int8, choice)
    return int8 if choice.kept == "int8" else fp16


def mark(artifact: Path, choice: Choice) -> None:
    """Note in an INT8 artefact's manifest what was measured; its graph, and engines, stay valid.

    Args:
        artifact: file that is written anew.
        choice: what TensorRT's engines took.

    Raises:
        EngineError: it is no artefact.
        InputError: it cannot be written.
    """
    read = read_artifact(artifact)
    manifest = read.manifest
    quantization = {**manifest.quantization, "engine": choice.to_json()}
    marked = replace(manifest, quantization=quantization)
    model = onnx.load_from_string(read.content)
    for entry in model.metadata_props:
        if entry.key == METADATA_KEY:
            entry.value = marked.to_json()
    write_artifact(model, artifact)


def _in_half(options: ExportOptions) -> ExportOptions:
    return replace(options, precision="fp16", int8=None)
