"""Scores in between compare with each other, and with those of `stereo-eval`."""

import json
from itertools import chain, repeat

import cv2
import numpy as np
import pytest
import torch
from torch import nn

from litestereo.errors import TrainingError
from litestereo.training.group import Group
from litestereo.training.loop import TrainingRun
from litestereo.training.options import TrainOptions
from litestereo.training.pairs import find_training_pairs
from litestereo.training.scenes.stream import Batch
from litestereo.training.validate import Validator, exact_float32

CPU = Group(device=torch.device("cpu"))


class Constant(nn.Module):
    """Answers one disparity everywhere, and remembers what the backends were set to."""

    def __init__(self, disparity_px=5.0):
        super().__init__()
        self.scale = nn.Parameter(torch.tensor(disparity_px))
        self.register_buffer("zero", torch.zeros(1))
        self.seen = []

    def forward(self, left, right):
        backends = torch.backends
        self.seen.append(
            (
                backends.cuda.matmul.allow_tf32,
                backends.cudnn.allow_tf32,
                backends.cudnn.benchmark,
            )
        )
        return torch.ones_like(left[:, :1]) * self.scale, torch.ones_like(left[:, :1])


class Objective(nn.Module):
    def __init__(self, network):
        super().__init__()
        self.network = network

    def forward(self, left, right, truth):
        return (self.network.scale - 5).abs(), {}


class Source:
    def next(self):
        picture, truth = torch.zeros(1, 3, 64, 64), torch.full((1, 1, 64, 64), 5.0)
        return Batch(picture, picture, truth, truth > 0)


def write_set(folder, *, truths_px):
    for number, truth_px in enumerate(truths_px):
        home = folder / f"scene{number}"
        home.mkdir(parents=True)
        for side in ("left", "right"):
            cv2.imwrite(str(home / f"{side}.png"), np.full((64, 96, 3), number, np.uint8))
        np.save(home / "disp.npy", np.full((64, 96), truth_px, np.float32))
        files = {"left": "left.png", "right": "right.png", "gt": "disp.npy"}
        meta = {"set": "rig", "files": files, "gt_encoding": {"kind": "npz"}}
        (home / "meta.json").write_text(json.dumps(meta))
    return folder


def constant_run(output, *, validate, **options):
    return TrainingRun(
        TrainOptions(output=output, batch=1, height=64, width=64, validate=(validate,), **options),
        Constant(),
        objective=lambda network, _: Objective(network),
        source=lambda _: Source(),
        group=CPU,
    )


def test_a_scene_that_breaks_is_no_gain(tmp_path):
    folder = write_set(tmp_path / "set", truths_px=(5, 20))
    validator = Validator(TrainOptions(output=tmp_path, validate=(folder,)), CPU)
    assert validator(Constant())["figure"] == 50
    (folder / "scene1" / "disp.npy").write_bytes(b"")
    with pytest.raises(
        TrainingError, match=r"1 scenes of --validate cannot be scored \(rig/scene1"
    ):
        validator(Constant())


def test_a_scene_that_does_not_say_its_files_is_not_left_out(tmp_path):
    folder = write_set(tmp_path / "set", truths_px=(5, 20))
    (folder / "scene1" / "meta.json").write_text("{")
    with pytest.raises(TrainingError, match=r"1 scenes cannot be read \(.*scene1: "):
        Validator(TrainOptions(output=tmp_path, validate=(folder,)), CPU)
    with pytest.raises(TrainingError, match="1 scenes cannot be read"):
        find_training_pairs(folder)


def test_a_kill_after_a_validation_lets_no_worse_weights_be_the_best(tmp_path, monkeypatch):
    folder = write_set(tmp_path / "set", truths_px=(5,))
    figures = chain([5.0, 2.0], repeat(4.0))
    monkeypatch.setattr(Validator, "__call__", lambda *_: {"figure": next(figures)})

    class Killed(BaseException):
        pass

    class Dies(Source):
        begun = False

        def next(self):
            if self.begun:
                raise Killed
            self.begun = True
            return super().next()

    given = {"validate": folder, "validate_minutes": 0.0, "steps": 3, "checkpoint_seconds": 1e9}
    run = constant_run(tmp_path / "run", **given)
    run.source = Dies()
    with pytest.raises(Killed):
        run.go()
    best = (tmp_path / "run" / "best.safetensors").read_bytes()
    again = constant_run(tmp_path / "run", **given)
    assert again.done.best == 2.0
    again.go()
    assert (tmp_path / "run" / "best.safetensors").read_bytes() == best


def test_the_best_is_not_of_other_scenes(tmp_path):
    easy = write_set(tmp_path / "easy", truths_px=(5,))
    hard = write_set(tmp_path / "hard", truths_px=(5, 20, 30))
    run = constant_run(tmp_path / "run", validate=easy, steps=1)
    run.go()
    assert run.done.best == 0
    best = tmp_path / "run" / "best.safetensors"
    best.unlink()
    run = constant_run(tmp_path / "run", validate=hard, steps=2)
    run.go()
    assert run.done.best == pytest.approx(66.667)
    assert best.exists()


def test_scores_are_of_float32_and_training_has_its_tf32_back(tmp_path):
    folder = write_set(tmp_path / "set", truths_px=(5,))
    matmul, cudnn = torch.backends.cuda.matmul, torch.backends.cudnn
    before = matmul.allow_tf32, cudnn.allow_tf32, cudnn.benchmark
    try:
        matmul.allow_tf32 = cudnn.allow_tf32 = cudnn.benchmark = True
        network = Constant()
        Validator(TrainOptions(output=tmp_path, validate=(folder,)), CPU)(network)
        assert set(network.seen) == {(False, False, False)}
        with pytest.raises(ValueError, match="inside"), exact_float32():
            raise ValueError("inside")
        assert (matmul.allow_tf32, cudnn.allow_tf32, cudnn.benchmark) == (True, True, True)
    finally:
        matmul.allow_tf32, cudnn.allow_tf32, cudnn.benchmark = before
