"""`stereo-run` from its arguments to its files."""

import json
import os
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
from stand_in import expected, write_stand_in

from litestereo import __version__
from litestereo.assets import bundled_models, demo_pair
from litestereo.cli import run_main
from litestereo.errors import InputError
from litestereo.runtime.disparity_io import read_pfm, read_png16


@pytest.fixture(scope="module")
def artifact(tmp_path_factory):
    return write_stand_in(tmp_path_factory.mktemp("model") / "stand_in.onnx")


@pytest.fixture
def views(rng):
    """Two (56, 100, 3) RGB views of a texture, 10 px apart."""
    small = rng.integers(0, 256, (20, 40, 3), np.uint8)
    wide = cv2.resize(small, (120, 56), interpolation=cv2.INTER_CUBIC)
    return wide[:, :100], wide[:, 10:110]


@pytest.fixture
def pair(tmp_path, views):
    """The views as files left.png and right.png."""
    return [str(save(tmp_path / name, view)) for name, view in zip(NAMES, views, strict=True)]


NAMES = ("left.png", "right.png")


def save(path, image):
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), np.ascontiguousarray(image[..., ::-1]))
    return path


@pytest.fixture
def stereo_run(artifact, tmp_path, capsys):
    """Run the command with the stand-in; return (status, stdout, stderr)."""

    def run(*arguments, model=artifact):
        given = [*map(str, arguments), "--model", str(model), "-o", str(tmp_path / "out")]
        try:
            status = run_main(given)
        except SystemExit as leaving:
            status = leaving.code
        return status, *capsys.readouterr()

    return run


def test_one_pair_gives_pictures_files_and_a_summary(stereo_run, pair, views, tmp_path):
    status, out, err = stereo_run(*pair, "--png16", "--pfm", "--npy")
    assert status == 0
    summary = json.loads(out)
    assert (summary["model"], summary["failed"]) == ("stand-in", 0)
    (report,) = summary["pairs"]
    assert (report["left"], report["right"]) == tuple(pair)
    assert report["size"] == [56, 100]
    assert report["inference_size"] == [64, 128]
    assert report["backend"] == "onnxruntime-cpu"
    assert report["timings"]["total_ms"] > 0
    disparity, confidence = expected(*views)
    assert report["disparity_px"]["median"] == pytest.approx(np.median(disparity), abs=1e-3)
    files = report["files"]
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == [
        "left_confidence.npy",
        "left_disparity.npy",
        "left_disparity.pfm",
        "left_disparity.png",
        "left_disparity16.png",
        "left_panel.png",
    ]
    np.testing.assert_allclose(np.load(files["npy"]), disparity, atol=1e-4)
    np.testing.assert_allclose(np.load(files["confidence_npy"]), confidence, atol=1e-6)
    np.testing.assert_allclose(read_pfm(Path(files["pfm"])), disparity, atol=1e-4)
    np.testing.assert_allclose(read_png16(Path(files["png16"])), disparity, atol=0.01)
    assert cv2.imread(files["disparity"]).shape == (56, 100, 3)
    assert cv2.imread(files["panel"]).shape == (80, 308, 3)
    assert err.count("\n") == 1
    assert files["panel"] in err


def test_only_the_pictures_are_written_unasked(stereo_run, pair, tmp_path):
    stereo_run(*pair)
    names = sorted(p.name for p in (tmp_path / "out").iterdir())
    assert names == ["left_disparity.png", "left_panel.png"]


def test_a_model_that_is_no_artifact_is_refused(stereo_run, pair):
    status, out, err = stereo_run(*pair, model=pair[0])
    assert (status, out) == (1, "")
    assert f"{pair[0]} is no artefact; need a bundled model's name or an .onnx file" in err
    assert err.count("\n") == 1


def test_an_output_file_gets_the_colour_picture(artifact, pair, tmp_path, capsys):
    target = tmp_path / "deep" / "depth.png"
    with pytest.raises(SystemExit) as leaving:
        run_main([*pair, "--model", str(artifact), "-o", str(target), "--pfm"])
    assert not leaving.value.code
    assert sorted(p.name for p in target.parent.iterdir()) == [
        "depth.png",
        "depth_disparity.pfm",
        "depth_panel.png",
    ]
    capsys.readouterr()


