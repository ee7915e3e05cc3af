"""The doctor on made-up machines and pairs, and its command."""

import json
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from litestereo.cli import doctor_main
from litestereo.runtime.doctor import machine as machine_module
from litestereo.runtime.doctor.machine import examine_machine
from litestereo.runtime.doctor.pair import check_pair
from litestereo.runtime.doctor.providers import (
    TINY_MODEL,
    ProviderReport,
    examine_providers,
)
from litestereo.runtime.doctor.rig import check_rig

sys.path.insert(0, str(Path(__file__).parents[1] / "geometry"))
import rigs

NVIDIA_SMI = "NVIDIA H100 PCIe, 550.54.15, 81559, 512\n"
TEGRA = "# R36 (release), REVISION: 4.3, GCID: 38968081, BOARD: generic\n"


def machine_root(folder, *, available_mb=9000, tegra=False):
    (folder / "proc").mkdir()
    (folder / "proc/meminfo").write_text(
        f"MemTotal:  {16000 * 1024} kB\nMemFree: 1 kB\nMemAvailable: {available_mb * 1024} kB\n"
    )
    if tegra:
        (folder / "etc").mkdir()
        (folder / "etc/nv_tegra_release").write_text(TEGRA)
    return folder


def checks(report):
    return {(finding.level, finding.check) for finding in report.findings}


def test_a_machine_with_a_full_gpu(tmp_path):
    report = examine_machine(
        command=lambda arguments: NVIDIA_SMI if arguments[0] == "nvidia-smi" else None,
        root=machine_root(tmp_path, available_mb=700),
    )
    assert report.facts["memory_mb"] == {"total": 16000, "available": 700}
    (gpu,) = report.facts["gpus"]
    assert gpu == {
        "name": "NVIDIA H100 PCIe",
        "driver": "550.54.15",
        "total_mb": 81559,
        "free_mb": 512,
    }
    low = [finding for finding in report.findings if finding.check == "memory"]
    assert [finding.value for finding in low] == [700, 512]


def test_a_jetson_says_its_power_mode(tmp_path):
    answers = {
        "nvidia-smi": "Orin (nvgpu), 540.4.0, [N/A], [N/A]\n",
        "nvpmodel": "NV Power Mode: 15W\n2\n",
    }
    root = machine_root(tmp_path, tegra=True)
    report = examine_machine(command=lambda arguments: answers.get(arguments[0]), root=root)
    assert report.facts["jetson"]["power_mode"] == "15W"
    assert report.facts["gpus"][0]["free_mb"] is None
    assert ("note", "power mode") in checks(report)
    answers["nvpmodel"] = "NV Power Mode: MAXN_SUPER\n0\n"
    report = examine_machine(command=lambda arguments: answers.get(arguments[0]), root=root)
    assert ("note", "power mode") not in checks(report)


def test_providers_that_are_only_listed(tmp_path):
    report = examine_machine(
        command=lambda arguments: None,
        root=machine_root(tmp_path),
        providers=lambda: [
            ProviderReport("CUDAExecutionProvider", False, "libcudnn.so.9 is missing"),
            ProviderReport("CPUExecutionProvider", True),
        ],
    )
    assert report.facts["providers"]["CPUExecutionProvider"] == "runs"
    (fault,) = [f for f in report.findings if f.level == "fault"]
    assert "libcudnn.so.9" in fault.what


def test_packages_that_overwrite_each_other(tmp_path, monkeypatch):
    monkeypatch.setattr(machine_module, "version", lambda name: "1.20")
    report = examine_machine(command=lambda arguments: None, root=machine_root(tmp_path))
    assert "onnxruntime and onnxruntime-gpu are both installed" in report.findings[0].what


def test_packages_that_do_not_load(tmp_path, monkeypatch):
    def broken(module):
        raise ImportError(f"{module}: libnvinfer.so.10 not found")

    monkeypatch.setattr(machine_module, "import_module", broken)
    report = examine_machine(command=lambda arguments: None, root=machine_root(tmp_path))
    assert any("libnvinfer.so.10" in finding.what for finding in report.findings)


def test_the_cpu_provider_really_runs():
    pytest.importorskip("onnxruntime")
    assert ProviderReport("CPUExecutionProvider", True) in examine_providers()


