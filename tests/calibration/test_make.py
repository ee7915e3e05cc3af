"""From folders, patterns and videos to a set, and every way in which there is none."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
from pairs import picture_pair, write_folders

from litestereo import cli
from litestereo.calibration.make import make_set
from litestereo.calibration.options import MINIMUM_PAIRS, CalibrateOptions
from litestereo.calibration.store import load_set
from litestereo.errors import CalibrationError


def stereo_calibrate(*arguments):
    """Run the command in this process and return its exit status."""
    try:
        return cli.calibrate_main([str(argument) for argument in arguments])
    except SystemExit as ended:
        return ended.code or 0


def test_the_command_makes_a_set_and_says_what_it_covers(tmp_path, capsys):
    scenes = write_folders(tmp_path / "scenes", 20)
    assert stereo_calibrate(scenes, "-o", tmp_path / "set", "--count", 16) == 0
    output = capsys.readouterr()
    assert output.out == f"{tmp_path / 'set'}\n"
    assert "16 pairs of 20 (4 held out, 0 near-duplicates dropped" in output.err
    loaded = load_set(tmp_path / "set")
    assert len(loaded.part(held_out=True)) == 4
    assert loaded.coverage["sizes"] == {"64x128": 16}
    assert sum(loaded.coverage["disparity_histogram"]) == pytest.approx(1, abs=0.01)
    pair = loaded.read(loaded.pairs[0])
    seed = int(loaded.pairs[0].name.split("_")[1][:3])
    assert np.array_equal(pair.left, picture_pair(seed)[0]), "stored as it was read"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["scenes", "set"]


def test_json_coverage(tmp_path, capsys):
    scenes = write_folders(tmp_path / "scenes", 12)
    assert stereo_calibrate(scenes, "-o", tmp_path / "set", "--json") == 0
    assert json.loads(capsys.readouterr().out)["candidates"] == 12


def test_near_duplicates_are_dropped_and_counted(tmp_path):
    scenes = write_folders(tmp_path / "scenes", 14)
    noise = np.random.default_rng(1)
    for seed in range(5):
        copy = scenes / f"again_{seed}"
        copy.mkdir()
        for name, image in zip(("left", "right"), picture_pair(seed), strict=True):
            shaken = np.clip(image + noise.normal(0, 1, image.shape), 0, 255).astype(np.uint8)
            cv2.imwrite(str(copy / f"{name}.png"), shaken[..., ::-1])
    made, coverage = make_set([str(scenes)], output=tmp_path / "set")
    assert (coverage.candidates, coverage.near_duplicates, len(made.pairs)) == (19, 5, 14)


@pytest.mark.parametrize("kind", ["patterns", "folders", "side by side", "video"])
def test_every_form_of_pairs(kind, tmp_path):
    count, options = 12, CalibrateOptions(every_s=0.1, side_by_side=kind == "side by side")
    pairs = [picture_pair(seed) for seed in range(count)]
    if kind == "video":
        texts = [str(tmp_path / "both.avi")]
        fourcc = cv2.VideoWriter_fourcc(*"MJPG")
        writer = cv2.VideoWriter(texts[0], fourcc, 10, (256, 64))
        for pair in pairs:
            writer.write(np.hstack(pair)[..., ::-1])
        writer.release()
    else:
        for index, pair in enumerate(pairs):
            if kind == "side by side":
                (tmp_path / "both").mkdir(exist_ok=True)
                cv2.imwrite(str(tmp_path / "both" / f"{index}.png"), np.hstack(pair)[..., ::-1])
                continue
            for name, image in zip(("left", "right"), pair, strict=True):
                (tmp_path / "drive" / name).mkdir(parents=True, exist_ok=True)
                cv2.imwrite(str(tmp_path / "drive" / name / f"{index}.png"), image[..., ::-1])
        drive = tmp_path / "drive"
        texts = {
            "patterns": [str(drive / "left" / "*.png"), str(drive / "right" / "*.png")],
            "folders": [str(drive)],
            "side by side": [str(tmp_path / "both")],
        }[kind]
    made, coverage = make_set(texts, output=tmp_path / "set", options=options)
    assert coverage.candidates == count
    assert {(pair.height, pair.width) for pair in made.pairs} == {(64, 128)}


def test_every_pair_of_a_set_has_its_own_name(tmp_path):
    for seed in range(13):
        # Recordings whose frames, and here and there whose folders, are called alike.
        drive = tmp_path / f"day{seed % 3}" / f"run{seed // 3}"
        for name, image in zip(("left", "right"), picture_pair(seed), strict=True):
            (drive / name).mkdir(parents=True)
            cv2.imwrite(str(drive / name / "000000.png"), image[..., ::-1])
    texts = [str(tmp_path / f"day{day}") for day in range(3)]
    made, _ = make_set(texts, output=tmp_path / "set")
    assert {pair.name for pair in made.pairs} == {
        f"day{seed % 3}/run{seed // 3}/000000" for seed in range(13)
    }
    for day in range(3):
        shutil.move(tmp_path / f"day{day}", tmp_path / f"disk{day}" / "day")
    texts = [str(tmp_path / f"disk{day}" / "day") for day in range(3)]
    made, _ = make_set(texts, output=tmp_path / "again")
    names = {pair.name for pair in made.pairs}
    assert len(names) == 13
    assert {"day/run0/000000", "day/run0/000000#2", "day/run0/000000#3"} <= names


def test_an_empty_folder_is_refused(tmp_path, capsys):
    (tmp_path / "empty").mkdir()
    assert stereo_calibrate(tmp_path / "empty", "-o", tmp_path / "set") == 1
    assert "left.png and right.png" in capsys.readouterr().err


def test_three_pairs_are_refused_with_advice(tmp_path, capsys):
    scenes = write_folders(tmp_path / "scenes", 3)
    assert stereo_calibrate(scenes, "-o", tmp_path / "set") == 1
    error = capsys.readouterr().err
    assert f"3 different pairs came; a calibration set needs at least {MINIMUM_PAIRS}" in error
    assert "record more pairs" in error
    assert not (tmp_path / "set").exists()


def test_pairs_that_are_too_alike_are_refused_with_advice(tmp_path):
    for index in range(15):
        write_folders(tmp_path / "scenes" / str(index), 1)
    with pytest.raises(CalibrationError, match=r"1 different pair came \(14 of 15 show what"):
        make_set([str(tmp_path / "scenes")], output=tmp_path / "set")


def test_a_corrupt_picture_is_named_and_can_be_left_out(tmp_path):
    scenes = write_folders(tmp_path / "scenes", 13)
    broken = scenes / "scene_003" / "right.png"
    broken.write_bytes(broken.read_bytes()[:40])
    with pytest.raises(CalibrationError, match=r"scene_003/right.png.*--skip-broken"):
        make_set([str(scenes)], output=tmp_path / "set")
    options = CalibrateOptions(skip_broken=True)
    made, coverage = make_set([str(scenes)], output=tmp_path / "set", options=options)
    assert len(made.pairs) == 12
    assert len(coverage.unusable) == 1


def test_a_pair_of_two_sizes_is_refused(tmp_path):
    scenes = write_folders(tmp_path / "scenes", 13)
    cv2.imwrite(str(scenes / "scene_001" / "left.png"), np.zeros((64, 96, 3), np.uint8))
    with pytest.raises(CalibrationError, match="left image is 64x96 and right image is 64x128"):
        make_set([str(scenes)], output=tmp_path / "set")


def test_grey_and_colour_in_one_pair_are_refused(tmp_path):
    scenes = write_folders(tmp_path / "scenes", 13)
    grey = cv2.imread(str(scenes / "scene_002" / "right.png"), cv2.IMREAD_GRAYSCALE)
    cv2.imwrite(str(scenes / "scene_002" / "right.png"), grey)
    with pytest.raises(CalibrationError, match="the right picture is grey and the left one in"):
        make_set([str(scenes)], output=tmp_path / "set")


def test_grey_pairs_among_colour_ones_are_warned_of(tmp_path):
    scenes = write_folders(tmp_path / "scenes", 10)
    write_folders(tmp_path / "scenes", 5, first=10, grey=True)
    _, coverage = make_set([str(scenes)], output=tmp_path / "set")
    assert coverage.grey == 5
    assert any("5 pairs are grey and 10 in colour" in warning for warning in coverage.warnings())


def test_swapped_eyes_are_refused(tmp_path):
    scenes = write_folders(tmp_path / "scenes", 13)
    left, right = scenes / "scene_004" / "left.png", scenes / "scene_004" / "right.png"
    exchanged = left.read_bytes()
    left.write_bytes(right.read_bytes())
    right.write_bytes(exchanged)
    with pytest.raises(CalibrationError, match="look swapped"):
        make_set([str(scenes)], output=tmp_path / "set")


def test_three_files_without_side_by_side_are_refused(tmp_path):
    names = [str(tmp_path / f"{name}.png") for name in "abc"]
    with pytest.raises(CalibrationError, match=r"a\.png is not there; check the path$"):
        make_set(names[:1], output=tmp_path / "set")
    for name in names:
        Path(name).touch()
    with pytest.raises(CalibrationError, match=r"a\.png is neither a folder of pairs nor a video"):
        make_set(names[:1], output=tmp_path / "set")
    with pytest.raises(CalibrationError, match="add --side-by-side"):
        make_set(names, output=tmp_path / "set")


def test_a_set_is_not_written_over(calibration, tmp_path):
    with pytest.raises(CalibrationError, match="exists"):
        make_set([str(tmp_path)], output=calibration.folder)


@pytest.mark.parametrize("options", [{"count": 3}, {"every_s": 0.0}, {"every_s": float("nan")}])
def test_numbers_that_give_no_set_are_refused(options):
    with pytest.raises(CalibrationError):
        CalibrateOptions(**options)


def test_calibrating_needs_neither_torch_nor_onnx(tmp_path):
    scenes = write_folders(tmp_path / "scenes", 12)
    code = (
        "import sys; from litestereo.cli import calibrate_main\n"
        f"try:\n    calibrate_main([{str(scenes)!r}, '-o', {str(tmp_path / 'set')!r}])\n"
        "except SystemExit as left:\n    assert not left.code\n"
        "assert not {'torch', 'onnx', 'onnxruntime'} & set(sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
