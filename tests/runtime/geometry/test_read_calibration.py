"""Every calibration format, as its tool writes it, and the mistakes that people make with them."""

import random

import cv2
import numpy as np
import pytest
import rigs

from litestereo.errors import InputError
from litestereo.runtime.geometry.calibration import rotation_matrix
from litestereo.runtime.geometry.read import read_calibration


def write(folder, name, text):
    path = folder / name
    path.write_text(text)
    return path


def assert_is_the_rig(calibration, *, lenses=(rigs.D1, rigs.D2), size=rigs.SIZE):
    assert not calibration.rectified
    assert calibration.size == size
    np.testing.assert_allclose(calibration.left.matrix, rigs.K1, atol=1e-6)
    np.testing.assert_allclose(calibration.right.matrix, rigs.K2, atol=1e-6)
    np.testing.assert_allclose(calibration.left.coefficients, lenses[0], atol=1e-7)
    np.testing.assert_allclose(calibration.right.coefficients, lenses[1], atol=1e-7)
    np.testing.assert_allclose(rotation_matrix(calibration.rotation), rigs.R, atol=1e-6)
    np.testing.assert_allclose(calibration.translation_m, rigs.T, atol=1e-6)
    assert calibration.baseline_m == pytest.approx(rigs.BASELINE_M, abs=1e-6)


@pytest.mark.parametrize("suffix", ["yml", "xml"])
def test_opencv_in_one_file(tmp_path, suffix):
    path = rigs.opencv_files(tmp_path, suffix=suffix, rectification=True)
    calibration = read_calibration(path, size=rigs.SIZE)
    assert_is_the_rig(calibration)
    assert calibration.given is not None


@pytest.mark.parametrize("both", [True, False])
def test_opencv_in_two_files(tmp_path, both):
    paths = rigs.opencv_files(tmp_path, one_file=False)
    assert_is_the_rig(read_calibration(paths if both else paths[0], size=rigs.SIZE))


def test_opencv_in_millimetres_says_so(tmp_path):
    calibration = read_calibration(rigs.opencv_files(tmp_path, scale=1000), size=rigs.SIZE)
    assert_is_the_rig(calibration)
    assert "millimetres: 0.120017 m" in calibration.notes[0]


def test_opencv_in_squares_is_asked_about(tmp_path):
    path = rigs.opencv_files(tmp_path, scale=1 / 0.025)
    with pytest.raises(InputError, match=r"4\.80068.*neither metres.*--baseline"):
        read_calibration(path)
    assert_is_the_rig(read_calibration(path, size=rigs.SIZE, baseline_m=rigs.BASELINE_M))


def test_opencv_fisheye_by_its_name(tmp_path):
    text = rigs.opencv_files(tmp_path).read_text()
    path = write(tmp_path, "fisheye.yml", text + "camera_model: fisheye\n")
    with pytest.raises(InputError, match=r"equidistant lens has 5 coefficients; it takes 4"):
        read_calibration(path)


def test_opencv_fisheye_without_a_name_gets_a_note(tmp_path, monkeypatch):
    assert read_calibration(rigs.opencv_files(tmp_path, suffix="yaml")).notes == ()
    monkeypatch.setattr(rigs, "D1", rigs.FISHEYE1)
    monkeypatch.setattr(rigs, "D2", rigs.FISHEYE2)
    path = rigs.opencv_files(tmp_path)
    unnamed = read_calibration(path)
    (note,) = unnamed.notes
    assert unnamed.left.distortion == "radtan"
    for model in ("equidistant", "radtan"):
        line = f"distortion_model: {model}"
        assert line in note
        named = read_calibration(write(tmp_path, f"{model}.yml", f"{path.read_text()}{line}\n"))
        assert (named.left.distortion, named.notes) == (model, ())


def test_opencv_projections_alone(tmp_path):
    full = read_calibration(rigs.opencv_files(tmp_path, rectification=True), size=rigs.SIZE)
    path = tmp_path / "rect.yml"
    storage = cv2.FileStorage(str(path), cv2.FILE_STORAGE_WRITE)
    _, _, p1, p2, _ = rigs.rectification()
    storage.write("P1", p1)
    storage.write("P2", p2)
    storage.release()
    calibration = read_calibration(path, size=rigs.SIZE)
    assert calibration.rectified
    assert calibration.baseline_m == pytest.approx(rigs.BASELINE_M)
    assert calibration.left == full.given.left


