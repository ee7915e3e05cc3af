"""Artefacts that take a rig's raw pictures: what is written, what it answers, who parses it."""

import json

import cv2
import numpy as np
import onnx
import pytest
from test_cli_export import stereo_export
from test_tensorrt_rtx import require_build

from litestereo.assets import bundled_artifact, demo_pair
from litestereo.export.pairs import Pair
from litestereo.export.parity import onnxruntime_outputs
from litestereo.export.rectification import rectifying_graph, rectifying_map
from litestereo.runtime.engine import StereoEngine
from litestereo.runtime.geometry import Calibration, Eye, Rectifier
from litestereo.runtime.geometry.in_graph import GraphRectification, for_network

RAW_SIZE = (96, 160)
SIZE = (64, 128)
RIG = Calibration(
    Eye(120.0, 120.5, 81.0, 47.0, "radtan", (-0.2, 0.05, 0.001, 0.0)),
    Eye(119.0, 119.5, 79.0, 48.5, "radtan", (-0.21, 0.06, 0.0, -0.001)),
    0.1,
    size=RAW_SIZE,
    rectified=False,
)


@pytest.fixture
def rectification():
    return GraphRectification(for_network(RIG, size=SIZE, multiple_of=32), "0" * 64)


@pytest.fixture
def raw(pair):
    pictures = (cv2.resize(image, RAW_SIZE[::-1]) for image in (pair.left, pair.right))
    return Pair("raw", *pictures)


def raw_views(rig, views):
    """Return what the raw eyes of `rig` show, where the rectified ones show `views`."""
    turns = rig.given.left_rotation, rig.given.right_rotation
    eyes = (rig.left, rig.given.left), (rig.right, rig.given.right)
    height, width = rig.size
    pixels = np.stack(np.meshgrid(np.arange(width), np.arange(height)), axis=2).astype(np.float64)
    for view, turn, (eye, seen) in zip(views, turns, eyes, strict=True):
        at = cv2.undistortPoints(
            pixels.reshape(-1, 1, 2), eye.matrix, np.array(eye.coefficients),
            R=np.reshape(turn, (3, 3)), P=seen.matrix,
        )  # fmt: skip
        yield cv2.remap(view, at.reshape(height, width, 2).astype(np.float32), None,
                        cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)  # fmt: skip


def test_it_answers_as_after_rectification_by_the_cpu():
    size = (160, 256)
    rig = for_network(RIG.for_size((240, 400)), size=size, multiple_of=32)
    views = [cv2.resize(cv2.imread(str(path))[..., ::-1], size[::-1]) for path in demo_pair()]
    raw = Pair("raw", *raw_views(rig, views))
    graph = onnx.load(bundled_artifact("las1"))
    disparity, confidence = onnxruntime_outputs(
        rectifying_graph(graph, GraphRectification(rig, "0" * 64)), raw
    )
    rectifier = Rectifier(rig)
    wanted, sure = onnxruntime_outputs(graph, Pair("rectified", *rectifier(raw.left, raw.right)))
    seen = np.ones(size, bool) if rectifier.outside is None else ~rectifier.outside
    assert seen.mean() > 0.95
    assert (confidence[~seen] == 0).all()
    # OpenCV rounds positions to 1/32 px and levels to whole ones.
    error_px = np.abs(disparity - wanted)[seen]
    assert np.median(error_px) < 0.04
    assert error_px.mean() < 0.12
    assert np.abs(confidence - sure)[seen].mean() < 0.015


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_it_parses_and_builds_strongly_typed(precision, exported, halved, rectification, tmp_path):
    plain = exported("las1").graph if precision == "fp32" else halved("las1").model
    graph = rectifying_graph(plain, rectification)
    kinds = [node.op_type for node in graph.graph.node if node.name.startswith("/rectification")]
    assert kinds.count("GridSample") == 2
    require_build(graph, RAW_SIZE, tmp_path / "las1.onnx")


def test_the_sampling_of_a_half_graph_is_an_island(halved, rectification):
    half = halved("las1")
    graph = rectifying_graph(half.model, rectification)
    islands = rectifying_map(half.precision_map(), graph)["islands"]
    assert set(half.precision_map()["islands"]) < set(islands)
    named = set(islands["rectification"]["nodes"])
    types = onnx.shape_inference.infer_shapes(graph, strict_mode=True).graph.value_info
    kinds = {value.name: value.type.tensor_type.elem_type for value in types}
    for node in graph.graph.node:
        if node.op_type == "GridSample":
            assert node.name in named
            assert kinds[node.output[0]] == onnx.TensorProto.FLOAT


def test_the_command_writes_one(las1_weights, pair_files, tmp_path, monkeypatch, capsys, raw):
    monkeypatch.chdir(tmp_path)
    storage = cv2.FileStorage("rig.yaml", cv2.FILE_STORAGE_WRITE)
    for number, eye in ((1, RIG.left), (2, RIG.right)):
        storage.write(f"M{number}", eye.matrix)
        storage.write(f"D{number}", np.array([eye.coefficients]))
    storage.write("R", np.eye(3))
    storage.write("T", np.array([[-0.1], [0.0], [0.0]]))
    storage.release()
    calib = ("--calib", "rig.yaml", "--camera-size", *RAW_SIZE, "--pair", *pair_files)
    status = stereo_export("--weights", las1_weights, *calib)
    output = capsys.readouterr()
    assert status == 0, output.err
    assert output.out == "las1_rig_fp32.onnx\n"
    with StereoEngine.load("las1_rig_fp32.onnx", threads=1) as engine:
        manifest = engine.manifest
        assert engine.fixed_size == manifest.input.fixed_size == RAW_SIZE
        assert engine.calibration.size == RAW_SIZE, "without a size it is the pictures' own"
        assert engine.calibration.baseline_m == pytest.approx(0.1)
        assert manifest.parity["passed"]
        assert 0 < manifest.rectification["sampling_error_levels"] < 0.1
        assert len(manifest.rectification["calibration_sha256"]) == 64
        assert engine(raw.left, raw.right).disparity_px.shape == RAW_SIZE
    assert json.loads(manifest.to_json()) == json.loads(
        type(manifest).from_json(manifest.to_json()).to_json()
    )


@pytest.mark.parametrize(
    ("arguments", "status", "words"),
    [
        (["--camera-size", "480", "640"], 2, "belong to --calib"),
        (["--calib", "K.txt"], 1, "nothing to rectify"),
        (["--calib", "raw.xml"], 1, "--camera-size HEIGHT WIDTH"),
    ],
)
def test_calibrations_that_cannot_be_used_say_why(
    arguments, status, words, tmp_path, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "K.txt").write_text("520 0 319.5 0 520 239.5 0 0 1\n0.12\n")
    storage = cv2.FileStorage("raw.xml", cv2.FILE_STORAGE_WRITE)
    for name, value in (("M1", RIG.left.matrix), ("M2", RIG.right.matrix), ("R", np.eye(3)),
                        ("D1", np.zeros((1, 5))), ("D2", np.zeros((1, 5))),
                        ("T", np.array([[-0.1], [0.0], [0.0]]))):  # fmt: skip
        storage.write(name, value)
    storage.release()
    assert stereo_export(*arguments) == status
    assert words in capsys.readouterr().err
