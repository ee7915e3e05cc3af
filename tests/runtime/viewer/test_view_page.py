"""The page of a result: what it holds, and what a browser makes of it."""

import base64
import json
import re
import shutil
import subprocess

import cv2
import numpy as np
import pytest
from stand_in import write_stand_in

from litestereo.cli import run_main
from litestereo.errors import InputError
from litestereo.runtime.geometry.calibration import Calibration, Eye
from litestereo.runtime.geometry.cloud import CloudMapper
from litestereo.runtime.geometry.depth import DepthMapper
from litestereo.runtime.results import StereoResult, Timings
from litestereo.runtime.viewer.page import write_view

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
needs_chromium = pytest.mark.skipif(CHROMIUM is None, reason="needs Debian's chromium")
SIZE = (120, 160)
RIG = Calibration(Eye(150, 150, 79.5, 59.5), Eye(150, 150, 83.5, 59.5), baseline_m=0.1, size=SIZE)


def result_of(disparity_px, confidence=None):
    disparity_px = np.asarray(disparity_px, np.float32)
    sure = np.ones_like(disparity_px) if confidence is None else confidence
    return StereoResult(
        disparity_px, sure, Timings(0, 0, 0, 0), "stand-in", "none", "fp32", 1.0,
        disparity_px.shape, 192.0, 0.0,
    )  # fmt: skip


@pytest.fixture
def scene():
    """Return a red square of 30 px disparity before a green wall of 10 px."""
    left = np.full((*SIZE, 3), (0, 160, 0), np.uint8)
    disparity_px = np.full(SIZE, 10, np.float32)
    left[40:80, 60:100] = 200, 0, 0
    disparity_px[40:80, 60:100] = 30
    return left, result_of(disparity_px)


def data_of(page):
    text = re.search(r"const data = (\{.*\});\n", page.read_text())
    return json.loads(text[1].replace("<\\/", "</"))


