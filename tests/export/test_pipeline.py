"""The order of an export's steps, on a network of one weight: what is judged, and before what."""

from __future__ import annotations

import dataclasses
import json
import shutil
from types import SimpleNamespace

import cv2
import numpy as np
import onnx
import pytest
import torch
from int8_graphs import made_set
from onnx import numpy_helper
from stand_in import stand_in_model
from test_cli_export import stereo_export
from torch import nn

from litestereo.errors import CalibrationError, ExportError, LiteStereoError
from litestereo.export import export_artifact, pipeline
from litestereo.export.artifact import sha256_of
from litestereo.export.held_out import find_judges
from litestereo.export.int8_engine import fp16_beside
from litestereo.export.options import ExportOptions, Int8Options, RigOptions
from litestereo.export.rectification import rectification_for
from litestereo.runtime.tensorrt.artifact import read_artifact

SIZE = {"height": 64, "width": 128}


class Scaled(nn.Module):
    """Answers `gain` times the mean of the left picture's channels."""

    def __init__(self, gain):
        super().__init__()
        self.gain = nn.Parameter(torch.tensor([[gain]]))
        self.refiner = None

    def forward(self, left, right):
        distance = (left - right).abs().mean(1, keepdim=True)
        return left.mean(1, keepdim=True) * self.gain, 1 - distance / 255


def of_gain(gain, patch):
    patch.setattr(pipeline, "_load", lambda *_: (Scaled(gain).eval(), "0" * 64))


def work(*_, **__):
    raise AssertionError("work was done")


@pytest.fixture(scope="module")
def small_set(tmp_path_factory):
    return made_set(tmp_path_factory.mktemp("small"))


def test_the_loss_of_half_weights_is_measured(pair_files, tmp_path, monkeypatch):
    of_gain(1.0001, monkeypatch)  # the next half numbers are 1 and 1.00098
    options = ExportOptions(**SIZE, half_weights=True, pair=pair_files)
    report = export_artifact(options, output=tmp_path / "a.onnx")
    manifest = read_artifact(report.path).manifest
    assert manifest.half_weights is True
    assert manifest.parity["passed"] is True
    (lost, _), (rest, _) = manifest.parity["rounding"]["cases"], manifest.parity["cases"]
    mean = cv2.imread(str(pair_files[0])).mean()
    assert lost["mean_px"] == pytest.approx(1e-4 * mean, rel=0.05)
    assert rest["max_px"] < 1e-4


def test_half_weights_that_lose_too_much_are_refused(pair_files, tmp_path, monkeypatch):
    of_gain(1.0004, monkeypatch)
    options = ExportOptions(**SIZE, half_weights=True, pair=pair_files)
    with pytest.raises(ExportError, match=r"rounding the weights.*without --half-weights"):
        export_artifact(options, output=tmp_path / "a.onnx")
    assert list(tmp_path.iterdir()) == []
    plain = dataclasses.replace(options, half_weights=False)
    manifest = read_artifact(export_artifact(plain, output=tmp_path / "a.onnx").path).manifest
    assert manifest.half_weights is False
    assert "rounding" not in manifest.parity


def test_int8_starts_from_a_graph_that_was_compared_after_it_was_rewritten(
    small_set, pair_files, tmp_path, monkeypatch
):
    def wrongly(master):
        changed = onnx.ModelProto()
        changed.CopyFrom(master)
        for tensor in changed.graph.initializer:
            if tensor.name == "gain":
                wrong = numpy_helper.to_array(tensor) * np.float32(1.1)
                tensor.CopyFrom(numpy_helper.from_array(wrong, "gain"))
        return changed

    of_gain(0.5, monkeypatch)
    monkeypatch.setattr(pipeline, "for_engines", wrongly)
    monkeypatch.setattr(pipeline, "int8_from_masters", work)
    int8 = Int8Options(small_set.folder)
    options = ExportOptions(**SIZE, precision="int8", int8=int8, pair=pair_files)
    with pytest.raises(ExportError, match=r"not what torch computes.* Try other weights"):
        export_artifact(options, output=tmp_path / "a.onnx")
    assert list(tmp_path.iterdir()) == []


def test_a_set_must_fit_the_size_that_a_rig_gives(small_set, tmp_path, monkeypatch):
    rectified = SimpleNamespace(size=(384, 640))
    monkeypatch.setattr(pipeline, "rectification_for", lambda _: rectified)
    monkeypatch.setattr(pipeline, "_load", work)
    rig = RigOptions((tmp_path / "rig.yaml",))
    options = ExportOptions(precision="int8", int8=Int8Options(small_set.folder), rig=rig)
    with pytest.raises(CalibrationError, match="fill 3% of 384x640"):
        export_artifact(options, output=tmp_path / "a.onnx")


