"""Which pictures of a folder are a pair; nothing is read."""

import pytest

from litestereo.calibration.options import CalibrateOptions
from litestereo.calibration.sources import find_candidates
from litestereo.errors import CalibrationError


def touch(folder, *names):
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        (folder / name).touch()
    return folder


def found(*texts, **options):
    pairs = find_candidates([*map(str, texts)], options=CalibrateOptions(**options)).pairs
    return [tuple(p and f"{p.parent.name}/{p.name}" for p in (s.left, s.right)) for s in pairs]


@pytest.mark.parametrize("count", [2, 3])
def test_frames_of_one_eye_are_no_pair(tmp_path, count):
    frames = [f"im{number}.png" for number in range(count)]
    eyes = [touch(tmp_path / eye, *frames) for eye in ("left", "right")]
    expected = [(f"left/{name}", f"right/{name}") for name in frames]
    assert found(tmp_path) == found(*eyes) == expected


@pytest.mark.parametrize("name", ["im{}.png", "view{}.png"])
def test_more_numbers_are_frames_of_one_camera(tmp_path, name):
    folder = touch(tmp_path / "drive", *(name.format(number) for number in range(8)))
    with pytest.raises(CalibrationError, match="neither a folder of pairs"):
        found(folder)
    assert found(folder, side_by_side=True)[0] == (f"drive/{name.format(0)}", None)


@pytest.mark.parametrize("names", [("im0", "im1"), ("im2", "im6"), ("view1", "view5")])
def test_the_two_views_of_a_scene_are_a_pair(tmp_path, names):
    left, right = (f"{name}.png" for name in names)
    touch(tmp_path / "scene", left, right, "disp1.png", "im1E.png")
    assert found(tmp_path) == [(f"scene/{left}", f"scene/{right}")]


def test_left_and_right_are_a_pair_beside_other_pictures(tmp_path):
    touch(tmp_path / "scene", "left.png", "right.png", "im0.png", "im1.png", "im2.png")
    assert found(tmp_path) == [("scene/left.png", "scene/right.png")]


def test_side_by_side_pictures_are_so_whatever_they_are_called(tmp_path):
    folder = touch(tmp_path / "both", "im0.png", "im1.png")
    assert found(folder, side_by_side=True) == [("both/im0.png", None), ("both/im1.png", None)]