def drawn_cloud(page, folder, *, fragment="", size=(900, 900)):
    shot = folder / "shot.png"
    subprocess.run(
        [
            *(CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars"),
            *(f"--user-data-dir={folder / 'profile'}", "--virtual-time-budget=3000"),
            *(f"--window-size={size[0]},{size[1]}", f"--screenshot={shot}"),
            page.as_uri() + fragment,
        ],
        capture_output=True,
        timeout=120,
        check=True,
    )
    picture = cv2.imread(str(shot))[..., ::-1].astype(int)
    # The canvas is known by its colour, which shows at its left edge.
    rows = np.flatnonzero((picture[:, 30] == (0x14, 0x16, 0x1A)).all(axis=1))
    assert len(rows) > 300
    return picture[rows[0] : rows[-1] + 1]


def test_nothing_is_fetched_from_elsewhere(scene, tmp_path):
    text = write_view(tmp_path / "a.html", scene[0], scene[1]).read_text()
    assert not re.search(r"https?://|<link|@import|src=\"(?!data:)", text)


def test_the_cloud_of_the_page_is_the_cloud(scene, tmp_path, rng):
    left, result = scene
    result.disparity_px[:] += rng.uniform(0, 5, SIZE)
    depth = DepthMapper(RIG, size=SIZE)(result.disparity_px)
    expected = CloudMapper(RIG, size=SIZE).organized(depth)
    page = write_view(tmp_path / "a.html", left, result, calibration=RIG, valid=depth.validity == 0)
    cloud = data_of(page)["cloud"]
    steps = np.frombuffer(base64.b64decode(cloud["disparity"]), "<u2").reshape(SIZE)
    z = cloud["product"] / (steps * cloud["px_per_step"])
    np.testing.assert_allclose(z, expected[..., 2], rtol=2e-4)
    assert cloud["unit"] == "m"
    assert cloud["offset_px"] == 4
    x = (np.arange(SIZE[1]) - cloud["center_px"][0]) / cloud["focal_px"][0] * z
    np.testing.assert_allclose(x, expected[..., 0], rtol=2e-4, atol=1e-6)


def test_pixels_without_depth_are_not_in_the_cloud(scene, tmp_path):
    left, result = scene
    valid = np.ones(SIZE, np.bool_)
    valid[:10] = False
    result.disparity_px[20, 30] = np.nan
    page = write_view(tmp_path / "a.html", left, result, valid=valid)
    steps = np.frombuffer(base64.b64decode(data_of(page)["cloud"]["disparity"]), "<u2")
    none = steps.reshape(SIZE) == 0
    assert none[:10].all()
    assert none[20, 30]
    assert none.sum() == 10 * SIZE[1] + 1


def test_large_pictures_are_thinned(tmp_path):
    size = (1200, 1600)
    page = write_view(
        tmp_path / "a.html", np.zeros((*size, 3), np.uint8), result_of(np.full(size, 9.0))
    )
    cloud = data_of(page)["cloud"]
    assert cloud["rows"] * cloud["columns"] <= 320_000
    assert cloud["every"] == 3
    assert page.stat().st_size < 2_000_000


def test_a_name_cannot_end_the_script(scene, tmp_path):
    page = write_view(tmp_path / "a<b&c.html", scene[0], scene[1])
    assert "<title>a&lt;b&amp;c: litestereo</title>" in page.read_text()
    assert page.read_text().count("</script>") == 1


def test_sizes_that_differ_are_refused(scene, tmp_path):
    with pytest.raises(InputError, match="one size"):
        write_view(tmp_path / "a.html", scene[0][:64], scene[1])


@needs_chromium
def test_a_browser_draws_the_cloud_as_the_camera_saw_it(scene, tmp_path):
    page = write_view(tmp_path / "a.html", scene[0], scene[1], calibration=RIG)
    seen = drawn_cloud(page, tmp_path, fragment="#as-taken")
    red = (seen[..., 0] > 120) & (seen[..., 1] < 60) & (seen[..., 2] < 60)
    green = (seen[..., 1] > 110) & (seen[..., 0] < 60) & (seen[..., 2] < 60)
    rows, columns = np.nonzero(red)
    # A square stays a square, a quarter of the width of the wall behind it.
    sides = np.ptp(rows), np.ptp(columns)
    assert sides[0] == pytest.approx(sides[1], rel=0.05)
    assert np.ptp(np.nonzero(green)[1]) == pytest.approx(4 * sides[1], rel=0.05)


@needs_chromium
def test_a_browser_turns_the_cloud(scene, tmp_path):
    page = write_view(tmp_path / "a.html", scene[0], scene[1], calibration=RIG)
    as_taken = drawn_cloud(page, tmp_path, fragment="#as-taken")
    turned = drawn_cloud(page, tmp_path)
    assert (np.abs(as_taken - turned).max(axis=2) > 60).mean() > 0.05


def test_the_command_writes_a_page_for_a_pair_and_for_a_stream(tmp_path, capsys):
    model = write_stand_in(tmp_path / "stand_in.onnx", gain=0.2)
    (tmp_path / "K.txt").write_text("80 0 47.5 0 80 31.5 0 0 1\n0.1\n")
    for side in ("left", "right"):
        (tmp_path / side).mkdir()
        for name in ("a", "b"):
            cv2.imwrite(str(tmp_path / side / f"{name}.png"), np.full((64, 96, 3), 90, np.uint8))
    sides = [str(tmp_path / side) for side in ("left", "right")]
    shared = ["--model", str(model), "--allow-swapped", "--view"]
    out = tmp_path / "out"
    with pytest.raises(SystemExit) as leaving:
        run_main([f"{sides[0]}/a.png", f"{sides[1]}/a.png", *shared, "-o", str(out)])
    assert not leaving.value.code
    assert data_of(out / "a_view.html")["cloud"]["unit"] == ""
    with pytest.raises(SystemExit) as leaving:
        run_main(
            ["--folder", sides[0], "--folder", sides[1], *shared, "-o", str(out / "stream"),
             "--calib", str(tmp_path / "K.txt")]
        )  # fmt: skip
    assert not leaving.value.code
    assert data_of(out / "stream/view.html")["cloud"]["unit"] == "m"
    capsys.readouterr()
