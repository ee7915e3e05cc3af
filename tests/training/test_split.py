"""No scene both is trained on and judges."""

import cv2
import numpy as np
import pytest
import torch

from litestereo.assets import bundled_artifact
from litestereo.benchmarks.scenes import DisparityFile, Scene
from litestereo.errors import TrainingError
from litestereo.runtime.disparity_io import write_pfm
from litestereo.training.group import Group
from litestereo.training.options import TrainOptions
from litestereo.training.pairs import find_training_pairs
from litestereo.training.split import _groups, check_apart, held_out
from litestereo.training.stages import make_run

NAMES = ("Adirondack", "Jadeplant", "Motorcycle", "Piano", "Pipes", "Playroom")


@pytest.fixture
def picture(rng):
    """Write pictures of which no two are alike."""

    def write(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(path), rng.integers(0, 255, (64, 96, 3), np.uint8))
        return path

    return write


@pytest.fixture
def frames(tmp_path, picture):
    """A recording whose frames have no leading zeros, as (left, right) in `Scene`s."""
    return [
        Scene(str(i), "rig", picture(tmp_path / f"l/{i}.png"), picture(tmp_path / f"r/{i}.png"))
        for i in (*range(0, 12, 2), *range(1, 12, 2))
    ]


def middeval3(folder, picture, *, sizes):
    for size in sizes:
        for name in NAMES:
            home = folder / f"training{size}" / name
            for view in ("im0.png", "im1.png"):
                picture(home / view)
            write_pfm(home / "disp0GT.pfm", np.ones((64, 96), np.float32))
    return folder


def scene_flow(folder, picture):
    for number in range(5):
        for frames in ("frames_cleanpass", "frames_finalpass"):
            for side in ("left", "right"):
                picture(folder / frames / f"A/{number:04d}" / side / "0006.png")
        home = folder / f"disparity/A/{number:04d}/left"
        home.mkdir(parents=True)
        write_pfm(home / "0006.pfm", np.ones((64, 96), np.float32))
    return folder


def keys(scenes):
    return [scene.key for scene in scenes]


def test_the_last_fifth_is_held_out_frame_10_after_frame_9(frames):
    trained, judges = held_out(frames)
    assert [scene.name for scene in trained] == [str(i) for i in range(10)]
    assert [scene.name for scene in judges] == ["10", "11"]


def test_sizes_and_passes_of_a_scene_stay_together(tmp_path, picture):
    sizes = find_training_pairs(middeval3(tmp_path / "mid", picture, sizes="HQ"))
    trained, judges = held_out(sizes)
    assert keys(judges) == ["middeval3-H/Playroom", "middeval3-Q/Playroom"]
    assert len(trained) == 10
    passes = find_training_pairs(scene_flow(tmp_path / "sf", picture))
    trained, judges = held_out(passes)
    assert keys(judges) == [f"sceneflow-{each}pass/A/0004/0006" for each in ("clean", "final")]
    assert not {s.truth.path for s in trained} & {s.truth.path for s in judges}


def test_what_shares_a_truth_or_a_picture_is_held_out_together(frames, tmp_path):
    *first, last = sorted(frames, key=lambda scene: int(scene.name))
    truth = DisparityFile(tmp_path / "truth.pfm")
    alike = Scene("copy", "other", first[2].left, last.right)  # the last frame's right picture
    with_truth = Scene("a", "any", first[0].left, first[0].right, truth)
    same_truth = Scene("z", "zoo", alike.left, alike.right, truth)
    trained, judges = held_out([*first, last, alike])
    assert {"rig/11", "other/copy", "rig/2"} <= set(keys(judges))
    assert not set(keys(judges)) & set(keys(trained))
    _, judges = held_out([with_truth, *first, last, same_truth])
    assert {"any/a", "zoo/z", "rig/0"} <= set(keys(judges))


def test_groups_are_what_is_linked_over_any_number_of_pairs(frames):
    """Against a naive version: chains of pairs that each share a picture with the next."""
    rng = np.random.default_rng(3)
    for _ in range(30):
        files = rng.integers(12, size=(9, 2))
        scenes = [
            Scene(f"n{i}", "rig", frames[a].left, frames[b].right) for i, (a, b) in enumerate(files)
        ]
        naive = list(range(9))
        for _ in range(9):
            for i, j in np.ndindex(9, 9):
                if (files[i] == files[j]).any():
                    naive[i] = naive[j] = min(naive[i], naive[j])
        groups = {frozenset(int(scene.name[1:]) for scene in group) for group in _groups(scenes)}
        assert groups == {frozenset(np.flatnonzero(np.equal(naive, g)).tolist()) for g in naive}


def test_one_scene_alone_cannot_be_split(frames):
    with pytest.raises(TrainingError, match="3 pairs are of one scene"):
        held_out([frames[0]] * 3)


def test_a_scene_of_the_validation_is_not_trained_on(tmp_path, picture, frames):
    half = find_training_pairs(middeval3(tmp_path / "half", picture, sizes="H"))
    quarter = find_training_pairs(middeval3(tmp_path / "quarter", picture, sizes="Q"))
    for trained, judges in ((half, half[:1]), (half, quarter[:1]), (frames, frames[4:5])):
        with pytest.raises(TrainingError, match="1 scenes of --validate are trained on"):
            check_apart(trained, judges)
    by_chance = [Scene(f.name, "kitti2012", f.left, f.right) for f in frames[:6]]
    others = [Scene(f.name, "kitti2015", f.left, f.right) for f in frames[6:]]
    check_apart(by_chance, [Scene(by_chance[0].name, "kitti2015", others[0].left, others[0].right)])
    sized = Scene(f"{frames[0].name}_H", "rig", others[0].left, others[0].right)
    with pytest.raises(TrainingError, match="1 scenes of --validate are trained on"):
        check_apart(frames[:1], [sized])
    assert [len(group) for group in _groups([frames[0], sized])] == [2]
    check_apart((), half)
    check_apart(half, ())


@pytest.mark.parametrize("stage", ["self", "real"])
def test_a_stage_refuses_to_validate_on_its_pairs(tmp_path, picture, stage):
    folder = middeval3(tmp_path / "half", picture, sizes="H")
    own = {"teacher": "las1" if stage == "real" else str(bundled_artifact("las1"))}
    options = TrainOptions(
        output=tmp_path / "run", stage=stage, pairs=folder, validate=(folder,), **own
    )
    with pytest.raises(TrainingError, match="6 scenes of --validate are trained on"):
        make_run(options, group=Group(device=torch.device("cpu")))
    assert not (tmp_path / "run").exists()
