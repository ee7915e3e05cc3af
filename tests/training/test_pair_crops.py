"""Real pairs: what they are called, and crops of them."""

import json
import shutil

import cv2
import numpy as np
import pytest
import torch

from litestereo.benchmarks.scenes import Scene
from litestereo.errors import InputError, TrainingError
from litestereo.training.identity import identity_of
from litestereo.training.options import TrainOptions
from litestereo.training.pairs import PairStream, _cropped, crop_size, find_training_pairs


def write_pair(home, size=(64, 96)):
    home.mkdir(parents=True)
    for side in ("left", "right"):
        cv2.imwrite(str(home / f"{side}.png"), np.zeros((*size, 3), np.uint8))
    return home


def scene_of(home):
    return Scene(home.name, "rig", home / "left.png", home / "right.png")


@pytest.mark.parametrize("seed", range(4))
def test_truth_lies_on_the_picture_after_scaling(seed):
    """The picture's value is the column that a pixel came from, and so is the truth."""
    column = np.broadcast_to(np.arange(512, dtype=np.float32), (64, 512))
    picture = column[..., None].repeat(3, 2)  # in float32, so that nothing is rounded
    came_from, _, truth = _cropped(
        np.random.default_rng(seed), picture, picture, column.copy(), size=(32, 256)
    )
    scale = round(512 * 2 ** np.random.default_rng(seed).uniform(-0.5, 0.5)) / 512
    off = truth / scale - came_from[..., 0]
    assert abs(off[:, 5:-5].mean()) < 0.05
    assert abs(off).max() < 1.01


def test_truth_of_another_size_is_refused(tmp_path):
    home = write_pair(tmp_path / "scene")
    np.save(home / "disp.npy", np.full((128, 192), 8, np.float32))
    files = {"left": "left.png", "right": "right.png", "gt": "disp.npy"}
    meta = {"set": "rig", "files": files, "gt_encoding": {"kind": "npz"}}
    (home / "meta.json").write_text(json.dumps(meta))
    stream = PairStream(
        find_training_pairs(tmp_path),
        batch=1,
        size=(64, 64),
        seed=1,
        device=torch.device("cpu"),
        perturbed=False,
    )
    with pytest.raises(InputError, match=r"disp\.npy is 128x192 but .*left\.png is 64x96"):
        stream.next()


def test_a_note_beside_a_bare_pair_describes_no_scene(tmp_path):
    home = write_pair(tmp_path / "scene")
    (home / "meta.json").write_text(json.dumps({"set": "rig", "camera": "a phone"}))
    (pair,) = find_training_pairs(tmp_path)
    assert (pair.left, pair.truth) == (home / "left.png", None)


def test_crops_are_as_small_as_the_smallest_picture_which_is_told(tmp_path):
    scenes = [scene_of(write_pair(tmp_path / "a", (320, 640)))]
    told = []
    assert crop_size(scenes, (320, 640), note=told.append) == (320, 640)
    assert not told
    scenes.append(scene_of(write_pair(tmp_path / "b", (70, 100))))
    assert crop_size(scenes, (320, 640), note=told.append) == (64, 96)
    assert told[0].startswith("1 of 2 pictures are smaller than 320x640 (")
    assert told[0].endswith("b/left.png is 70x100): crops are 64x96")
    scenes.append(scene_of(write_pair(tmp_path / "c", (40, 900))))
    with pytest.raises(TrainingError, match=r"1 of 3 .* 64x64 \(.*c/left\.png is 40x900\)"):
        crop_size(scenes, (320, 640))


def test_pairs_are_told_apart_by_their_path_in_the_folder_which_may_be_moved(tmp_path, monkeypatch):
    for number in range(2):
        write_pair(tmp_path / "deep" / f"rec{number}" / "raw" / "cam")
        for eye in ("left", "right"):
            home = tmp_path / "deep" / f"drive{number}" / eye
            home.mkdir(parents=True)
            shutil.copy(tmp_path / "deep/rec0/raw/cam/left.png", home / "0.png")

    def told(folder):
        scenes = find_training_pairs(folder)
        return {scene.name for scene in scenes}, identity_of(TrainOptions(output=folder), scenes)

    names, identity = told(tmp_path / "deep")
    assert names == {"rec0/raw/cam/left", "rec1/raw/cam/left", "drive0/0", "drive1/0"}
    moved = (tmp_path / "deep").rename(tmp_path / "moved")
    assert told(moved) == (names, identity)
    monkeypatch.chdir(moved)
    assert told(moved.relative_to(moved)) == (names, identity)
