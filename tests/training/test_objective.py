"""What self-distillation draws, masks and tells."""

import json

import cv2
import numpy as np
import pytest
import torch

from litestereo.assets import bundled_artifact
from litestereo.benchmarks.scenes import Scene
from litestereo.commands.train import _Progress
from litestereo.training.group import Group
from litestereo.training.loss import feature_loss, training_metrics
from litestereo.training.options import TrainOptions
from litestereo.training.stages import make_self_run

CPU = Group(device=torch.device("cpu"))


@pytest.fixture
def pair(tmp_path, rng):
    paths = [tmp_path / f"{side}.png" for side in ("left", "right")]
    for path in paths:
        cv2.imwrite(str(path), rng.integers(0, 255, (64, 96, 3), np.uint8))
    return Scene("a", "rig", *paths)


def self_run(output, pair, *, steps):
    options = TrainOptions(
        output=output,
        stage="self",
        weights=bundled_artifact("las1"),
        steps=steps,
        batch=1,
        height=64,
        width=64,
    )
    return make_self_run(options, [pair], group=CPU)


def test_a_run_without_truth_tells_no_errors_and_draws_anew_when_resumed(tmp_path, pair):
    run = self_run(tmp_path / "run", pair, steps=1)
    first = run.module._draw.uniform(4)
    assert torch.equal(first, self_run(tmp_path / "other", pair, steps=1).module._draw.uniform(4))
    line = run.go()
    assert {"loss", "follow", "features"} <= line.keys()
    assert not {"epe_px", "bad1", "d1"} & line.keys()
    assert "NaN" not in (tmp_path / "run" / "log.jsonl").read_text()
    resumed = self_run(tmp_path / "run", pair, steps=2)
    assert resumed.done.step == 1
    assert not torch.equal(first, resumed.module._draw.uniform(4))
    assert json.loads((tmp_path / "run" / "record.json").read_text())["log"][0]["loss"] > 0


def test_no_valid_pixel_is_no_error_of_0():
    truth = torch.zeros(1, 1, 2, 2)
    none = training_metrics(truth, truth, torch.zeros_like(truth, dtype=torch.bool))
    assert all(torch.isnan(value) for value in none.values())
    some = training_metrics(truth, truth, torch.ones_like(truth, dtype=torch.bool))
    assert all(value == 0 for value in some.values())


def test_the_bar_has_the_loss_where_there_is_no_error(monkeypatch, capsys):
    monkeypatch.setattr("sys.stderr.isatty", lambda: True, raising=False)
    with _Progress() as progress:
        progress.line({"step": 1, "loss": 0.25, "progress": 0.1})
        assert progress._bar.label == "step 1, loss 0.250"
        progress.line({"step": 2, "loss": 0.25, "progress": 0.2, "epe_px": 3.0})
        assert progress._bar.label == "step 2, EPE 3.00 px"


def test_features_under_a_covered_part_do_not_count():
    student, teacher = torch.zeros(1, 2, 4, 8), torch.zeros(1, 2, 4, 8)
    student[:, 0] = 1
    teacher[:, 0, :, :4] = 1  # alike on the left half, at right angles on the right
    teacher[:, 1, :, 4:] = 1
    hidden = torch.zeros(1, 1, 16, 32, dtype=torch.bool)
    assert feature_loss([student], [teacher], hidden=hidden) == pytest.approx(0.5)
    hidden[..., 16:] = True
    assert feature_loss([student], [teacher], hidden=hidden) == 0
    assert feature_loss([student], [teacher], hidden=~hidden) == 1
    hidden[..., :18] = False  # half of one column of places is covered
    seen = feature_loss([student], [teacher], hidden=hidden)
    assert seen == pytest.approx(0.5 / 4.5)
    assert feature_loss([student], [teacher], hidden=torch.ones_like(hidden)) == 0
