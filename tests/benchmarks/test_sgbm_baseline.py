"""Cross-check: StereoSGBM through our reader, matcher and metrics gives the published figures.

The baseline was made by other code with the same parameters; every one of its figures has to come
out. Its means are float32, ours float64: that is the only tolerance.
"""

import json

import pytest

from litestereo.benchmarks.datasets import find_scenes
from litestereo.benchmarks.matchers import SgbmMatcher
from litestereo.benchmarks.metrics import MetricOptions, score_regions

SCENES = (
    *(f"middlebury2001/{name}" for name in ("barn1", "barn2", "tsukuba", "venus")),
    *(f"middlebury2003/{name}" for name in ("Teddy_H", "cones", "teddy")),
    *(f"middlebury2006/{name}" for name in ("aloe", "baby1", "baby2", "baby3")),
    *(f"middlebury2006/cloth{number}" for number in (1, 2, 3, 4)),
    *(f"middlebury2014/{name}" for name in ("adirondack", "motorcycle")),
    *(f"kitti2012/{name}" for name in ("000000", "000001", "000151")),
    *(f"kitti2015/{name}" for name in ("000000", "000001")),
    *(f"sceneflow/{name}" for name in ("dmb_0", "dmb_4")),
    *(f"sceneflow/ft3d_train_{name}" for name in ("A0000_0006", "B0749_0015")),
)
FIGURES = {"epe": "epe", "bad1": "bad_1", "bad2": "bad_2", "bad3": "bad_3", "d1": "d1"}
EPE_TOLERANCE_PX = 1e-6
SHARE_TOLERANCE = 1e-9


@pytest.fixture(scope="module")
def baseline(shared):
    return json.loads((shared / "eval" / "sgbm_baseline.json").read_text())


def test_every_scene_of_the_baseline_is_checked(baseline):
    assert sorted(baseline) == sorted(SCENES)


@pytest.mark.parametrize("key", SCENES)
def test_figures(shared, baseline, key):
    published = baseline[key]
    (scene,) = find_scenes(shared / "eval" / key).scenes
    left, right = scene.load_pair()
    truth = scene.load_truth()
    assert left.shape[:2] == (published["h"], published["w"])
    match = SgbmMatcher()(left, right, largest_px=truth.largest_px)

    def score(holes):
        return score_regions(
            match.disparity_px,
            truth.disparity_px,
            visible=truth.visible,
            options=MetricOptions(holes=holes),
        )

    filled, answered = score("fill"), score("skip")["all"]
    check(filled["all"], published["sgbm_all"])
    check(filled["noc"], published["sgbm_noc"])
    check(answered, published["sgbm_raw"])
    assert round(answered.density, 1) == published["sgbm_density"]
    known = filled["all"].pixels / truth.disparity_px.size
    assert round(100 * known, 1) == published["gt_density"]
    assert round(truth.largest_px, 2) == published["max_disp"]


def check(metrics, published):
    if published is None:
        assert metrics is None
        return
    assert set(published) == set(FIGURES)
    for theirs, ours in FIGURES.items():
        tolerance = EPE_TOLERANCE_PX if theirs == "epe" else SHARE_TOLERANCE
        assert getattr(metrics, ours) == pytest.approx(published[theirs], abs=tolerance), theirs
