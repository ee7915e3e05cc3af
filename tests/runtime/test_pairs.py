from pathlib import Path

import cv2
import numpy as np
import pytest

from litestereo.errors import InputError
from litestereo.runtime.pairs import find_pairs, find_side_by_side


def touch(folder, *names):
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        (folder / name).touch()
    return folder


def names(sources):
    return [(source.left.name, source.right.name) for source in sources]


def test_two_files_are_one_pair():
    (source,) = find_pairs("a/left.png", "b/right.png")
    assert (source.name, source.left, source.right) == (
        "left",
        Path("a/left.png"),
        Path("b/right.png"),
    )


def test_folders_are_paired_in_natural_order(tmp_path):
    left = touch(tmp_path / "left", "f10.png", "f2.png", "f1.JPG", "notes.txt")
    right = touch(tmp_path / "right", "f2.png", "f1.JPG", "f10.png")
    sources = find_pairs(str(left), str(right))
    assert names(sources) == [("f1.JPG",) * 2, ("f2.png",) * 2, ("f10.png",) * 2]
    assert [source.name for source in sources] == ["f1", "f2", "f10"]


def test_patterns_are_paired(tmp_path):
    touch(tmp_path, "a_L.png", "a_R.png", "b_L.png", "b_R.png")
    sources = find_pairs(str(tmp_path / "*_L.png"), str(tmp_path / "*_R.png"))
    assert names(sources) == [("a_L.png", "a_R.png"), ("b_L.png", "b_R.png")]


def test_equal_stems_are_told_apart_by_their_folders(tmp_path):
    for scene in ("one", "two"):
        touch(tmp_path / scene, "left.png", "right.png")
    sources = find_pairs(str(tmp_path / "*/left.png"), str(tmp_path / "*/right.png"))
    assert [source.name for source in sources] == ["one_left", "two_left"]


def test_names_that_only_differ_in_the_suffix_are_numbered(tmp_path):
    folder = touch(tmp_path / "both", "a.png", "a.jpg")
    assert sorted(source.name for source in find_side_by_side([str(folder)])) == ["a_1", "a_2"]


def test_a_name_with_brackets_is_a_file_if_there_is_one(tmp_path):
    touch(tmp_path, "left[1].png")
    (source,) = find_side_by_side([str(tmp_path / "left[1].png")])
    assert source.left == tmp_path / "left[1].png"


@pytest.mark.parametrize(
    ("left", "right", "message"),
    [
        (["a.png", "b.png"], ["a.png"], r"2 pictures .* has 1.*without partner: b\.png"),
        (["a.png", "b.png"], ["a.png", "c.png"], r"share some names .*b\.png, c\.png"),
        (["a.txt"], ["a.png"], "has no pictures"),
    ],
)
def test_gaps_are_refused(tmp_path, left, right, message):
    folders = touch(tmp_path / "l", *left), touch(tmp_path / "r", *right)
    with pytest.raises(InputError, match=message):
        find_pairs(*map(str, folders))


NUMBERED = ("left_*.png", "right_*.png")
SCENES = ("*/im0.png", "*/im1.png")


def touch_matches(folder, patterns, *matches):
    """Make the files that two patterns match with these words in place of `*`, by eye."""
    for pattern, words in zip(patterns, matches, strict=True):
        for word in words.split():
            path = folder / pattern.replace("*", word)
            touch(path.parent, path.name)


@pytest.mark.parametrize("relative", [False, True])
@pytest.mark.parametrize(
    ("patterns", "lefts", "rights", "strangers"),
    [
        (NUMBERED, "0001 0002 0004", "0001 0003 0004", r"left_0002\.png .*right_0003\.png"),
        (NUMBERED, "1 3", "2 3", r"left_1\.png .*right_2\.png"),
        (NUMBERED, "1 2", "3 4", r"left_2\.png .*right_4\.png"),
        (SCENES, "a c", "b c", r"a/im0\.png .*b/im1\.png"),
        (("cam0_left_*.png", "right_*.png"), "1 2", "1 3", "cam0_left_2.*right_3"),
        (("*_left.png", "*_right.png"), "a a_m", "a a_m", "a_m_left.*a_right"),
    ],
)
def test_strangers_are_refused(tmp_path, monkeypatch, patterns, lefts, rights, strangers, relative):
    touch_matches(tmp_path, patterns, lefts, rights)
    monkeypatch.chdir(tmp_path)
    folder = "" if relative else f"{tmp_path}/"
    with pytest.raises(InputError, match=strangers):
        find_pairs(*(folder + pattern for pattern in patterns))


@pytest.mark.parametrize(
    ("patterns", "lefts", "rights"),
    [
        (NUMBERED, "1 2 10", "0001 0002 0010"),
        (SCENES, "a b2 2011_09_26", "a b2 2011_09_26"),
        (("*/cam0_7.png", "*/cam1_7.png"), "run1 run2", "run1 run2"),
        (("cam0_left_*.png", "right_*.png"), "1 2", "1 2"),
        (("*l.png", "*r.png"), "a tool_", "a tool_"),
        (NUMBERED, "5", "6"),
    ],
)
def test_names_that_differ_in_one_way_are_pairs(tmp_path, patterns, lefts, rights):
    touch_matches(tmp_path, patterns, lefts, rights)
    sources = find_pairs(*(f"{tmp_path}/{pattern}" for pattern in patterns))
    assert len(sources) == len(lefts.split())


@pytest.mark.parametrize("both", [False, True])
def test_16_bit_pictures_of_one_run_have_one_depth(tmp_path, both):
    """A scene that brightens for one frame leaves the others as they are."""
    for number, highest in enumerate((900, 1100, 900)):
        picture = np.full((40, 80), 800, np.uint16)
        picture[0, 0] = highest
        for side in ("left", "right"):
            cv2.imwrite(str(touch(tmp_path / side) / f"{number}.png"), picture)
    left, right = str(tmp_path / "left"), str(tmp_path / "right")
    sources = find_side_by_side([left]) if both else find_pairs(left, right)
    pairs = [source.read() for source in sources]
    assert [int(pair.left[1, 1, 0]) for pair in pairs] == [199, 50, 50]
    assert ["brighter" in pair.notes[0] for pair in pairs] == [False, True, False]
    assert [int(source.read().left[1, 1, 0]) for source in sources] == [50] * 3


def test_a_pattern_without_files_is_refused(tmp_path):
    with pytest.raises(InputError, match="no file matches"):
        find_side_by_side([str(tmp_path / "*.png")])


def test_a_superscript_is_no_number(tmp_path):
    (source,) = find_side_by_side([str(touch(tmp_path / "a", "1²2.png"))])
    assert source.name == "1²2"