def test_held_out_scenes_are_looked_at_before_any_work(small_set, tmp_path, monkeypatch):
    monkeypatch.setattr(pipeline, "_load", work)
    stored = small_set.part(held_out=False)[0]
    for side in ("left", "right"):
        shutil.copy(small_set.folder / f"{stored.file}_{side}.png", tmp_path / f"{side}.png")
    files = {"left": "left.png", "right": "right.png"}
    (tmp_path / "meta.json").write_text(json.dumps({"files": files}))
    int8 = Int8Options(small_set.folder, held_out=(tmp_path,))
    with pytest.raises(ExportError, match="all 1 scenes of --held-out gave ranges"):
        export_artifact(ExportOptions(precision="int8", int8=int8), output=tmp_path / "a.onnx")


@pytest.mark.parametrize(
    ("truth", "words"),
    [
        (np.ones((4, 5), np.float32), "ground truth is 4x5 but its pictures are"),
        (None, "cannot read .*second/truth.npy"),
    ],
)
def test_a_held_out_scene_that_cannot_judge_is_named(small_set, tmp_path, truth, words):
    stored = small_set.part(held_out=True)[0]
    for name in ("first", "second"):
        (tmp_path / name).mkdir()
        for side in ("left", "right"):
            file = small_set.folder / f"{stored.file}_{side}.png"
            shutil.copy(file, tmp_path / name / f"{side}.png")
        files = {"left": "left.png", "right": "right.png", "gt": "truth.npy"}
        height, width = cv2.imread(str(tmp_path / name / "left.png")).shape[:2]
        np.save(tmp_path / name / "truth.npy", np.ones((height, width), np.float32))
        meta = {"files": files, "gt_encoding": {"kind": "disparity"}}
        (tmp_path / name / "meta.json").write_text(json.dumps(meta))
    spoiled = tmp_path / "second/truth.npy"
    spoiled.write_bytes(b"no array") if truth is None else np.save(spoiled, truth)
    with pytest.raises(LiteStereoError, match=f"second cannot judge INT8: .*{words}"):
        find_judges(small_set, (tmp_path / "first", tmp_path / "second"))


def test_passes_need_a_refiner(las1_weights):
    with pytest.raises(ExportError, match="has no refiner, so it cannot look 1 times"):
        pipeline._load(ExportOptions(refiner_passes=1), las1_weights)


@pytest.mark.parametrize("by_link", [False, True])
def test_an_export_does_not_write_over_its_own_weights(by_link, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(pipeline, "_load", work)
    (tmp_path / "las1_fp32.onnx").write_text("weights")
    (tmp_path / "link.onnx").symlink_to("las1_fp32.onnx")
    output = ("-o", "link.onnx") if by_link else ()
    assert stereo_export("--weights", tmp_path / "las1_fp32.onnx", *output) == 1
    assert "would be written over; give the artefact another name" in capsys.readouterr().err
    assert (tmp_path / "las1_fp32.onnx").read_text() == "weights"


def test_the_fp16_artefact_beside_int8_does_not_replace_the_weights(tmp_path):
    weights, int8 = tmp_path / "las1_64x128_fp16.onnx", Int8Options(tmp_path)
    options = ExportOptions(**SIZE, weights=weights, precision="int8", int8=int8)
    with pytest.raises(ExportError, match="would be written over"):
        fp16_beside(tmp_path / "a.onnx", options)


def test_the_hash_is_of_the_weights_that_were_loaded(las1_weights, tmp_path, monkeypatch):
    weights = shutil.copy(las1_weights, tmp_path / "w.safetensors")

    def meanwhile(model, *, options):
        weights.write_bytes(b"those of the next epoch")
        return stand_in_model(size=options.size, manifest=None)

    monkeypatch.setattr(pipeline, "fp32_graph", meanwhile)
    monkeypatch.setattr(pipeline, "with_spelled_softmax", lambda graph: graph)
    options = ExportOptions(**SIZE, weights=weights, gate=False)
    manifest = read_artifact(export_artifact(options, output=tmp_path / "a.onnx").path).manifest
    assert manifest.weights_sha256 == sha256_of(las1_weights.read_bytes())


def test_the_hash_of_a_calibration_is_of_all_files_that_were_read(tmp_path):
    def write(name, **values):
        storage = cv2.FileStorage(str(tmp_path / name), cv2.FILE_STORAGE_WRITE)
        for key, value in values.items():
            storage.write(key, np.array(value, np.float64))
        storage.release()

    camera = [[120, 0, 80], [0, 120, 48], [0, 0, 1]]
    write("intrinsics.yml", M1=camera, D1=[[-0.2, 0, 0, 0]], M2=camera, D2=[[-0.2, 0, 0, 0]])
    rig = RigOptions((tmp_path / "intrinsics.yml",), size=(96, 160))
    found = {}
    for baseline_m in (0.12, 0.24):
        write("extrinsics.yml", R=np.eye(3), T=[[-baseline_m], [0], [0]])
        made = rectification_for(ExportOptions(**SIZE, rig=rig))
        found[made.calibration.baseline_m] = made.calibration_sha256
    assert list(found) == pytest.approx([0.12, 0.24])
    assert len(set(found.values())) == 2
    both = b"".join((tmp_path / f"{n}.yml").read_bytes() for n in ("intrinsics", "extrinsics"))
    assert found[made.calibration.baseline_m] == sha256_of(both)
