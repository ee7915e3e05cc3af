"""`stereo-run` on videos, folders and cameras that are not there."""

import json
import re

import cv2
import numpy as np
import pytest
from stand_in import write_stand_in

from litestereo.cli import run_main
from litestereo.errors import InputError
from litestereo.runtime.batch import OutputOptions
from litestereo.runtime.engine import StereoEngine
from litestereo.runtime.geometry import MetricRig
from litestereo.runtime.stream import CameraOptions, RepeatedPair, command

SIZE = (64, 96)
K_TXT = "80 0 47.5 0 80 31.5 0 0 1\n0.1\n"


@pytest.fixture
def artifact(tmp_path):
    return write_stand_in(tmp_path / "stand_in.onnx")


def textured(value):
    rows, columns = np.mgrid[: SIZE[0], : SIZE[1]]
    return np.repeat(((rows + columns) % 40 + value)[..., None], 3, axis=2).astype(np.uint8)


@pytest.fixture
def rig(tmp_path):
    for side in ("left", "right"):
        (tmp_path / "rig" / side).mkdir(parents=True)
        for k in range(6):
            cv2.imwrite(str(tmp_path / "rig" / side / f"{k}.png"), textured(20 * k))
    return tmp_path / "rig"


def run(capsys, *arguments):
    with pytest.raises(SystemExit) as leaving:
        run_main([str(argument) for argument in arguments])
    said = capsys.readouterr()
    assert not leaving.value.code, said.err
    return json.loads(said.out), said.err


def test_a_folder_is_computed_whole_and_written(capsys, tmp_path, artifact, rig):
    out, metrics = tmp_path / "out", tmp_path / "metrics.prom"
    arguments = ("--folder", rig, "--model", artifact, "-o", out, "--npy", "--metrics", metrics)
    summary, words = run(capsys, *arguments, "--allow-swapped")
    assert summary["ended"] == "source"
    assert summary["saved"] == summary["health"]["frames_out"] == 6
    assert summary["health"]["dropped"] == 0
    for k in range(6):
        disparity_px = np.load(out / f"{k}_disparity.npy")
        assert disparity_px == pytest.approx(textured(20 * k)[..., 0] * 0.5)
        assert (out / f"{k}_disparity.png").is_file()
    assert "litestereo_frames_out_total" in metrics.read_text()
    assert "out 6" in words


def test_metrics_that_cannot_be_written_are_said_once(tmp_path, artifact, rig):
    (tmp_path / "full").write_text("a file where the folder should be")
    request = command.StreamRequest(
        folders=(rig,),
        output=OutputOptions(tmp_path / "out", allow_swapped=True),
        save_every=0,
        metrics=tmp_path / "full" / "metrics.prom",
        report_every_s=0.0,
    )
    said = []
    with StereoEngine.load(artifact) as engine:
        summary = command.run_stream(engine, request, progress=said.append)
    assert summary["health"]["frames_out"] == 6
    words = [line for line in said if "metrics" in line]
    assert len(words) == 1
    assert re.search("not up to date: cannot write .*metrics.prom", words[0])
    assert len(said) > 6, "a line of health after each result"


def test_the_jitter_of_a_stream(capsys, tmp_path, artifact, rig):
    arguments = ("--folder", rig, "--model", artifact, "-o", tmp_path / "out", "--allow-swapped")
    summary, _ = run(capsys, *arguments, "--jitter", "--save-every", "0")
    # The six pictures grow brighter by 20 each, and the stand-in answers half of that.
    assert summary["jitter"]["median_px"] == pytest.approx(np.std(10 * np.arange(6), ddof=1), 1e-4)
    assert summary["jitter"]["jumps"] == 1


