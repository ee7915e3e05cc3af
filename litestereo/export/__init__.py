"""From a checkpoint to an artefact: one ONNX file, judged before it is written.

Importing this package loads neither torch nor onnx; calling `export_artifact` does.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from litestereo.export.options import ExportOptions
from litestereo.packages import EXPORT_PACKAGES, require_packages
from litestereo.runtime.opencv import import_cv2

if TYPE_CHECKING:
    from litestereo.export.pipeline import ExportReport

__all__ = ["ExportOptions", "export_artifact"]


def export_artifact(
    options: ExportOptions, *, output: Path, progress: Callable[[str], None] = lambda _: None
) -> ExportReport:
    """Write the artefact that `options` describe to `output`, if it passes its gate.

    Args:
        options: what to export.
        output: path of the .onnx file; an existing one is replaced.
        progress: called with one line before each step that takes seconds, and with the figures
            of the gate.

    Returns:
        What was written, and how it was judged.

    Raises:
        MissingDependencyError: torch, onnx, onnxslim, onnxruntime, OpenCV or, for the exporter
            "dynamo", onnxscript is not installed.
        CheckpointError: the weights do not fit the model.
        ExportError: no weights, a failed step, or a failed gate; no artefact is written then. Of
            INT8 the search's curve may be, under the name of a failed run.
        CalibrationError: the INT8 calibration set is missing, damaged, or of another size.
        InputError: the gate's pictures cannot be read, or `output` cannot be written.

    Example:
        >>> from pathlib import Path
        >>> options = ExportOptions(model="las1", height=384, width=1248, precision="fp16")
        >>> report = export_artifact(options, output=Path("las1.onnx"))  # doctest: +SKIP
    """
    dynamo = ("onnxscript",) if options.exporter == "dynamo" else ()
    require_packages(*EXPORT_PACKAGES, *dynamo, purpose="exporting a model", extra="export")
    if options.gate or options.precision != "fp32" or options.rig is not None:
        import_cv2("reading the pictures that judge an export")
    from litestereo.export.pipeline import export

    return export(options, output=output, progress=progress)
