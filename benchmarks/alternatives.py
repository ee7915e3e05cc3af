"""Export one network in several forms, for engines to be timed beside each other.

    python benchmarks/alternatives.py las1 --size 384x1248 -o build/alternatives [FORM...]

Forms, all in FP16, all with the same answers:

    ours         what stereo-export writes
    reference    the published formulation
    with-PART    ours with one part as published: eyes, volume, upsampling, blocks or norms
    stem-3d      ours with the 3-D stem as it is
    stem-in-blocks   ours with the 3-D stem as 2-D convolutions over blocks of four disparities
    gelu         ours with the factors of each GELU as they are
    softmax      ours with each softmax spelled out
    batch-N      ours for N pairs at once: pictures N times as high, cut apart inside

An artefact is called MODEL_FORM.onnx. `benchmarks/proof/proof.sh speed` builds and times them.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from unittest import mock

from needs import leave_without

from litestereo.packages import EXPORT_PACKAGES

if __name__ == "__main__":
    leave_without(*EXPORT_PACKAGES, extra="export")

import torch
from onnx import ModelProto
from reference_graph import PARTS, formulated_as_published
from torch import Tensor, nn

from litestereo.assets import bundled_artifact
from litestereo.benchmarks.latency.command import parse_size
from litestereo.export import onnx_from_torch
from litestereo.export.artifact import make_manifest, sha256_of, with_manifest, write_artifact
from litestereo.export.half import half_from_master
from litestereo.export.lower import with_folded_gelu, with_folded_scales, with_spelled_softmax
from litestereo.export.lower_stem import with_stem_in_blocks, with_stem_in_planes
from litestereo.export.options import ExportOptions
from litestereo.export.pairs import gate_pairs
from litestereo.export.pipeline import for_engines, fp32_graph
from litestereo.export.ranges import out_of_half_range
from litestereo.export.simplify import simplify
from litestereo.models import create, load_weights

__all__ = ["FORMS", "BatchModel", "master_of"]

FORMS: dict[str, Callable[[ModelProto], ModelProto]] = {
    "ours": for_engines,
    "reference": lambda graph: graph,
    **{f"with-{part}": for_engines for part in PARTS},
    "stem-3d": lambda graph: with_folded_gelu(with_folded_scales(graph)),
    "stem-in-blocks": lambda graph: with_stem_in_blocks(FORMS["stem-3d"](graph)),
    "gelu": lambda graph: with_stem_in_planes(with_folded_scales(graph)),
    "softmax": for_engines,
    **{f"batch-{count}": for_engines for count in (2, 4, 8)},
}
"""What each form does to the simplified graph; some are traced otherwise instead."""


class BatchModel(nn.Module):
    """Several pairs behind the interface of one: each picture is theirs one above the other."""

    count = 1

    def __init__(self, model: nn.Module) -> None:
        """Wrap a network."""
        super().__init__()
        self.model = model

    def forward(self, left: Tensor, right: Tensor) -> tuple[Tensor, Tensor]:
        """Return (N * H, W) disparity and confidence of (N * H, W, 3) pictures."""
        disparity, confidence = self.model(self._apart(left), self._apart(right))
        return disparity.flatten(0, 2), confidence.flatten(0, 2)

    def _apart(self, picture: Tensor) -> Tensor:
        height, width, _ = picture.shape
        apart = picture.to(torch.float32).view(self.count, height // self.count, width, 3)
        return apart.permute(0, 3, 1, 2)


def master_of(model: nn.Module, form: str, *, options: ExportOptions) -> ModelProto:
    """Return the FP32 graph of a form, from which the typed one is made."""
    published = nullcontext()
    if form == "reference":
        published = formulated_as_published()
    elif form.startswith("with-"):
        published = formulated_as_published(form.removeprefix("with-"))
    camera = onnx_from_torch.CameraModel
    if form.startswith("batch-"):
        count = int(form.removeprefix("batch-"))
        camera = type("Batch", (BatchModel,), {"count": count})
    with published, mock.patch.object(onnx_from_torch, "CameraModel", camera):
        master = simplify(fp32_graph(model, options=options))
    return FORMS[form](master)


def _export(
    model: nn.Module, form: str, *, options: ExportOptions, given: argparse.Namespace
) -> Path:
    master = master_of(model, form, options=options)
    single = master if not form.startswith("batch-") else None
    outside = out_of_half_range(single, pairs=gate_pairs(options)) if single else ()
    half = half_from_master(master, widened=tuple(outside))
    # The FP32 islands begin at a softmax: it is spelled out in the typed graph.
    graph = with_spelled_softmax(half.model) if form == "softmax" else half.model
    manifest = make_manifest(
        options,
        weights=given.weights,
        weights_sha256=sha256_of(given.weights.read_bytes()),
        graph=graph,
        parity={},
        precision_map=half.precision_map(),
    )
    path = given.output / f"{given.model}_{form}.onnx"
    return write_artifact(with_manifest(graph, manifest), path)


def main() -> None:
    """Write the forms that the command line names, or all."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model")
    parser.add_argument("forms", nargs="*", metavar="FORM")
    parser.add_argument("--size", type=parse_size, required=True)
    parser.add_argument("--weights", type=Path, help="else the bundled ones")
    parser.add_argument("-o", "--output", type=Path, required=True)
    given = parser.parse_args()
    given.weights = given.weights or bundled_artifact(given.model)
    given.output.mkdir(parents=True, exist_ok=True)
    model = create(given.model)
    load_weights(model, given.weights)
    height, width = given.size
    for form in given.forms or FORMS:
        count = int(form.removeprefix("batch-")) if form.startswith("batch-") else 1
        options = ExportOptions(
            model=given.model,
            height=count * height,
            width=width,
            precision="fp16",
            weights_source=f"form {form!r}, for comparison",
        )
        print(_export(model.eval(), form, options=options, given=given), flush=True)


if __name__ == "__main__":
    main()
