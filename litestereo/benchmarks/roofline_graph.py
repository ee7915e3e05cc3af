"""The graph that a roofline counts: of a model, or of an artefact, at one size."""

from __future__ import annotations

from pathlib import Path

import onnx
from onnx import ModelProto

from litestereo.benchmarks.roofline_count import with_size
from litestereo.errors import InputError, LiteStereoError
from litestereo.runtime.onnx_file import read_onnx

__all__ = ["graph_of"]


def graph_of(subject: str, size: tuple[int, int]) -> ModelProto:
    """Return the simplified graph of a model or an artefact, with this (height, width).

    Args:
        subject: a model's name, or an artefact's file.
        size: (height, width).

    Raises:
        InputError: no such model or file, or a size that it does not take.
        ExportError: the model cannot be exported at this size.
    """
    from litestereo.models import MODEL_NAMES

    if subject in MODEL_NAMES:
        return _model_graph(subject, size)
    path = Path(subject)
    if not path.is_file():
        models = ", ".join(MODEL_NAMES)
        raise InputError(
            f"{subject!r} is neither a model ({models}) nor an artefact's file; make one with "
            "stereo-export"
        )
    content = read_onnx(path, error=InputError)
    try:
        return with_size(onnx.load_from_string(content), size)
    except LiteStereoError:
        raise
    except Exception as error:  # onnxslim leaves by whatever a damaged graph makes of it
        words = " ".join(str(error).split()) or type(error).__name__
        raise InputError(f"{path} cannot be read as ONNX: {words}; export it again") from error


def _model_graph(name: str, size: tuple[int, int]) -> ModelProto:
    """Return the FP32 form of what an FP16 export holds; only the shapes of weights matter here."""
    from litestereo.export.lower import with_folded_scales
    from litestereo.export.options import ExportOptions
    from litestereo.export.pipeline import fp32_graph
    from litestereo.export.simplify import simplify
    from litestereo.models import create

    options = ExportOptions(model=name, height=size[0], width=size[1])
    return with_folded_scales(simplify(fp32_graph(create(name).eval(), options=options)))