@pytest.mark.parametrize(("after", "jitter"), [(1, None), (4, 4)])
def test_a_signal_does_not_lose_the_summary(tmp_path, artifact, rig, after, jitter):
    request = command.StreamRequest(
        folders=(rig,),
        output=OutputOptions(tmp_path / "out", allow_swapped=True),
        save_every=0,
        jitter=True,
        report_every_s=0.0,
    )
    said, kept = [], []

    def stopping(line):
        said.append(line)
        if sum(" Hz, " in each for each in said) == after:
            raise SystemExit(143)

    with StereoEngine.load(artifact) as engine, pytest.raises(SystemExit) as leaving:
        command.run_stream(engine, request, progress=stopping, stopped=kept.append)
    assert leaving.value.code == 143
    (summary,) = kept
    assert summary["ended"] == "interrupt"
    assert summary["health"]["frames_out"] == after
    assert (summary["jitter"] and summary["jitter"]["frames"]) == jitter


def test_of_a_camera_not_every_result_is_written(capsys, tmp_path, artifact, monkeypatch):
    picture = textured(20)
    monkeypatch.setattr(
        command,
        "cameras",
        lambda *_, options: RepeatedPair(picture, picture, rate_hz=500, frames=40),
    )
    arguments = ("--camera", 0, "--model", artifact, "--allow-swapped", "--frames", 31)
    # Live, so that pairs may be dropped: of those that come out the first and the 31st, if any.
    monkeypatch.setattr(RepeatedPair, "live", False)
    summary, words = run(capsys, *arguments, "-o", tmp_path / "some")
    assert summary["saved"] == 2
    assert f"each 30th result is written to {tmp_path / 'some'}; --save-every" in words
    summary, words = run(capsys, *arguments, "-o", tmp_path / "all", "--save-every", 1)
    assert summary["saved"] == 31
    assert "each" not in words


def test_some_frames_of_a_stream_with_depth(capsys, tmp_path, artifact, rig):
    (tmp_path / "K.txt").write_text(K_TXT)
    out = tmp_path / "out"
    calibrated = ("--calib", tmp_path / "K.txt", "--depth", "--cloud", "--allow-swapped")
    arguments = ("--folder", rig / "left", "--folder", rig / "right", "--model", artifact)
    summary, _ = run(capsys, *arguments, "-o", out, *calibrated, "--frames", 3, "--save-every", 2)
    assert (summary["ended"], summary["saved"]) == ("frames", 2)
    depth_m = np.load(out / "2_depth_m.npy")
    disparity_px = textured(40)[..., 0] * 0.5
    kept = np.isfinite(depth_m)
    assert kept.mean() > 0.3
    assert depth_m[kept] == pytest.approx((8.0 / disparity_px)[kept], rel=1e-3)
    assert (out / "0_cloud.ply").is_file()
    assert not (out / "1_cloud.ply").exists()


def test_pictures_of_several_sizes_have_the_depth_of_theirs(
    capsys, tmp_path, artifact, rig, monkeypatch
):
    for path in (rig / side / f"{k}.png" for side in ("left", "right") for k in (1, 3, 5)):
        cv2.imwrite(str(path), cv2.resize(cv2.imread(str(path)), (192, 128)))
    (tmp_path / "K.txt").write_text(K_TXT)
    read, sizes = MetricRig.read, []
    monkeypatch.setattr(MetricRig, "read", lambda *a, **k: sizes.append(k["size"]) or read(*a, **k))
    arguments = ("--folder", rig, "--model", artifact, "-o", tmp_path / "out", "--allow-swapped")
    summary, _ = run(capsys, *arguments, "--calib", tmp_path / "K.txt", "--depth")
    assert summary["saved"] == 6
    for k in range(6):
        depth_m = np.load(tmp_path / "out" / f"{k}_depth_m.npy")
        assert depth_m.shape == ((128, 192) if k % 2 else (64, 96))
    assert sizes == [(64, 96), (128, 192)]


def test_notes_of_pairs_and_results_are_said_once(capsys, tmp_path, rig):
    for path in (rig / side / f"{k}.png" for side in ("left", "right") for k in range(6)):
        factor = 16 if path.stem in "012" else 250  # 12-bit, then 16-bit
        cv2.imwrite(str(path), cv2.imread(str(path)).astype(np.uint16) * factor)
    far = write_stand_in(tmp_path / "far.onnx", gain=8.0)
    arguments = ("--folder", rig, "--model", far, "-o", tmp_path / "out", "--allow-swapped")
    summary, words = run(capsys, *arguments)
    assert summary["saved"] == 6
    assert words.count("read as 12-bit") == 2, "once by itself, once where that changes"
    assert words.count("16-bit pictures read as 16-bit, scaled to 8\n") == 1
    assert words.count("try --max-disparity 376") == 1