def folders(tmp_path, views, count=3):
    for n in range(count):
        for side, view in zip(("left", "right"), views, strict=True):
            save(tmp_path / side / f"{n}.png", view)
    return tmp_path / "left", tmp_path / "right"


def test_folders_and_patterns_give_one_document(stereo_run, views, tmp_path):
    left, right = folders(tmp_path, views)
    for arguments in ((left, right), (f"{left}/*.png", f"{right}/*.png")):
        status, out, err = stereo_run(*arguments)
        assert status == 0
        reports = json.loads(out)["pairs"]
        assert [report["left"][-5:] for report in reports] == ["0.png", "1.png", "2.png"]
        assert len(err.splitlines()) == 3  # no progress bar where nobody watches
    assert len(list((tmp_path / "out").iterdir())) == 6


def test_a_broken_pair_among_many_is_told_and_the_rest_goes_on(stereo_run, views, tmp_path):
    left, right = folders(tmp_path, views)
    (right / "1.png").write_bytes(b"broken")
    status, out, err = stereo_run(left, right)
    assert status == 1
    summary = json.loads(out)
    assert summary["failed"] == 1
    assert ["error" in report for report in summary["pairs"]] == [False, True, False]
    assert "1.png is damaged" in summary["pairs"][1]["error"]
    assert "1 of 3 pairs failed" in err
    assert (tmp_path / "out" / "2_panel.png").is_file()


def test_unequal_folders_are_refused(stereo_run, views, tmp_path):
    left, right = folders(tmp_path, views)
    (right / "1.png").unlink()
    status, out, err = stereo_run(left, right)
    assert (status, out) == (1, "")
    assert "without partner: 1.png" in err


def test_side_by_side_pictures_are_split(stereo_run, views, tmp_path):
    both = [save(tmp_path / "both" / f"{n}.png", np.hstack(views)) for n in range(2)]
    status, out, _ = stereo_run(tmp_path / "both", "--side-by-side")
    assert status == 0
    reports = json.loads(out)["pairs"]
    assert [(r["left"], r["right"], r["size"]) for r in reports] == [
        (str(path), None, [56, 100]) for path in both
    ]


def test_left_and_right_are_no_side_by_side_pictures(stereo_run, pair):
    status, out, err = stereo_run(*pair, "--side-by-side")
    assert (status, out) == (2, "")
    assert "leave it out if they are left and right" in " ".join(err.split())


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda left, right: (left, left), "one picture twice: give the other eye's picture"),
        (lambda left, right: (left, 0 * right), "the right picture has no texture"),
        (lambda left, right: (0 * left, 0 * right), "the left picture has no texture"),
    ],
)
def test_a_plainly_wrong_pair_is_noted(stereo_run, views, tmp_path, change, words):
    files = [save(tmp_path / n, view) for n, view in zip(NAMES, change(*views), strict=True)]
    status, out, err = stereo_run(*files)
    assert status == 0
    assert words in json.loads(out)["pairs"][0]["notes"][0]
    assert words in err


@pytest.mark.parametrize(
    "option",
    [
        ("--rate", 5),
        ("--max-age", 9),
        ("--shrink", 0.5),
        ("--frames", 3),
        ("--jitter",),
        ("--metrics", "m.prom"),
        ("--save-every", 0),
        ("--reconnects", 1),
        ("--realtime",),
        ("--camera-size", 48, 64),
        ("--camera-format", "MJPG"),
    ],
)
def test_an_option_of_streams_is_refused_with_a_pair(stereo_run, pair, option):
    status, out, err = stereo_run(*pair, *option)
    assert (status, out) == (2, "")
    assert f"{option[0]} belongs to a stream" in err


@pytest.mark.parametrize("option", [("--near", 1), ("--far", 9), ("--speckle", 9)])
def test_limits_of_depth_need_a_calibration(pair, capsys, option):
    with pytest.raises(SystemExit) as leaving:
        run_main([*pair, *map(str, option)])
    assert leaving.value.code == 2
    assert "add --calib FILE" in " ".join(capsys.readouterr().err.split())


