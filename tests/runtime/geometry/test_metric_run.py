"""`stereo-run --calib --depth --cloud` with a stand-in network, from files to files."""

import json

import cv2
import numpy as np
import pytest
import rigs
from stand_in import expected, write_stand_in

from litestereo.cli import run_main
from litestereo.runtime.geometry.depth_io import read_depth_png
from litestereo.runtime.geometry.read import read_calibration
from litestereo.runtime.geometry.rectify import Rectifier

SIZE = (64, 96)


@pytest.fixture(scope="module")
def artifact(tmp_path_factory):
    return write_stand_in(tmp_path_factory.mktemp("model") / "stand_in.onnx", gain=0.2)


@pytest.fixture
def views(rng):
    """Two RGB views of a texture, 10 px apart, dark enough that no disparity is out of range."""
    small = rng.integers(20, 200, (22, 40, 3), np.uint8)
    wide = cv2.resize(small, (110, 64), interpolation=cv2.INTER_CUBIC)
    return wide[:, :96].copy(), wide[:, 10:106].copy()


@pytest.fixture
def run(artifact, tmp_path, capsys):
    def command(images, *arguments):
        paths = [tmp_path / name for name in ("left.png", "right.png")]
        for path, image in zip(paths, images, strict=True):
            cv2.imwrite(str(path), image[..., ::-1])
        given = [*paths, *arguments, "--model", artifact, "-o", tmp_path / "out"]
        try:
            status = run_main([*map(str, given), "--allow-swapped"])
        except SystemExit as leaving:
            status = leaving.code or 0
        out, err = capsys.readouterr()
        return status, json.loads(out)["pairs"][0] if out else None, err

    return command


@pytest.fixture
def k_txt(tmp_path):
    path = tmp_path / "rig.txt"
    path.write_text("80 0 47.5 0 80 31.5 0 0 1\n0.1\n")
    return path


def test_depth_and_cloud_are_written(run, views, k_txt, tmp_path):
    status, report, err = run(views, "--calib", k_txt, "--depth", "--exr", "--cloud")
    assert status == 0, err
    files = report["files"]
    rows = np.frombuffer((tmp_path / "out/left_depth_m.exr").read_bytes()[-64 * (8 + 4 * 96):],
                         "<f4").reshape(64, 98)  # fmt: skip
    np.testing.assert_array_equal(rows[:, 2:], np.load(files["depth_npy"]))
    depth_m = np.load(files["depth_npy"])
    validity = cv2.imread(files["validity"], cv2.IMREAD_UNCHANGED)
    disparity, _ = expected(*views, gain=0.2)
    seen = validity == 0
    np.testing.assert_allclose(depth_m[seen], (8.0 / disparity)[seen], rtol=1e-5)
    assert np.isnan(depth_m[~seen]).all()
    np.testing.assert_allclose(read_depth_png(tmp_path / "out/left_depth_mm.png")[seen],
                               depth_m[seen], atol=0.00051)  # fmt: skip
    metric = report["metric"]
    assert metric["points"] == seen.sum()
    assert metric["validity"]["valid"] == pytest.approx(seen.mean(), abs=1e-4)
    assert metric["calibration"]["source"] == str(k_txt)
    assert metric["calibration"]["format"] == "K.txt"
    assert metric["occlusion"] == "warp"
    head = (tmp_path / "out/left_cloud.ply").read_bytes()[:400]
    assert f"element vertex {seen.sum()}\n".encode() in head


def test_limits_reach_the_depth(run, views, k_txt):
    _, wide, _ = run(views, "--calib", k_txt, "--depth")
    _, narrow, _ = run(
        views, "--calib", k_txt, "--depth", "--near", 0.3, "--far", 0.5, "--min-confidence", 0.9,
        "--speckle", 40,
    )  # fmt: skip
    assert wide["metric"]["validity"]["low_confidence"] == 0
    for name in ("too_near", "too_far", "low_confidence", "speckle"):
        assert narrow["metric"]["validity"][name] > 0, name
    assert 0.3 <= narrow["metric"]["depth_m"]["p1"] <= narrow["metric"]["depth_m"]["p99"] <= 0.5


def test_second_pass_is_said_and_stricter(run, views, k_txt):
    _, warp, _ = run(views, "--calib", k_txt, "--depth")
    _, twice, _ = run(views, "--calib", k_txt, "--depth", "--second-pass")
    assert twice["metric"]["occlusion"] == "second pass"
    occluded = [report["metric"]["validity"]["occluded"] for report in (warp, twice)]
    assert occluded[1] > occluded[0]


def test_notes_on_units_reach_the_user(run, views, k_txt):
    k_txt.write_text(k_txt.read_text().replace("0.1\n", "120\n"))
    status, report, err = run(views, "--calib", k_txt, "--depth")
    assert status == 0
    assert report["metric"]["calibration"]["baseline_m"] == 0.12
    assert "taken as millimetres" in err
    _, report, _ = run(views, "--calib", k_txt, "--depth", "--baseline", 0.5)
    assert report["metric"]["calibration"]["baseline_m"] == 0.5


@pytest.mark.parametrize("rectified", [False, True])
def test_raw_pairs_are_rectified_unless_they_are(run, rng, tmp_path, rectified):
    path = rigs.opencv_files(tmp_path)
    images = [
        cv2.resize(rng.integers(20, 200, (48, 64, 3), np.uint8), rigs.SIZE[::-1]) for _ in range(2)
    ]
    flags = ["--rectified"] if rectified else []
    status, report, err = run(images, "--calib", path, "--depth", "--npy", *flags)
    assert status == 0, err
    rectifier = Rectifier(read_calibration(path, size=rigs.SIZE))
    seen = images if rectified else rectifier(*images)
    disparity, _ = expected(*seen, gain=0.2)
    np.testing.assert_allclose(np.load(report["files"]["npy"]), disparity, atol=1e-3)
    focal_px = report["metric"]["calibration"]["focal_px"]
    assert focal_px == pytest.approx(rectifier.calibration.focal_px, abs=1e-3)
    assert ("pictures rectified" in err) is not rectified


@pytest.mark.parametrize("flag", ["--depth", "--cloud", "--second-pass", "--rectified"])
def test_metric_outputs_need_a_calibration(run, views, flag):
    status, report, err = run(views, flag)
    assert (status, report) == (1, None)
    assert "add --calib FILE" in err


def test_a_calibration_of_another_shape_is_refused(run, views, tmp_path):
    path = tmp_path / "calib.txt"
    path.write_text(rigs.MIDDLEBURY.replace("height=497", "height=600"))
    status, _, err = run(views, "--calib", path, "--depth")
    assert status == 1
    assert "the calibration is for 600x741 and the pictures are 64x96" in err