def test_the_tiny_model_is_what_it_says():
    onnx = pytest.importorskip("onnx")
    helper, float32 = onnx.helper, onnx.TensorProto.FLOAT
    weights = np.outer([1, 2, 1], [1, 2, 1]).astype(np.float32)[None, None]
    graph = helper.make_graph(
        [
            helper.make_node("Conv", ["x", "w"], ["c"], pads=[1, 1, 1, 1]),
            helper.make_node("Relu", ["c"], ["y"]),
        ],
        "tiny",
        [helper.make_tensor_value_info("x", float32, [1, 1, 4, 4])],
        [helper.make_tensor_value_info("y", float32, [1, 1, 4, 4])],
        [onnx.numpy_helper.from_array(weights, "w")],
    )
    built = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=7)
    built.producer_name = ""
    assert onnx.load_model_from_string(TINY_MODEL) == built


@pytest.fixture
def sound(rng):
    """A textured pair with disparities of 8 and 20 px."""
    small = rng.integers(0, 256, (60, 100, 3), np.uint8)
    wide = cv2.resize(small, (500, 300), interpolation=cv2.INTER_CUBIC)
    left, right = wide[:, :440].copy(), wide[:, 8:448].copy()
    right[100:200, 180:280] = wide[100:200, 200:300]
    return left, right


@pytest.fixture
def files(sound, tmp_path):
    paths = [tmp_path / name for name in ("left.png", "right.png")]
    for path, image in zip(paths, sound, strict=True):
        cv2.imwrite(str(path), image[..., ::-1])
    return [str(path) for path in paths]


def test_a_sound_pair(sound):
    diagnosis = check_pair(*sound)
    assert diagnosis.is_sound
    assert diagnosis.findings == ()
    assert diagnosis.measures()["disparity_px"][1] == pytest.approx(8, abs=0.2)


@pytest.mark.parametrize("size", [(32, 8000), (8000, 32)])
def test_a_pair_without_room_for_corners_gets_a_word(rng, size):
    left = rng.integers(0, 256, (*size, 3), np.uint8)
    (finding, *_) = check_pair(left, np.roll(left, -3, axis=1)).findings
    assert finding.check == "featureless"


def test_command_on_a_pair(files, capsys):
    assert run(doctor_main, "--pair-only", *files, "--json") == 0
    report = json.loads(capsys.readouterr().out)
    assert report["findings"] == []
    assert report["pair"]["size"] == [300, 440]
    assert report["machine"] is None
    assert run(doctor_main, "--pair-only", *files[::-1]) == 1
    assert "fault: swapped eyes: 100% of what matches" in capsys.readouterr().out


def run(main, *arguments):
    try:
        return main([*arguments])
    except SystemExit as leaving:
        return leaving.code or 0


def test_command_on_the_machine(capsys):
    status = run(doctor_main, "--json")
    report = json.loads(capsys.readouterr().out)
    assert report["machine"]["packages"]["numpy"] == np.__version__
    assert status == (1 if report["faults"] else 0)
    run(doctor_main)
    assert capsys.readouterr().out.startswith("machine\n  litestereo: ")


def test_command_on_both(files, capsys):
    run(doctor_main, *files, "--json")
    report = json.loads(capsys.readouterr().out)
    assert report["machine"]["providers"]
    assert report["pair"]["matches"] > 100


def test_command_refuses_half_a_pair(files, capsys):
    assert run(doctor_main, files[0]) == 2
    assert "need LEFT and RIGHT, or neither" in capsys.readouterr().err
    assert run(doctor_main, "--calib", "x.yaml") == 2
    assert run(doctor_main, "--pair-only") == 2


def test_a_missing_calibration_is_said_without_doubled_words(files, tmp_path, capsys):
    path = tmp_path / "rig.yaml"
    assert run(doctor_main, "--pair-only", *files, "--calib", str(path)) == 1
    said = capsys.readouterr().out
    assert f"\n1 fault\n  fault: calibration: {path} is not there; check the path" in said
    assert said.count(str(path)) == 1