def test_a_depth_without_any_pixel_is_noted(stereo_run, pair, tmp_path):
    (tmp_path / "K.txt").write_text("80 0 47.5 0 80 31.5 0 0 1\n0.1\n")
    calibrated = (*pair, "--calib", tmp_path / "K.txt", "--depth")
    notes = json.loads(stereo_run(*calibrated, "--near", 50)[1])["pairs"][0]["notes"]
    assert "no pixel has a depth: " in notes[-1]
    assert "too near" in notes[-1]
    notes = json.loads(stereo_run(*calibrated)[1])["pairs"][0]["notes"]
    assert not any("no pixel" in note for note in notes)


@pytest.mark.parametrize(
    ("model", "words"),
    [
        ("las2_l", "stereo-export --model las2_l --weights FILE"),
        ("nope.onnx", "nope.onnx is no such file"),
        ("out/nope", "out/nope is no such file"),
        ("las9", "'las9' is neither a bundled model"),
    ],
)
def test_a_model_that_is_not_there(stereo_run, pair, model, words):
    status, out, err = stereo_run(*pair, model=model)
    assert (status, out) == (1, "")
    assert words in err


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("rec", "--folder rec"),
        ("video.mp4", "--video video.mp4"),
        ("sbs.png", "--side-by-side sbs.png"),
    ],
)
def test_one_argument_alone_gets_the_option_that_fits(
    stereo_run, tmp_path, monkeypatch, name, words
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "rec").mkdir()
    status, _, err = stereo_run(name)
    assert status == 2
    assert words in " ".join(err.split())


def test_a_larger_range_lowers_the_size_and_says_so(stereo_run, pair):
    _, out, err = stereo_run(*pair, "--max-disparity", 235)
    (report,) = json.loads(out)["pairs"]
    assert report["scale"] == 0.8
    assert report["max_disparity_px"] == 235
    assert "inference at 0.8 of the size" in report["notes"][0]
    assert report["notes"][0] in err


def test_a_clipped_range_is_said(stereo_run, tmp_path, views):
    artifact = write_stand_in(tmp_path / "far.onnx", gain=0.75)
    bright = np.full_like(views[0], 255)
    both = save(tmp_path / "both.png", np.hstack([bright, bright]))
    _, out, err = stereo_run(both, "--side-by-side", model=artifact)
    assert json.loads(out)["pairs"][0]["range_clipped"] == 1
    assert "100% of the pixels lie at the end of the 188 px range; try --max-disparity 376" in err


def test_the_advice_of_a_clipped_range_can_be_followed(stereo_run, tmp_path, views):
    artifact = write_stand_in(tmp_path / "far.onnx", gain=0.75)
    bright = np.full_like(views[0], 255)
    both = save(tmp_path / "both.png", np.hstack([bright, bright]))
    status, _, err = stereo_run(both, "--side-by-side", "--scale", 1.25, model=artifact)
    assert status == 0
    assert "try --max-disparity 294 without --scale" in err


def test_what_a_16_bit_png_cannot_hold_is_said(stereo_run, tmp_path, pair):
    artifact = write_stand_in(tmp_path / "far.onnx", gain=1.0)
    arguments = (*pair, "--max-disparity", 300, "--png16", "--npy")
    _, out, err = stereo_run(*arguments, model=artifact)
    (report,) = json.loads(out)["pairs"]
    beyond = np.load(report["files"]["npy"]) > 255.997
    assert report["beyond_png16"] == pytest.approx(beyond.mean(), abs=2e-4)
    assert np.isnan(read_png16(Path(report["files"]["png16"])))[beyond].all()
    assert "are beyond 256 px, where the 16-bit PNG ends" in err


def test_a_swapped_pair_is_refused_unless_allowed(stereo_run, pair):
    left, right = pair
    status, out, err = stereo_run(right, left)
    assert (status, out) == (1, "")
    assert "looks swapped: 100% of its matches have a negative disparity" in err
    assert stereo_run(right, left, "--allow-swapped")[0] == 0


def test_what_was_changed_in_a_picture_is_said(stereo_run, tmp_path, views):
    deep = [
        save(tmp_path / name, view.astype(np.uint16) * 257)
        for name, view in zip(NAMES, views, strict=True)
    ]
    _, out, err = stereo_run(*deep)
    (note,) = json.loads(out)["pairs"][0]["notes"]
    assert note.startswith("16-bit pictures")
    assert note in err


