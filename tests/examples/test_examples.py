"""Every example runs: on a stand-in network, files in place of cameras, and ROS played."""

import importlib.util
import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace

import cv2
import numpy as np
import pytest
import torch
from stand_in import write_stand_in

from litestereo import EngineError, StereoEngine
from litestereo.runtime.geometry import Rectifier, read_calibration

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
SIZE = (64, 96)
RAW_RIG = """\
%YAML:1.0
---
M1: !!opencv-matrix
   rows: 3
   cols: 3
   dt: d
   data: [ 80., 0., 47.5, 0., 80., 31.5, 0., 0., 1. ]
D1: !!opencv-matrix
   rows: 1
   cols: 5
   dt: d
   data: [ -0.1, 0.02, 0., 0., 0. ]
M2: !!opencv-matrix
   rows: 3
   cols: 3
   dt: d
   data: [ 80., 0., 47.5, 0., 80., 31.5, 0., 0., 1. ]
D2: !!opencv-matrix
   rows: 1
   cols: 5
   dt: d
   data: [ -0.1, 0.02, 0., 0., 0. ]
R: !!opencv-matrix
   rows: 3
   cols: 3
   dt: d
   data: [ 1., 0., 0., 0., 1., 0., 0., 0., 1. ]
T: !!opencv-matrix
   rows: 3
   cols: 1
   dt: d
   data: [ -0.2, 0., 0. ]
"""


def example(name):
    spec = importlib.util.spec_from_file_location(f"example_{name}", EXAMPLES / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def model(tmp_path):
    return str(write_stand_in(tmp_path / "stand_in.onnx", gain=0.2))


@pytest.fixture
def calib(tmp_path):
    path = tmp_path / "stereo.yaml"
    path.write_text(RAW_RIG)
    return str(path)


def video(path, *, width=SIZE[1], frames=12):
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"MJPG"), 20, (width, SIZE[0]))
    for _ in range(frames):
        writer.write(np.full((SIZE[0], width, 3), 50, np.uint8))
    writer.release()
    return str(path)


def test_every_example_is_here_and_short():
    tested = set(re.findall(r'example\("(\w+)"\)', Path(__file__).read_text()))
    assert {path.stem for path in EXAMPLES.glob("*.py")} == tested
    for path in EXAMPLES.glob("*.py"):
        assert len(path.read_text().splitlines()) <= 60, path.name


def test_opencv_capture(model, tmp_path, capsys):
    eyes = [video(tmp_path / f"{side}.avi", frames=3) for side in ("left", "right")]
    assert example("opencv_capture").main([*eyes, "--model", model, "--no-window"]) == 0
    assert capsys.readouterr().out.startswith("3 pairs")


def test_control_loop(model, calib, tmp_path, capsys):
    eyes = [video(tmp_path / f"{side}.avi") for side in ("left", "right")]
    size = [str(side) for side in SIZE]
    arguments = [*eyes, "--calib", calib, "--size", *size, "--model", model]
    assert example("control_loop").main(arguments) == 0
    out = capsys.readouterr().out
    # 10 px, about 80 px of focal length and 0.2 m of baseline: some 1.6 m, so it drives slowly.
    speeds = [float(speed) for speed in re.findall(r"speed ([\d.]+)\n", out)]
    assert speeds
    assert all(0.2 < speed < 0.8 for speed in speeds)
    assert "in 12" in out


def test_a_loop_hears_of_the_error_that_ended_its_stream(model, calib, tmp_path, monkeypatch):
    def refused(engine, prepared):
        raise EngineError("the GPU fell off the bus")

    monkeypatch.setattr(StereoEngine, "infer", refused)
    both = video(tmp_path / "both.avi", width=2 * SIZE[1])
    size = [str(side) for side in SIZE]
    loop = [both, "--calib", calib, "--size", *size, "--model", model]
    with pytest.raises(EngineError, match="off the bus"):
        example("control_loop").main(loop)
    with pytest.raises(EngineError, match="off the bus"):
        example("two_cameras").main(["--front", both, "--back", both, "--model", model])


def test_two_cameras(model, tmp_path, capsys):
    both = [video(tmp_path / f"{name}.avi", width=2 * SIZE[1]) for name in ("front", "back")]
    arguments = ["--front", both[0], "--back", both[1], "--model", model]
    assert example("two_cameras").main(arguments) == 0
    out = capsys.readouterr().out
    for name in ("front", "back"):
        assert re.search(rf"^{name} \d+: ", out, re.M)
        assert re.search(rf"^{name}: .*in 12", out, re.M)