def test_calibration_units_shape_and_files(files, tmp_path, capsys):
    path = tmp_path / "K.txt"
    path.write_text("440 0 220 0 440 150 0 0 1\n120\n")
    assert run(doctor_main, "--pair-only", *files, "--calib", str(path)) == 0
    assert "taken as millimetres: 0.12 m" in capsys.readouterr().out
    path.write_text("440 0 220 0 440 150 0 0 1\n7\n")
    assert run(doctor_main, "--pair-only", *files, "--calib", str(path)) == 1
    assert "neither metres" in capsys.readouterr().out
    assert run(doctor_main, "--pair-only", *files, "--calib", str(path), "--baseline", "0.07") == 0


def test_focal_lengths_in_millimetres(sound, tmp_path):
    path = tmp_path / "K.txt"
    path.write_text("4 0 220 0 4 150 0 0 1\n0.12\n")
    (fault,) = [f for f in check_rig(*sound, calibration=(path,)).findings if f.level == "fault"]
    assert fault.check == "field of view"


def test_points_behind_the_cameras(sound, tmp_path):
    path = tmp_path / "calib.txt"
    path.write_text(
        "cam0=[440 0 240; 0 440 150; 0 0 1]\ncam1=[440 0 200; 0 440 150; 0 0 1]\n"
        "doffs=-40\nbaseline=120\nwidth=440\nheight=300\n"
    )
    found = check_rig(*sound, calibration=(path,)).findings
    assert [f.check for f in found if f.level == "fault"] == ["principal points"]


@pytest.fixture
def raw_rig(tmp_path, rng):
    """A textured plane at 2 m seen by the raw rig of rigs.py, rendered by inverse mapping."""
    path = rigs.opencv_files(tmp_path)
    texture = rng.integers(0, 256, (150, 200), np.uint8)
    texture = cv2.resize(texture, (1600, 1200), interpolation=cv2.INTER_CUBIC)
    images = []
    for matrix, lens, turn, step in (
        (rigs.K1, rigs.D1, np.eye(3), np.zeros(3)),
        (rigs.K2, rigs.D2, rigs.R, rigs.T),
    ):
        height, width = rigs.SIZE
        pixels = np.stack(np.meshgrid(np.arange(width), np.arange(height)), axis=-1)
        rays = cv2.undistortPoints(pixels.reshape(-1, 1, 2).astype(np.float64), matrix, lens)
        rays = np.column_stack([rays.reshape(-1, 2), np.ones(width * height)]) @ turn
        origin = -turn.T @ step
        points = origin + rays * ((2.0 - origin[2]) / rays[:, 2])[:, None]
        at = (points[:, :2] * 450 + (800, 600)).astype(np.float32).reshape(height, width, 2)
        image = cv2.remap(texture, at[..., 0], at[..., 1], cv2.INTER_LINEAR)
        images.append(np.repeat(image[..., None], 3, axis=2))
    return (*images, path)


def test_a_raw_pair_with_its_calibration_is_sound(raw_rig):
    left, right, path = raw_rig
    assert not check_pair(left, right).is_sound
    rig = check_rig(left, right, calibration=(path,))
    assert rig.pair.is_sound
    assert not [f.words() for f in rig.findings if f.level == "fault"]
    note = next(f for f in rig.findings if f.check == "depth")
    assert note.value == pytest.approx(2.0, rel=0.05)


def test_a_rectified_pair_with_a_raw_calibration_is_rectified_twice(sound, tmp_path):
    path = rigs.opencv_files(tmp_path)
    images = [cv2.resize(image, rigs.SIZE[::-1]) for image in sound]
    rig = check_rig(*images, calibration=(path,))
    assert "rectified twice" in [f.check for f in rig.findings]


def test_a_calibration_of_other_cameras_is_stale(raw_rig):
    left, right, path = raw_rig
    text = path.read_text()
    moved = cv2.Rodrigues(np.array([0.012, -0.015, 0.02]))[0] @ rigs.R
    start = text.index("R: !!opencv-matrix")
    end = text.index("]", start) + 1
    numbers = ", ".join(repr(float(n)) for n in moved.ravel())
    path.write_text(
        f"{text[:start]}R: !!opencv-matrix\n   rows: 3\n   cols: 3\n   dt: d\n   data: [{numbers}]"
        f"{text[end:]}"
    )
    rig = check_rig(left, right, calibration=(path,))
    assert "stale calibration" in [f.check for f in rig.findings]