@pytest.mark.parametrize("text", [rigs.camera_info, rigs.camera_info_message])
@pytest.mark.parametrize("order", [("left", "right"), ("right", "left")])
def test_ros_pair(tmp_path, text, order):
    paths = [write(tmp_path, f"{side}.yaml", text(side)) for side in order]
    calibration = read_calibration(paths)
    assert_is_the_rig(calibration)
    assert calibration.given is not None
    assert calibration.given.left.fx_px == calibration.given.right.fx_px


def test_ros_partner_is_found(tmp_path):
    for side in ("left", "right"):
        write(tmp_path, f"{side}.yaml", rigs.camera_info(side))
    assert_is_the_rig(read_calibration(tmp_path / "right.yaml"))


def test_ros_one_eye_is_not_enough(tmp_path):
    path = write(tmp_path, "camera.yaml", rigs.camera_info("left"))
    with pytest.raises(InputError, match=r"got 1 camera_info; need the left and the right"):
        read_calibration(path)


def test_ros_without_a_baseline(tmp_path):
    paths = [write(tmp_path, f"{n}.yaml", rigs.camera_info("left")) for n in "ab"]
    with pytest.raises(InputError, match=r"neither camera_info has a baseline"):
        read_calibration(paths)


@pytest.mark.parametrize("from_imu", [False, True])
def test_kalibr(tmp_path, from_imu):
    path = write(tmp_path, "camchain.yaml", rigs.kalibr(from_imu=from_imu))
    assert_is_the_rig(read_calibration(path), lenses=(rigs.D1[:4], rigs.D2[:4]))


def test_kalibr_fisheye(tmp_path):
    calibration = read_calibration(write(tmp_path, "c.yaml", rigs.kalibr(lens="equidistant")))
    assert calibration.left.distortion == "equidistant"
    assert_is_the_rig(calibration, lenses=(rigs.FISHEYE1, rigs.FISHEYE2))


def test_kalibr_models_that_cannot_be_rectified(tmp_path):
    text = rigs.kalibr()
    for old, new in (("pinhole", "omni"), ("radtan", "fov")):
        path = write(tmp_path, "c.yaml", text.replace(old, new))
        with pytest.raises(InputError, match=new):
            read_calibration(path)


def test_middlebury(tmp_path):
    calibration = read_calibration(write(tmp_path, "calib.txt", rigs.MIDDLEBURY))
    assert calibration.rectified
    assert calibration.size == (497, 741)
    assert calibration.baseline_m == pytest.approx(0.193001)
    assert calibration.doffs_px == pytest.approx(31.086)
    assert calibration.notes == ()


def test_middlebury_scaled_by_halves_is_refused(tmp_path):
    text = rigs.MIDDLEBURY.replace("doffs=31.086", "doffs=62.172")
    with pytest.raises(InputError, match=r"doffs is 62\.172.*31\.086"):
        read_calibration(write(tmp_path, "calib.txt", text))


def test_kitti(tmp_path):
    calibration = read_calibration(write(tmp_path, "calib.txt", rigs.KITTI))
    assert calibration.rectified
    assert calibration.size is None
    assert calibration.baseline_m == pytest.approx((339.5242 + 44.85728) / 721.5377)
    assert calibration.notes == ("KITTI cameras 2 (left) and 3 (right)",)


def test_kitti_grey_cameras(tmp_path):
    grey = "\n".join(rigs.KITTI.splitlines()[:2])
    calibration = read_calibration(write(tmp_path, "calib.txt", grey), size=(375, 1242))
    assert calibration.baseline_m == pytest.approx(387.5744 / 721.5377)


def test_kitti_raw_data_by_the_size_of_the_pictures(tmp_path):
    path = write(tmp_path, "calib_cam_to_cam.txt", rigs.kitti_raw())
    rectified = read_calibration(path, size=(466, 618))
    assert rectified.rectified
    assert rectified.baseline_m == pytest.approx(rigs.BASELINE_M, rel=1e-5)
    raw = read_calibration(path, size=rigs.SIZE)
    assert_is_the_rig(raw)
    assert raw.given.size == (466, 618)
    assert raw.given.left == rectified.left


def test_k_txt(tmp_path):
    path = write(tmp_path, "K.txt", "754.66 0.0 489.37 0.0 754.66 265.16 0.0 0.0 1.0\n0.063\n")
    calibration = read_calibration(path, size=(540, 960))
    assert calibration.rectified
    assert (calibration.focal_px, calibration.baseline_m) == (754.66, 0.063)