def test_a_video_in_real_time_with_a_deadline(capsys, tmp_path, artifact):
    path = tmp_path / "both.avi"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"MJPG"), 60, (192, 64))
    for k in range(30):
        writer.write(np.hstack([textured(5 * k), textured(5 * k)]))
    writer.release()
    arguments = ("--video", path, "--model", artifact, "-o", tmp_path / "out", "--save-every", 0)
    deadline = ("--realtime", "--rate", 30, "--shrink", 0.75, "--shrink", 0.5, "--max-age", 500)
    summary, _ = run(capsys, *arguments, *deadline, "--allow-swapped")
    health = summary["health"]
    assert health["frames_in"] == 30
    assert health["in_flight"] == 0
    assert health["skipped"] >= 13  # every other one, to come from 60 to 30
    assert summary["saved"] == 0
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--camera", "/dev/no_such"], "camera /dev/no_such cannot be opened"),
        (["--video", "no.mp4"], "no.mp4 is not a file"),
        (["--folder", "nowhere"], "nowhere is no folder"),
        (["--video", "no.mp4", "--camera", "0"], "need one source"),
        (["--video", "a", "--video", "b", "--video", "c"], "need one source"),
        (["--video", "a", "--shrink", "0.5"], "belong to a deadline"),
        (["--video", "a", "-o", "one.png"], "a stream needs a folder"),
        (["--video", "a", "--jitter", "--frames", "1"], "give 2 or more"),
        (["--video", "a", "--camera-format", "MJPG"], "belong to cameras"),
        (["--camera", "0", "--camera-format", "JPEGS"], "four letters"),
    ],
)
def test_what_cannot_be_streamed_is_one_line(capsys, artifact, arguments, words):
    assert run_main([*arguments, "--model", str(artifact)]) == 1
    said = capsys.readouterr()
    assert words in said.err
    assert said.out == ""


def test_a_missing_calibration_is_said_before_the_camera_is_opened(capsys, tmp_path, artifact):
    arguments = ["--camera", "/dev/no_such", "--depth", "--calib", str(tmp_path / "rig.yaml")]
    assert run_main([*arguments, "--model", str(artifact)]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert f"calibration {tmp_path / 'rig.yaml'} is not there; check the path" in line


def test_a_source_that_does_not_open_has_no_line_of_health(capsys, artifact):
    assert run_main(["--video", "no.mp4", "--model", str(artifact)]) == 1
    assert " Hz" not in capsys.readouterr().err


def test_a_stream_takes_no_pictures(capsys):
    with pytest.raises(SystemExit) as leaving:
        run_main(["left.png", "right.png", "--camera", "0"])
    assert leaving.value.code == 2


def test_what_is_asked_of_a_camera_reaches_it(capsys, artifact, monkeypatch):
    asked = {}

    def opened(*devices, options):
        asked.update(devices=devices, options=options)
        raise InputError("seen")

    monkeypatch.setattr(command, "cameras", opened)
    for size in (["720", "1280"], ["720x1280"]):
        arguments = ["--camera", "2", "--camera", "/dev/cam", "--camera-size", *size]
        assert run_main([*arguments, "--camera-format", "MJPG", "--model", str(artifact)]) == 1
        assert asked["devices"] == (2, "/dev/cam")
        assert asked["options"] == CameraOptions(size=(720, 1280), fourcc="MJPG")


def test_a_stream_without_a_result_is_a_failure(capsys, tmp_path, artifact):
    for side in ("left", "right"):
        (tmp_path / side).mkdir()
        (tmp_path / side / "a.png").write_bytes(b"broken")
    with pytest.raises(SystemExit) as leaving:
        run_main(["--folder", str(tmp_path), "--model", str(artifact), "-o", str(tmp_path / "o")])
    assert leaving.value.code == 1
    said = capsys.readouterr()
    assert json.loads(said.out)["health"]["invalid"] == 1
    assert said.err.endswith("no pair gave a result\n")