@pytest.fixture
def raw_pair(tmp_path):
    rows, columns = np.mgrid[: SIZE[0], : SIZE[1]]
    picture = (100 + 50 * np.sin(columns / 9) + 40 * np.sin(rows / 7)).astype(np.uint8)
    for side in ("left", "right"):
        cv2.imwrite(str(tmp_path / f"{side}.png"), np.repeat(picture[..., None], 3, axis=2))
    return [str(tmp_path / f"{side}.png") for side in ("left", "right")]


def test_gpu_tensors_without_a_gpu(model, calib, raw_pair, capsys):
    """torch's sampler over the maps sees what OpenCV's rectification gives."""
    module = example("gpu_tensors")
    assert module.main([*raw_pair, "--calib", calib, "--model", model, "--device", "cpu"]) == 0
    found = re.search(r"disparity ([\d.]+) px at \(64, 96\)", capsys.readouterr().out)
    raw = cv2.imread(raw_pair[0])
    rectified, _ = Rectifier(read_calibration([calib], size=SIZE))(raw, raw)
    assert float(found[1]) == pytest.approx(0.2 * rectified.mean(), abs=0.02)


@pytest.mark.gpu
@pytest.mark.trt
def test_gpu_tensors_on_a_gpu(calib, raw_pair, capsys):
    pytest.importorskip("tensorrt", reason="needs TensorRT")
    if not torch.cuda.is_available():
        pytest.skip("needs a CUDA GPU that torch sees")
    assert example("gpu_tensors").main([*raw_pair, "--calib", calib]) == 0
    assert "at (64, 96)" in capsys.readouterr().out


def test_render_pair(tmp_path, capsys, monkeypatch):
    module = example("render_pair")
    monkeypatch.setattr(module, "SIZE", SIZE)
    module.main(tmp_path, 12)
    for side in ("left", "right"):
        assert cv2.imread(str(tmp_path / f"{side}.png")).shape == (*SIZE, 3)
    assert "disparity" in capsys.readouterr().out


class Float32:
    def __init__(self, data):
        self.data = data


def test_ros2_obstacle(monkeypatch):
    """On a played ROS: the node starts, and a near depth picture becomes a warning."""
    said, published, made = [], [], []

    class Node(SimpleNamespace):
        def create_publisher(self, kind, topic, depth):
            assert (kind, topic) == (Float32, "nearest")
            return SimpleNamespace(publish=published.append)

        def create_subscription(self, kind, topic, callback, depth):
            assert topic == "depth/image"
            self.callback = callback

        def get_logger(self):
            return SimpleNamespace(warning=said.append)

        def trigger_configure(self):
            said.append("configured")

        def trigger_activate(self):
            said.append("active")

        def on_shutdown(self, state):
            said.append("down")

        def destroy_node(self):
            said.append("destroyed")

    def spin(node):
        depth_m = np.full((4, 6), 0.5, np.float32)
        depth_m[0] = np.nan
        node.callback(SimpleNamespace(height=4, width=6, data=depth_m.tobytes()))

    def module(name, **members):
        made.append(name)
        played = ModuleType(name)
        vars(played).update(members)
        monkeypatch.setitem(sys.modules, name, played)

    module("rclpy", init=lambda: None, spin=spin, try_shutdown=lambda: None)
    module("sensor_msgs")
    module("sensor_msgs.msg", Image=SimpleNamespace)
    module("std_msgs")
    module("std_msgs.msg", Float32=Float32)
    played = example("ros2_obstacle")
    monkeypatch.setattr(played, "make_node", lambda name: Node())
    played.main()
    assert said == ["configured", "active", "something is 0.50 m away", "down", "destroyed"]
    assert [message.data for message in published] == [0.5]


@pytest.mark.parametrize(
    ("name", "arguments", "status"),
    [("ros2_obstacle", ["--help"], 0), ("render_pair", [], 1), ("render_pair", ["--help"], 1)],
)
def test_usage_is_printed_where_nothing_can_be_run(tmp_path, name, arguments, status):
    script = EXAMPLES / f"{name}.py"
    ran = subprocess.run(
        [sys.executable, script, *arguments], cwd=tmp_path, capture_output=True, text=True
    )
    assert ran.returncode == status
    assert f"python examples/{name}.py" in (ran.stderr if status else ran.stdout)
    assert "Traceback" not in ran.stderr
    assert list(tmp_path.iterdir()) == []
