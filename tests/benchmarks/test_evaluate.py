"""Scoring scenes: figures, order, broken scenes, and the training loop's shortcut."""

import numpy as np
import pytest
import torch
import trees

from litestereo.benchmarks.datasets import find_scenes
from litestereo.benchmarks.evaluate import evaluate, evaluate_torch_model, score_scene
from litestereo.benchmarks.matchers import Match
from litestereo.benchmarks.metrics import MetricOptions
from litestereo.errors import EngineError, InputError

KEYS = ["home/room", "kitti2012/000007", "kitti2015/000007", "middeval3-H/PianoL"]
KNOWN = (trees.SIZE[0] - trees.UNKNOWN_ROWS) * trees.SIZE[1]
VISIBLE = (trees.SIZE[0] - trees.UNKNOWN_ROWS) * (trees.SIZE[1] - trees.OCCLUDED_COLUMNS)


def test_every_scene_is_scored_in_order(data, constant):
    matcher = constant(trees.DISPARITY_PX + 2.5)
    report = evaluate(matcher, find_scenes(data))
    assert [scene.key for scene in report.scenes] == KEYS
    assert matcher.asked == [trees.DISPARITY_PX] * 4
    assert not report.broken
    for scene in report.scenes:
        metrics = scene.regions["all"]
        assert (scene.height, scene.width) == trees.SIZE
        assert (metrics.pixels, metrics.epe, metrics.bad_2, metrics.d1) == (KNOWN, 2.5, 100, 0)
        assert (scene.regions["noc"] is None) == (scene.set == "home")
    assert report.scenes[1].regions["noc"].pixels == VISIBLE


def test_it_says_the_same_twice(data, constant):
    reports = [evaluate(constant(confident=True), find_scenes(data)) for _ in range(2)]
    assert reports[0].to_json() == reports[1].to_json()


def test_broken_scene_is_reported_and_the_rest_goes_on(data, constant):
    (data / "meta/home/room/right.png").unlink()
    trees.save(
        data / "kitti2012" / "training" / "colored_0" / "000007_10.png", trees.mask((40, 70))
    )
    report = evaluate(constant(), find_scenes(data))
    assert [scene.key for scene in report.scenes] == KEYS[2:]
    assert [scene.name for scene in report.broken] == KEYS[:2]
    assert "right.png" in report.broken[0].problem


def test_pooled_density_of_answered_pixels_only(tmp_path):
    class Sparse:
        name = "sparse"
        answered_columns = trees.SIZE[1]

        def __call__(self, left, right, *, largest_px=None):
            disparity_px = np.full(trees.SIZE, np.nan, np.float32)
            disparity_px[:, : self.answered_columns] = 8
            self.answered_columns = 4  # of the second scene
            return Match(disparity_px)

    for copy in ("a", "b"):
        trees.meta(tmp_path / copy)
    report = evaluate(Sparse(), find_scenes(tmp_path), options=MetricOptions(holes="skip"))
    pooled = report.group("home").regions["all"].pooled
    assert pooled.density == pytest.approx(100 * (trees.SIZE[1] + 4) / (2 * trees.SIZE[1]))


def test_truth_of_another_size_is_a_broken_scene(data, constant):
    trees.save_counts(data / "meta/home/room/disp.png", 4, disparity=trees.truth((30, 40)))
    (broken,) = evaluate(constant(), find_scenes(data)).broken
    assert "disparity is 37x64 but the ground truth is 30x40" in broken.problem


def test_matcher_that_fails_ends_the_run(data):
    class Failing:
        name = "failing"

        def __call__(self, left, right, *, largest_px=None):
            raise EngineError("out of memory")

    with pytest.raises(EngineError, match="out of memory"):
        evaluate(Failing(), find_scenes(data))


def test_matcher_of_another_size_is_refused(data):
    class Cropping:
        name = "cropping"

        def __call__(self, left, right, *, largest_px=None):
            return Match(np.zeros((5, 5), np.float32))

    scene = find_scenes(data).scenes[0]
    with pytest.raises(InputError, match="disparity is 5x5 but the left picture is 37x64"):
        score_scene(Cropping(), scene)


def test_scene_without_truth_has_no_scores(data, constant):
    scene = find_scenes(data / "meta").scenes[0]
    blind = type(scene)(scene.name, scene.set, scene.left, scene.right)
    match, truth, result = score_scene(constant(), blind)
    assert truth is None
    assert result.regions == {"all": None, "noc": None}
    assert match.disparity_px.shape == trees.SIZE


def test_confidence_is_scored_where_it_is_asked_for_and_given(data, constant):
    found = find_scenes(data)
    off = trees.DISPARITY_PX + 1
    assert evaluate(constant(off, confident=True), found).groups[0].ause is None
    assert evaluate(constant(off), found, confidence=True).groups[0].ause is None
    group = evaluate(constant(off, confident=True), found, confidence=True).groups[0]
    assert group.ause == pytest.approx(0)  # the error is the same everywhere
    assert group.ause_random == pytest.approx(0)


def test_watch_and_progress_see_every_scene(data, constant):
    seen, watched = [], []

    def progress(scenes):
        for scene in scenes:
            seen.append(scene.key)
            yield scene

    def watch(scene, match, truth, result):
        watched.append((scene.key, result.key, truth.largest_px, match.disparity_px.shape))

    evaluate(constant(), find_scenes(data), watch=watch, progress=progress)
    assert seen == KEYS
    assert watched == [(key, key, trees.DISPARITY_PX, trees.SIZE) for key in KEYS]


def test_options_reach_the_metrics(data, constant):
    found = find_scenes(data / "meta")
    filled, counted = (
        evaluate(constant(hole=True), found, options=MetricOptions(holes=holes))
        for holes in ("fill", "bad")
    )
    assert filled.group("home").metric("bad_3") == 0
    assert counted.group("home").metric("bad_3") == pytest.approx(100 * trees.SIZE[1] / KNOWN)
    assert counted.options == MetricOptions(holes="bad")


def test_evaluate_torch_model(data):
    class Flat(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.level = torch.nn.Parameter(torch.tensor(trees.DISPARITY_PX + 4))

        def forward(self, left, right):
            disparity = self.level.expand(left.shape[0], 1, *left.shape[2:])
            return disparity, torch.ones_like(disparity)

    model = Flat().train()
    report = evaluate_torch_model(model, data / "kitti2015", data / "kitti2012", confidence=True)
    assert report.group("kitti").metric("d1") == 100
    assert report.group("kitti").metric("epe") == pytest.approx(4)
    assert report.group("kitti").ause is not None
    assert model.training
    with pytest.raises(KeyError, match="middlebury"):
        report.group("middlebury")