def test_one_color_scale_can_be_fixed(stereo_run, pair, tmp_path):
    stereo_run(*pair, "--max-color", 64)
    narrow = cv2.imread(str(tmp_path / "out" / "left_disparity.png"))
    stereo_run(*pair, "--max-color", 190)
    wide = cv2.imread(str(tmp_path / "out" / "left_disparity.png"))
    assert (narrow != wide).any()


def test_errors_are_one_line_and_debug_shows_more(stereo_run, tmp_path, pair):
    left, _ = pair
    status, out, err = stereo_run(left, tmp_path / "nothing.png")
    assert (status, out) == (1, "")
    assert err.startswith("stereo-run: error: cannot read ")
    assert err.count("\n") == 1
    with pytest.raises(InputError, match="cannot read"):
        stereo_run(left, tmp_path / "nothing.png", "--debug")


def test_an_input_is_never_overwritten(artifact, pair, capsys):
    left, right = pair
    before = cv2.imread(left)
    assert run_main([left, right, "--model", str(artifact), "-o", left]) == 1
    assert "is one of the pictures to read" in capsys.readouterr().err
    np.testing.assert_array_equal(cv2.imread(left), before)


@pytest.mark.parametrize("suffix", [".pfm", ".npy", ".jpg"])
def test_an_output_of_another_format_is_refused(artifact, pair, capsys, tmp_path, suffix):
    output = str(tmp_path / f"x{suffix}")
    assert run_main([*pair, "--model", str(artifact), "-o", output]) == 1
    assert "give a folder or a .png" in capsys.readouterr().err


def test_one_output_file_for_many_pairs_is_refused(artifact, views, tmp_path, capsys):
    left, right = map(str, folders(tmp_path, views))
    target = str(tmp_path / "x.png")
    assert run_main([left, right, "--model", str(artifact), "-o", target]) == 1
    assert "3 pairs; give a folder" in capsys.readouterr().err


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["left.png"],
        ["1.png", "2.png", "3.png"],
        ["--side-by-side"],
        ["--demo", "left.png"],
        ["--demo", "--side-by-side"],
        ["left.png", "right.png", "--scale", "0"],
        ["left.png", "right.png", "--threads", "0"],
        ["left.png", "right.png", "--max-disparity", "-3"],
        ["--no-such-option"],
    ],
)
def test_wrong_usage_is_status_2(stereo_run, arguments):
    status, out, err = stereo_run(*arguments)
    assert (status, out) == (2, "")
    assert "Usage: stereo-run" in err


def test_the_version_is_printed(stereo_run):
    assert stereo_run("--version")[:2] == (0, f"litestereo {__version__}\n")


@pytest.mark.skipif(
    "las1" not in bundled_models() or not all(path.is_file() for path in demo_pair()),
    reason="las1 or the demo pair is not in this checkout",
)
def test_the_demo_runs_as_installed(tmp_path):
    command = [sys.executable, "-c", "from litestereo.cli import run_main; exit(run_main())"]
    ran = subprocess.run(
        [*command, "--demo", "-o", str(tmp_path)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=120,
    )
    assert ran.returncode == 0, ran.stdout
    document, last = ran.stdout.split("\n}\n")
    (report,) = json.loads(document + "}")["pairs"]
    assert report["files"]["panel"] in last, "the picture's place comes after the JSON"
    assert cv2.imread(report["files"]["panel"]) is not None
    assert report["disparity_px"]["max"] > 5


def test_a_terminal_gets_a_progress_bar_and_stdout_stays_json(artifact, views, tmp_path):
    pty = pytest.importorskip("pty")
    left, right = map(str, folders(tmp_path, views))
    here, there = pty.openpty()
    code = "from litestereo.cli import run_main; exit(run_main())"
    command = [sys.executable, "-c", code, left, right, "--model", str(artifact)]
    with subprocess.Popen(
        [*command, "-o", str(tmp_path / "out")], stdout=subprocess.PIPE, stderr=there
    ) as process:
        out = process.communicate(timeout=60)[0]
    os.close(there)
    shown = os.read(here, 65536).decode()
    os.close(here)
    assert process.returncode == 0
    assert len(json.loads(out)["pairs"]) == 3
    assert "100%" in shown
    assert shown.count("median disparity") == 3
