"""Every layout is recognised, read and named; what is broken is said."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
import trees

from litestereo.benchmarks.datasets import LAYOUT_NAMES, find_scenes
from litestereo.errors import InputError

LAYOUTS = [
    (trees.meta, "home/room", False),
    (trees.middlebury2001, "middlebury2001/venus", False),
    (trees.middlebury2001_tsukuba, "middlebury2001/tsukuba", False),
    (trees.middlebury2003, "middlebury2003/conesQ", False),
    (trees.middlebury2005, "middlebury2005/Dolls", False),
    (trees.middlebury2006, "middlebury2006/Aloe", False),
    (trees.middlebury2014, "middlebury2014/Piano-perfect", False),
    (trees.middlebury2021, "middlebury2021/chess2", False),
    (trees.middeval3, "middeval3-H/PianoL", True),
    (trees.eth3d, "eth3d/delivery_area_1l", True),
    (trees.eth3d_apart, "eth3d/playground_3s", True),
    (trees.kitti2012, "kitti2012/000007", True),
    (trees.kitti2012_grey, "kitti2012/000007", True),
    (trees.kitti2015, "kitti2015/000007", True),
    (trees.drivingstereo, "drivingstereo/sunny/a", False),
    (trees.drivingstereo_nested, "drivingstereo/weather/foggy/a", False),
    (trees.drivingstereo_full, "drivingstereo-full/test/2018-07-11/a", False),
]
SMALL = np.zeros((33, 34), np.uint8)


@pytest.mark.parametrize(
    ("make", "key", "masked"), LAYOUTS, ids=[row[0].__name__ for row in LAYOUTS]
)
def test_layout(tmp_path, make, key, masked):
    make(tmp_path / "weather")
    found = find_scenes(tmp_path)
    assert [scene.key for scene in found.scenes] == [key]
    assert not found.broken
    check(found.scenes[0], masked=masked)


def check(scene, *, masked):
    """The truth is what the tree's author wrote, whatever the file's encoding."""
    left, right = scene.load_pair()
    truth = scene.load_truth()
    height, width = truth.disparity_px.shape
    assert left.shape == right.shape == (height, width, 3)
    assert truth.disparity_px.dtype == np.float32
    assert np.isnan(truth.disparity_px[: trees.UNKNOWN_ROWS]).all()
    assert (truth.disparity_px[trees.UNKNOWN_ROWS :] == trees.DISPARITY_PX).all()
    assert truth.largest_px == trees.DISPARITY_PX
    assert (truth.visible is not None) == masked
    if masked:
        expected = np.zeros((height, width), bool)
        expected[trees.UNKNOWN_ROWS :, trees.OCCLUDED_COLUMNS :] = True
        np.testing.assert_array_equal(truth.visible, expected)


def test_pictures_are_left_and_right_in_rgb(tmp_path):
    scene = find_scenes(trees.kitti2015(tmp_path)).scenes[0]
    for picture, expected in zip(scene.load_pair(), trees.views(), strict=True):
        np.testing.assert_array_equal(picture, expected)


def test_sceneflow_passes_are_two_sets(tmp_path):
    found = find_scenes(trees.sceneflow(tmp_path))
    assert [scene.key for scene in found.scenes] == [
        "sceneflow-cleanpass/TEST/A/0003/0006",
        "sceneflow-finalpass/TEST/A/0003/0006",
    ]
    for scene in found.scenes:
        check(scene, masked=False)


@pytest.mark.parametrize(
    ("make", "inside", "keys"),
    [
        (trees.kitti2015, "training", ["kitti2015/000007"]),
        (trees.kitti2015, "training/image_2", ["kitti2015/000007"]),
        (
            trees.sceneflow,
            "frames_finalpass/TEST/A",
            ["sceneflow-finalpass/TEST/A/0003/0006"],
        ),
        (trees.middeval3, "trainingH/PianoL", ["middeval3-H/PianoL"]),
        (trees.meta, "home/room", ["home/room"]),
    ],
)
def test_root_inside_a_set(tmp_path, make, inside, keys):
    make(tmp_path)
    assert [scene.key for scene in find_scenes(tmp_path / inside).scenes] == keys


def test_several_sets_at_once_in_a_fixed_order(tmp_path):
    for make in (trees.kitti2015, trees.meta, trees.eth3d, trees.middlebury2001):
        make(tmp_path / make.__name__)
    keys = [scene.key for scene in find_scenes(tmp_path).scenes]
    assert keys == sorted(keys)
    assert len(keys) == 4
    roots = [tmp_path / name for name in ("kitti2015", "eth3d", "kitti2015")]
    assert len(find_scenes(*roots).scenes) == 2


def test_two_copies_get_two_names(tmp_path):
    for copy in ("a", "b"):
        trees.middlebury2001(tmp_path / copy)
    keys = [scene.key for scene in find_scenes(tmp_path).scenes]
    assert keys == ["middlebury2001/venus", "middlebury2001/venus#2"]


def test_a_described_scene_of_a_known_layout_is_one_scene(tmp_path):
    scene = trees.middeval3(tmp_path) / "trainingH/PianoL"
    described = {
        "set": "mine",
        "scene": "piano",
        "files": {"left": "im0.png", "right": "im1.png", "gt": "disp0GT.pfm"},
        "gt_encoding": {"kind": "pfm"},
    }
    (scene / "meta.json").write_text(json.dumps(described))
    for root in (tmp_path, scene):
        assert [found.key for found in find_scenes(root).scenes] == ["mine/piano"]
    by_layout = find_scenes(tmp_path, layout="middeval3").scenes
    assert [found.key for found in by_layout] == ["middeval3-H/PianoL"]


def test_links_are_followed_once(tmp_path):
    trees.meta(tmp_path / "disk")
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "home").symlink_to(tmp_path / "disk")
    (tmp_path / "disk" / "loop").symlink_to(tmp_path / "disk")
    assert [scene.key for scene in find_scenes(tmp_path / "data").scenes] == ["home/room"]


def test_layout_asked_for_by_name(tmp_path):
    for make in (trees.kitti2015, trees.eth3d):
        make(tmp_path)
    assert [s.set for s in find_scenes(tmp_path, layout="eth3d").scenes] == ["eth3d"]
    folder = tmp_path / "own"
    trees.save_pair(folder / "im2.png", folder / "im6.png", size=(37, 900))
    trees.save_counts(folder / "disp2.png", 2, disparity=trees.truth((37, 900)))
    (scene,) = find_scenes(folder, layout="middlebury2003").scenes
    check(scene, masked=False)


def test_meta_kinds(tmp_path):
    folder = trees.meta(tmp_path)
    described = json.loads((folder / "meta.json").read_text())
    np.savez(folder / "disp.npz", other=np.zeros(3), map=trees.truth(unknown=np.nan))
    described["files"]["gt"] = "disp.npz"
    described["gt_encoding"] = {"kind": "npz", "scale": 1, "key": "map"}
    (folder / "meta.json").write_text(json.dumps(described))
    trees.save(folder / "nocc.png", trees.mask())
    (scene,) = find_scenes(folder).scenes
    check(scene, masked=True)
    del described["files"]["gt"]
    (folder / "meta.json").write_text(json.dumps(described))
    assert find_scenes(folder).scenes[0].load_truth() is None


@pytest.mark.parametrize("text", ["{", "[]", '{"files": {"left": "left.png"}}'])
def test_meta_that_describes_nothing_is_reported(tmp_path, text):
    trees.meta(tmp_path)
    broken = tmp_path / "home" / "broken"
    broken.mkdir()
    (broken / "meta.json").write_text(text)
    found = find_scenes(tmp_path)
    assert [scene.key for scene in found.scenes] == ["home/room"]
    (problem,) = found.broken
    assert problem.name == str(broken)
    assert "does not describe a scene" in problem.problem


def test_size_that_no_middlebury_set_has_is_reported(tmp_path):
    folder = tmp_path / "Aloe"
    trees.save_pair(folder / "view1.png", folder / "view5.png")
    trees.save_counts(folder / "disp1.png", 3)
    (problem,) = find_scenes(tmp_path).broken
    assert "none of the data set's" in problem.problem


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda folder: (folder / "right.png").unlink(), "cannot read .*right.png"),
        (lambda folder: (folder / "disp.png").write_bytes(b"no picture"), "disp.png is damaged"),
        (lambda folder: (folder / "disp.png").unlink(), "cannot read .*disp.png"),
        (
            lambda folder: trees.save(folder / "right.png", np.zeros((40, 70, 3), np.uint8)),
            "one size",
        ),
        (lambda folder: trees.save(folder / "nocc.png", np.zeros((9, 9), np.uint8)), "mask is 9x9"),
    ],
)
def test_files_of_a_broken_scene(tmp_path, spoil, message):
    folder = trees.meta(tmp_path)
    spoil(folder)
    (scene,) = find_scenes(folder).scenes
    with pytest.raises(InputError, match=message):
        (scene.load_pair(), scene.load_truth())


def test_wrong_roots(tmp_path):
    with pytest.raises(InputError, match="is no folder"):
        find_scenes(tmp_path / "nothing")
    with pytest.raises(
        InputError, match=r"holds no scene of any known .* to stereo-eval with --layout"
    ):
        find_scenes(tmp_path)
    with pytest.raises(InputError, match="layout 'kitti' is unknown"):
        find_scenes(tmp_path, layout="kitti")
    assert "kitti2015" in LAYOUT_NAMES


@pytest.mark.filterwarnings("ignore:unclosed file:ResourceWarning")  # in load.py
def test_shared_scenes_read_as_their_own_loader_reads_them(shared):
    namespace = {}
    exec((shared / "eval" / "load.py").read_text(), namespace)
    found = find_scenes(shared / "eval")
    assert len(found.scenes) == 26
    assert not found.broken
    for scene in found.scenes[:12]:
        left, right, known, visible, described = namespace["load"](str(scene.left.parent))
        assert scene.key == f"{described['set']}/{described['scene']}"
        pair, truth = scene.load_pair(), scene.load_truth()
        np.testing.assert_array_equal(pair[0], left[..., ::-1])
        np.testing.assert_array_equal(pair[1], right[..., ::-1])
        np.testing.assert_array_equal(np.nan_to_num(truth.disparity_px), known)
        assert (truth.visible is None) == (visible is None)
        if visible is not None:
            np.testing.assert_array_equal(truth.visible, visible)


def test_the_page_that_the_message_names_has_every_layout(tmp_path):
    page = (Path(__file__).parents[2] / "benchmarks/README.md").read_text()
    with pytest.raises(InputError) as none:
        find_scenes(tmp_path)
    assert "benchmarks/README.md" in str(none.value)
    section = page.split("## " + re.search('"(.+)"', str(none.value))[1])[1]
    named = re.findall(
        r"^\| ((?:`\w+`(?:, )?)+) \|", section.split("Any other scene")[0], re.MULTILINE
    )
    assert {name for row in named for name in re.findall(r"`(\w+)`", row)} == set(LAYOUT_NAMES)


def test_the_meta_json_of_the_page_describes_a_scene(tmp_path):
    page = (Path(__file__).parents[2] / "benchmarks/README.md").read_text()
    folder = trees.meta(tmp_path)
    described = json.loads(re.search(r"```json\n(.*?)```", page, re.DOTALL)[1])
    (folder / "meta.json").write_text(json.dumps(described))
    (scene,) = find_scenes(tmp_path).scenes
    assert scene.key == "office/desk"
    assert (scene.left.name, scene.truth.scale) == ("left.png", 256)