def test_k_txt_of_three_lines_needs_a_baseline(tmp_path):
    path = write(tmp_path, "K.txt", "754.66 0 489.37\n0 754.66 265.16\n0 0 1\n")
    with pytest.raises(InputError, match=r"no baseline; add it in metres"):
        read_calibration(path)
    assert read_calibration(path, baseline_m=0.063).baseline_m == 0.063


def test_k_txt_in_millimetres_says_so(tmp_path):
    path = write(tmp_path, "K.txt", "754.66 0 489.37 0 754.66 265.16 0 0 1\n120\n")
    calibration = read_calibration(path)
    assert calibration.baseline_m == 0.12
    assert "taken as millimetres" in calibration.notes[0]


def test_zed(tmp_path):
    path = write(tmp_path, "SN1.conf", rigs.ZED)
    calibration = read_calibration(path, size=(720, 1280))
    assert calibration.source == "ZED HD"
    assert calibration.left.fx_px == 701.88
    assert calibration.left.coefficients == (-0.175286, 0.0283094, 0, 0, 0)
    assert calibration.baseline_m == pytest.approx(0.119978, rel=1e-6)
    np.testing.assert_allclose(
        rotation_matrix(calibration.rotation),
        cv2.Rodrigues(np.array([-0.000916611, 0.00623976, 0.000770041]))[0],
        atol=1e-12,
    )
    assert read_calibration(path, size=(360, 640)).left.fx_px == pytest.approx(701.88 / 2)


def test_zed_needs_the_size(tmp_path):
    path = write(tmp_path, "SN1.conf", rigs.ZED)
    with pytest.raises(InputError, match=r"several modes \(2K 1242x2208, HD 720x1280\)"):
        read_calibration(path)
    with pytest.raises(InputError, match=r"none of the ZED's modes"):
        read_calibration(path, size=(480, 640))


def test_scales_with_the_picture(tmp_path):
    path = write(tmp_path, "calib.txt", rigs.MIDDLEBURY)
    half = read_calibration(path, size=(994, 1482))
    assert half.focal_px == pytest.approx(2 * 994.978)
    assert half.doffs_px == pytest.approx(2 * 31.086)
    assert half.left.cx_px == pytest.approx(2 * 311.193 + 0.5)
    assert "scaled to 994x1482" in half.notes[-1]
    assert read_calibration(path, size=(248, 370)).focal_px == pytest.approx(994.978 * 370 / 741)
    with pytest.raises(InputError, match=r"another shape, so they were cropped"):
        read_calibration(path, size=(480, 741))


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("calib.txt", rigs.MIDDLEBURY.replace("cam1", "cam2"), "no cam1"),
        ("calib.txt", rigs.MIDDLEBURY.replace("193.001", "-193"), "baseline is -193"),
        ("calib.txt", rigs.MIDDLEBURY.replace("994.978 0 311", "0 0 311"), "focal length is 0"),
        ("calib.txt", rigs.MIDDLEBURY.replace("311.193", "31100.193"), "doffs|outside"),
        ("calib.txt", rigs.MIDDLEBURY.replace("994.978 0 31", "x 0 31"), "need a number"),
        ("calib.txt", rigs.KITTI.splitlines()[2], "neither P2 and P3 nor P0 and P1"),
        ("K.txt", "1 2 3", "3 numbers; need 9"),
        ("K.txt", "500 0 320 0 500 240 0 0 2\n0.1", "need fx 0 cx"),
        ("K.txt", "500 0 320 0 500 240 0 0 1\n7", "neither metres"),
        ("SN.conf", "[LEFT_CAM_HD]\nfx=1\n[STEREO]\nBaseline=120\n", "no cx, cy, fy"),
        ("a.yaml", "hello: world\n", "no left matrix"),
        ("a.yaml", "- 1\n- 2\n", "no calibration that is known"),
        ("a.xml", "<opencv_storage><M1>", "XML cannot be read"),
        ("a.txt", "", "empty"),
        ("a.txt", "just words\n", "no calibration that is known"),
        ("a.yaml", "%YAML:1.0\nM1: [1, 2\n", "cut off"),
        ("c.yaml", rigs.kalibr().replace("cam1:", "cam2:"), "no cam1"),
        ("c.yaml", rigs.kalibr().replace("T_cn_cnm1", "T_other"), "no T_cn_cnm1"),
    ],
)
def test_mistakes_say_what_is_wrong_and_where(tmp_path, name, text, message):
    path = write(tmp_path, name, text)
    with pytest.raises(InputError, match=message) as caught:
        read_calibration(path, size=(720, 1280) if name.endswith("conf") else None)
    assert name in str(caught.value)


