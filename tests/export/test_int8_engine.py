"""After an export: which artefact is kept on this GPU, and what the manifest says of it."""

from __future__ import annotations

from dataclasses import replace

import onnx
import pytest
from stand_in import stand_in_manifest, stand_in_model

from litestereo.errors import ExportError
from litestereo.export import int8_engine
from litestereo.export.int8_engine import keep_faster
from litestereo.export.options import ExportOptions, Int8Options
from litestereo.runtime.manifest import InputSpec
from litestereo.runtime.tensorrt.artifact import read_artifact
from litestereo.runtime.tensorrt.choice import Choice
from litestereo.runtime.tensorrt.options import GpuOptions

MEASURED = Choice(
    "a GPU", (64, 96), 1.0, 1.3, 300, forced=False, attestation={"int8": "most"}, apart_px=0.07
)


@pytest.mark.parametrize(
    ("fp16_ms", "force", "kept"), [(1.3, False, "int8"), (1.0, False, "fp16"), (1.0, True, "int8")]
)
def test_the_faster_one_is_kept_and_the_manifest_says_so(
    fp16_ms, force, kept, tmp_path, monkeypatch
):
    int8 = tmp_path / "las1_64x96_int8.onnx"
    manifest = stand_in_manifest(
        precision="int8", input=InputSpec(64, 96), quantization={"ranges": "mse"}
    )
    onnx.save(stand_in_model(size=(64, 96), manifest=manifest.to_json()), int8)
    before = read_artifact(int8)
    exported, compared = [], []

    def export(options, *, output, progress):
        exported.append((options.precision, options.int8, output.name))

    def choose(*artefacts, pair, options, force):
        assert pair[0].shape == pair[1].shape == (64, 96, 3)
        assert pair[0].std() > 10, "a picture, not a blank"
        compared.extend(path.name for path in artefacts)
        return replace(MEASURED, fp16_ms=fp16_ms, forced=force)

    monkeypatch.setattr(int8_engine, "export", export)
    monkeypatch.setattr(int8_engine, "choose_engine", choose)
    options = ExportOptions(height=64, width=96, precision="int8", int8=Int8Options(tmp_path))
    found = keep_faster(int8, options, gpu=GpuOptions(), force=force)
    assert exported == [("fp16", None, "las1_64x96_fp16.onnx")]
    assert compared == ["las1_64x96_int8.onnx", "las1_64x96_fp16.onnx"]
    assert found.name == f"las1_64x96_{kept}.onnx"
    after = read_artifact(int8)
    engine = after.manifest.quantization["engine"]
    assert (engine["kept"], engine["forced"], engine["pays"]) == (kept, force, fp16_ms == 1.3)
    assert engine["int8_ms"] == 1.0
    assert after.manifest.quantization["ranges"] == "mse"
    assert after.graph_sha256 == before.graph_sha256, "its cached engine stays valid"


def test_int8_is_not_called_as_fp16_is(tmp_path, monkeypatch):
    monkeypatch.setattr(int8_engine, "export", None)
    monkeypatch.setattr(int8_engine, "choose_engine", None)
    options = ExportOptions(height=64, width=96, precision="int8", int8=Int8Options(tmp_path))
    with pytest.raises(ExportError, match=r"las1_64x96_fp16\.onnx is where the FP16.*with -o"):
        keep_faster(tmp_path / "las1_64x96_fp16.onnx", options, gpu=GpuOptions())