def test_principal_point_outside_the_picture(tmp_path):
    path = write(tmp_path, "K.txt", "754.66 0 489.37 0 754.66 265.16 0 0 1\n0.063\n")
    with pytest.raises(InputError, match=r"outside 240x320 pictures; the calibration is for"):
        read_calibration(path, size=(240, 320))


def test_missing_and_binary_files(tmp_path):
    with pytest.raises(InputError, match=r"^calibration .*none\.yml is not there; check the path"):
        read_calibration(tmp_path / "none.yml")
    path = tmp_path / "binary.yml"
    path.write_bytes(b"\x89PNG\xff\xfe")
    with pytest.raises(InputError, match=r"is no text"):
        read_calibration(path)


@pytest.mark.parametrize(
    ("step", "message"),
    [((0.12, 0, 0), "left of its first"), ((0.01, -0.12, 0), "vertical rig")],
)
def test_rigs_that_are_the_wrong_way(tmp_path, step, message):
    text = rigs.kalibr()
    lines = text.splitlines()
    start = next(i for i, line in enumerate(lines) if "T_cn_cnm1" in line)
    for row, part in enumerate(step, start=1):
        numbers = lines[start + row].rsplit(",", 1)[0]
        lines[start + row] = f"{numbers}, {part}]"
    with pytest.raises(InputError, match=message):
        read_calibration(write(tmp_path, "c.yaml", "\n".join(lines)))


def test_a_rotation_that_is_none(tmp_path):
    text = rigs.kalibr().replace("- [0.99", "- [0.89", 1)
    with pytest.raises(InputError, match=r"is no rotation"):
        read_calibration(write(tmp_path, "c.yaml", text))


def test_damaged_files_are_refused_by_our_errors_only(tmp_path):
    """Seeded damage to every format: cut, doubled, swapped lines, strange tokens."""
    rnd = random.Random(5)
    tokens = [
        "nan",
        "1e400",
        "-",
        "[",
        "]",
        "{",
        ":",
        "'",
        "\t",
        "---",
        "&a",
        "\n",
        "9" * 30,
        "\xe9",
    ]
    seeds = [
        rigs.MIDDLEBURY,
        rigs.KITTI,
        rigs.ZED,
        rigs.kitti_raw(),
        rigs.kalibr(from_imu=True),
        rigs.camera_info("left") + "---\n" + rigs.camera_info("right"),
        rigs.camera_info_message("left") + rigs.camera_info_message("right"),
        rigs.opencv_files(tmp_path, suffix="xml", rectification=True).read_text(),
        "700 0 320 0 700 240 0 0 1\n0.1\n",
    ]
    path = tmp_path / "damaged.txt"
    outcomes = []
    for round_ in range(600):
        text = seeds[round_ % len(seeds)]
        for _ in range(rnd.randint(1, 4)):
            place, kind = rnd.randrange(len(text) + 1), rnd.randrange(4)
            if kind == 0:
                text = text[:place] + rnd.choice(tokens) + text[place:]
            elif kind == 1:
                text = text[:place] + text[place + rnd.randint(1, 30) :]
            elif kind == 2:
                text = text[: max(place, 1)]
            else:
                lines = text.split("\n")
                lines[rnd.randrange(len(lines))] = rnd.choice(lines)
                text = "\n".join(lines)
        path.write_text(text)
        try:
            read_calibration(path, size=rnd.choice([rigs.SIZE, (720, 1280), (375, 1242)]))
            outcomes.append("read")
        except InputError:
            outcomes.append("refused")
    assert set(outcomes) == {"read", "refused"}


@pytest.mark.parametrize("order", [1, -1])
def test_a_file_of_both_eyes_takes_no_second_one(tmp_path, order):
    """The other one would not be looked at."""
    one, other = tmp_path / "K.txt", tmp_path / "stereo.yaml"
    one.write_text("80 0 47.5 0 80 31.5 0 0 1\n0.1\n")
    other.write_text("cam0: {}\n")
    with pytest.raises(InputError, match=r"K\.txt holds both eyes by itself; give it alone"):
        read_calibration([one, other][::order])
